//! EROFS images of closures, kept by what they are made of, so that the next bundle of a closure reads
//! none of its files. A bundle has a hard link of one, or a copy where it is on another file system.

use super::cache_dir;
use crate::oci::hash_write::digest_of;
use crate::source::nix::closure::Closure;
use crate::source::nix::store_path::Store;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The form of images: to be raised with each change of what they hold.
const FORM: u32 = 1;
/// For how long an image that no bundle has is kept after its last use.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// A closure's place in the cache; nowhere if the user has no cache.
#[derive(Debug)]
pub(crate) struct CachedImage {
    place: Option<PathBuf>,
}

impl CachedImage {
    /// A store path's contents don't change, but it may be collected and built again, not always to
    /// the same bytes: the place depends on its inode and change time. Errors: a path does not exist.
    pub(crate) fn of(store: &Store, closure: &Closure) -> io::Result<Self> {
        let mut text = format!("{}\n", store.dir().display());
        for path in &closure.paths {
            let meta = fs::symlink_metadata(store.locate(path))?;
            text += &format!("{path} {} {}.{}\n", meta.ino(), meta.ctime(), meta.ctime_nsec());
        }
        let digest = digest_of(text.as_bytes())?.0;
        Ok(Self { place: cache_dir::of_user(&format!("closures-{FORM}")).map(|dir| dir.join(digest.digest())) })
    }

    /// Gives a bundle the image, as the file `target`. False: it is not in the cache.
    pub(crate) fn give(&self, target: &Path) -> bool {
        let Some(place) = self.place.as_deref().filter(|place| place.is_file()) else { return false };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        // Only to be found unused later.
        let _ = utimensat(CWD, place, &Timestamps { last_access: kept, last_modification: now }, AtFlags::empty());
        fs::hard_link(place, target).or_else(|_| fs::copy(place, target).map(|_| ())).is_ok()
    }

    /// Keeps an image. That it can't is no error: the next bundle makes it again.
    pub(crate) fn keep(&self, image: &[u8]) {
        let Some(place) = &self.place else { return };
        let new = place.with_extension(format!("new-{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(image)?;
            file.sync_all()?;
            fs::rename(&new, place)
        };
        if write().is_err() {
            let _ = fs::remove_file(&new);
        }
        if let Some(directory) = place.parent() {
            let _ = remove_unused(directory);
        }
    }
}

/// Removes what no bundle has a link of and nobody asked for in a long time, and what killed runs
/// have left.
fn remove_unused(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let age = meta.modified()?.elapsed().unwrap_or_default();
        if meta.nlink() == 1 && age > UNUSED {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
