//! A closure of the Nix store in one mount: an EROFS image has its directories, links and the
//! sizes of its files, and is the lower layer of an overlay over the store, a data-only layer
//! whose files are reached by the redirects of the image alone (overlayfs, "Data-only lower
//! layers"; Linux 6.8 for `datadir+`). The image is mounted from its file (Linux 6.12).

use super::attach::attach;
use super::container_ids::ContainerIds;
use super::file_system::FsContext;
use super::overlay::set_layer_option;
use crate::error::{Context, Result};
use crate::sys::fds::CloseBatch;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, UnmountFlags};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const ATTRIBUTES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// The closure as a detached mount. `target`: a directory at which the image is mounted
/// meanwhile, as overlayfs takes no layer that is mounted nowhere before Linux 6.15. Errors: the
/// kernel is too old, or has no EROFS; the caller has no CAP_SYS_ADMIN over the host, which
/// mounting EROFS takes. `ids`: of the container, to whose root the image's user 0 is mapped; the
/// files have the owners of the image, not those of the store (EROFS: idmapped since Linux 5.19).
#[expect(clippy::disallowed_methods, reason = ". only, the image's root")]
pub fn mount(image: &Path, store: &Path, target: &OwnedFd, ids: Option<&ContainerIds>) -> Result<OwnedFd> {
    let what = || format!("closure image {}", image.display());
    let erofs = FsContext::open("erofs")?;
    erofs.set_option_bytes("source", image.as_os_str().as_bytes()).doing(what)?;
    let metadata = erofs.mount(ATTRIBUTES, &mut CloseBatch::default()).doing(what)?;
    if let Some(ids) = ids {
        ids.map(&metadata, image)?;
    }
    let before = rustix::fs::open(c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let before = before.doing(|| "open the working directory")?;
    attach(&metadata, target).doing(what)?;
    rustix::process::fchdir(&metadata).doing(what)?;
    let made = mount_overlay(store);
    // The overlay keeps it.
    rustix::mount::unmount(c".", UnmountFlags::DETACH).doing(what)?;
    rustix::process::fchdir(before).doing(|| "return to the working directory")?;
    made
}

/// The overlay of the image in the working directory, over the store.
fn mount_overlay(store: &Path) -> Result<OwnedFd> {
    let fs = FsContext::open("overlay")?;
    fs.set_option("source", Some("nix-store"))?;
    fs.set_option("metacopy", Some("on"))?;
    fs.set_option("lowerdir+", Some("."))?;
    set_layer_option(&fs, "datadir+", store, None)
        .doing(|| fs.with_kernel_log(&format!("overlay data layer {}", store.display())))?;
    fs.mount(ATTRIBUTES, &mut CloseBatch::default())
}
