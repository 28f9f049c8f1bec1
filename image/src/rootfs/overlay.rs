//! The layers as the container would see them: the kernel's own overlay of them,
//! read-only and mounted nowhere. `firn` mounts the same one, with the same
//! options (`init/overlay.rs` of the runtime), so a copy says what it would show:
//! whiteouts and opaque directories of every form, redirects that the kernel
//! follows, and an error where it refuses to (a file of a metacopy layer).

use firn::init::file_system::FileSystem;
use firn::sys::fds::Bin;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountAttrFlags;
use std::io;
use std::path::{Path, PathBuf};

const ATTRIBUTES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY.union(MountAttrFlags::MOUNT_ATTR_NOATIME);

/// Why the layers can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error("open layer {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error(
        "enter a user namespace, in which an ordinary user may mount the layers: copy as root, or allow user namespaces"
    )]
    UserNamespace(#[source] io::Error),
    #[error("mount the layers to copy them (this needs CAP_SYS_ADMIN)")]
    Mount(#[source] firn::error::Error),
}

/// Gives an ordinary user the right to mount: a user namespace in which the
/// caller's ids, and no others, are 0. Files of everybody else show the overflow
/// ids there, which nothing can be given to: what can't be copied truly fails.
///
/// For the whole process, which from here on does nothing but write the bundle.
pub fn become_able_to_mount() -> Result<(), MergeError> {
    const CLONE_NEWNS: u64 = 0x0002_0000;
    const CLONE_NEWUSER: u64 = 0x1000_0000;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() {
        return Ok(());
    }
    let enter = || -> io::Result<()> {
        firn::sys::clone::unshare(CLONE_NEWUSER | CLONE_NEWNS)?;
        std::fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
        // Before an ordinary user may write the gid map (user_namespaces(7)).
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))
    };
    enter().map_err(MergeError::UserNamespace)
}

/// Mounts `layers`, lowest first. Without an upper directory overlayfs wants two
/// at least, so the lowest one is always a directory of the bundle.
pub fn mount(layers: &[&Path]) -> Result<OwnedFd, MergeError> {
    let layers = layers.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    overlay(&layers).map_err(MergeError::Mount)
}

fn open(path: &Path) -> Result<OwnedFd, MergeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| MergeError::Open { path: path.to_owned(), source: errno.into() })
}

fn overlay(layers: &[OwnedFd]) -> firn::error::Result<OwnedFd> {
    // By their descriptors: what was opened is what is mounted, and the name is
    // short (fsconfig(2) takes 255 bytes) and has nothing to escape.
    let names: Vec<_> = layers.iter().rev().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    // Before Linux 6.7 overlay takes any option, and refuses when it is made.
    one_by_one(&names).or_else(|error| in_one_string(&names).map_err(|_| error))
}

fn one_by_one(names: &[String]) -> firn::error::Result<OwnedFd> {
    let fs = new_overlay()?;
    names.iter().try_for_each(|name| fs.set("lowerdir+", Some(name)))?;
    fs.mount(ATTRIBUTES, &mut Bin::default())
}

fn in_one_string(names: &[String]) -> firn::error::Result<OwnedFd> {
    let fs = new_overlay()?;
    fs.set("lowerdir", Some(&names.join(":")))?;
    fs.mount(ATTRIBUTES, &mut Bin::default())
}

fn new_overlay() -> firn::error::Result<FileSystem> {
    let fs = FileSystem::open("overlay")?;
    fs.set("source", Some("overlay"))?;
    Ok(fs)
}
