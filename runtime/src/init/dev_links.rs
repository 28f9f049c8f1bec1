//! The symbolic links of /dev: config-linux.md, "Dev symbolic links", and /dev/ptmx. What
//! exists there is the image's and is not replaced.

use super::console::is_devpts_ptmx;
use super::context::Init;
use crate::error::{Context, Result};
use crate::mount::attach::{attach, clone_mount};
use crate::path::{InRoot, RootFd};
use crate::sys::fds::CloseBatch;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

/// Creates the links in /dev, and closes the file systems that no later step needs.
pub fn create_links(init: &mut Init<'_>) -> Result<()> {
    let (last, done): (Vec<_>, Vec<_>) =
        std::mem::take(&mut init.created_mounts).into_iter().partition(|mount| mount.read_only_last);
    init.created_mounts = last;
    let mut batch = CloseBatch::default();
    done.into_iter().for_each(|mount| batch.add(mount.tree));
    let Some(dev) = &init.dev else { return Ok(()) };
    let root = init.state.root()?;
    // Only where /proc/kcore exists, as with runc.
    let core = root.open(&InRoot::new("/proc/kcore"), OFlags::PATH).is_ok().then_some(("/proc/kcore", "core"));
    for (text, name) in LINKS.into_iter().chain(core) {
        match rustix::fs::symlinkat(text, dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).doing(|| format!("create the symbolic link /dev/{name}")),
        }
    }
    match rustix::fs::symlinkat("pts/ptmx", dev, "ptmx") {
        Err(Errno::EXIST) => bind_over_ptmx(root, dev),
        result => result.doing(String::new),
    }
    .doing(|| "create the symbolic link /dev/ptmx")
}

/// Binds the ptmx of the container's devpts over what the image has at /dev/ptmx, unless
/// that leads there already: a device node 5:2 does, for the kernel looks for a devpts at
/// `pts` beside it (devpts_mntget); a symbolic link is followed by the container alone.
fn bind_over_ptmx(root: &RootFd, dev: &OwnedFd) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = rustix::fs::openat(dev, "ptmx", flags, Mode::empty()).doing(|| "open the existing file")?;
    let stat = rustix::fs::fstat(&there).doing(|| "stat the existing file")?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink | FileType::Directory => return Ok(()),
        FileType::CharacterDevice if stat.st_rdev == rustix::fs::makedev(5, 2) => return Ok(()),
        _ => {}
    }
    let Ok(own) = root.open_no_symlinks(&InRoot::new("/dev/pts/ptmx"), OFlags::PATH) else { return Ok(()) };
    if !is_devpts_ptmx(&own)? {
        return Ok(());
    }
    let tree = clone_mount(&own, false).doing(|| "clone /dev/pts/ptmx")?;
    attach(&tree, &there).doing(|| "bind /dev/pts/ptmx over the existing file")
}
