//! The overlay of the layers, mounted read-only and attached nowhere. The runtime mounts the same
//! one for a container, so a copy of it holds what a container would see: whiteouts and opaque
//! directories of every form, redirects that the kernel follows; and it fails where the kernel
//! refuses to follow one (a file of a metacopy layer).

use crate::{caller, sys};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::io;
use std::path::{Path, PathBuf};

const ATTRIBUTES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY.union(MountAttrFlags::MOUNT_ATTR_NOATIME);

/// Why the layers can't be mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OverlayError {
    #[error("open layer {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error(
        "enter a user namespace, to mount the layers: {0}: allow user namespaces (user.max_user_namespaces), or copy as root"
    )]
    UserNamespace(io::Error),
    #[error("mount the layers, which needs CAP_SYS_ADMIN: {reason}{kernel_log}")]
    Mount {
        reason: io::Error,
        /// What the kernel has logged of it, in brackets.
        kernel_log: String,
    },
}

/// Lets an ordinary user mount the layers: enters a user namespace in which the caller's ids are 0.
/// Files of other users have the overflow ids there, to which no file can be given, so a copy of
/// one fails. For the whole process.
pub(crate) fn enter_user_namespace() -> Result<(), OverlayError> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() {
        return Ok(());
    }
    let enter = || -> io::Result<()> {
        sys::unshare_user_and_mount()?;
        std::fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
        // Before gid_map, which an unprivileged process may else not write (user_namespaces(7)).
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))
    };
    enter().map_err(OverlayError::UserNamespace)
}

/// Mounts the overlay of `layers`, lowest first: at least two, as overlayfs requires without an
/// upper directory. A descriptor of the detached mount.
pub(crate) fn mount_overlay(layers: &[&Path]) -> Result<OwnedFd, OverlayError> {
    let layers = layers.iter().map(|path| open_layer(path)).collect::<Result<Vec<_>, _>>()?;
    // By descriptor: what was opened is what is mounted, and the name is short (fsconfig(2)
    // takes 255 bytes) and has nothing to escape.
    let names: Vec<_> = layers.iter().rev().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    let separate: Vec<_> = names.iter().map(|name| ("lowerdir+", name.clone())).collect();
    // `lowerdir+` is of Linux 6.7. Before, overlayfs takes any option, and refuses an unknown one
    // when the file system is made.
    mount_with(&separate).or_else(|error| mount_with(&[("lowerdir", names.join(":"))]).map_err(|_| error))
}

fn open_layer(path: &Path) -> Result<OwnedFd, OverlayError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| OverlayError::Open { path: path.to_owned(), source: errno.into() })
}

fn mount_with(options: &[(&str, String)]) -> Result<OwnedFd, OverlayError> {
    let failed = |kernel_log| move |errno: rustix::io::Errno| OverlayError::Mount { reason: errno.into(), kernel_log };
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed(String::new()))?;
    let mount = || {
        rustix::mount::fsconfig_set_string(&context, "source", "overlay")?;
        for (name, value) in options {
            rustix::mount::fsconfig_set_string(&context, *name, value)?;
        }
        if !caller::is_host_root() {
            // As in the user's containers.
            rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
        }
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, ATTRIBUTES)
    };
    mount().map_err(|errno| failed(kernel_log(&context))(errno))
}

/// The messages that the file system has logged, read from its context: lines such as
/// `e overlay: …` for an error.
fn kernel_log(context: impl AsFd) -> String {
    let mut buffer = [0; 1024];
    let mut text = String::new();
    while let Ok(length @ 1..) = rustix::io::read(&context, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..length]);
        text += &format!(" ({})", line.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start());
    }
    text
}
