//! The runtime's own file must never be reachable writable from a container
//! (CVE-2019-5736): /proc/PID/exe of a process of ours leads to it, also by an
//! entrypoint `/proc/self/exe` or `#!/proc/self/exe`.

use crate::bail;
use crate::error::{Context, Result};
use crate::sys::exec::{CVec, fexecve};
use crate::sys::mount::{ATTR_RDONLY, MountAttr, setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

/// Breaks the circle should the second start look as unprotected as the first.
pub const MARK: &str = "FIRN_SEALED";

/// Goes on if this process runs from a file that nobody can write through
/// /proc/self/exe; otherwise starts the program once more from such a file. A
/// read-only mount that is attached nowhere costs two system calls and no
/// copy, and nothing inside a container can make it writable again.
pub fn protect() -> Result<()> {
    let what = "protect the runtime's own file";
    let exe = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(|| what)?;
    if is_protected(&exe).doing(|| what)? {
        return Ok(());
    }
    if std::env::var_os(MARK).is_some() {
        bail!("{what}: it is still writable after a start from a read-only place");
    }
    let sealed = match read_only_mount(&exe) {
        // Without CAP_SYS_ADMIN there is no mounting: a sealed copy does it.
        Err(_) => sealed_copy(&exe).doing(|| what)?,
        Ok(tree) => tree,
    };
    let c_string = |s: std::ffi::OsString| CString::new(s.into_vec());
    let argv = std::env::args_os().map(c_string).collect::<Result<_, _>>();
    let environment = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        c_string(name)
    });
    let envp = environment.chain([CString::new(format!("{MARK}=1"))]).collect::<Result<_, _>>();
    match (argv, envp) {
        (Ok(argv), Ok(envp)) => Err(fexecve(sealed.as_fd(), &CVec::new(argv), &CVec::new(envp))).doing(|| what),
        _ => bail!("{what}: an argument has a NUL byte"),
    }
}

fn is_protected(exe: &OwnedFd) -> rustix::io::Result<bool> {
    if rustix::fs::fstatvfs(exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // EINVAL: not a file that could have seals.
    Ok(rustix::fs::fcntl_get_seals(exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

fn read_only_mount(exe: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(exe, c"", flags)?;
    setattr(tree.as_fd(), false, &MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })?;
    Ok(tree)
}

fn sealed_copy(exe: &OwnedFd) -> Result<OwnedFd> {
    match super::memfd::program(c"firn") {
        Ok(copy) => fill(copy, exe).doing(|| "make a sealed copy"),
        Err(Errno::ACCESS) => bail!(
            "vm.memfd_noexec is 2, so no program can be run from memory, and mounting is not permitted: \
             set that sysctl to 1, or install firn on a read-only file system"
        ),
        Err(errno) => Err(errno).doing(|| "make a sealed copy"),
    }
}

fn fill(copy: OwnedFd, exe: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let mut left = rustix::fs::fstat(exe)?.st_size as usize;
    while left > 0 {
        match rustix::fs::sendfile(&copy, exe, None, left)? {
            0 => return Err(Errno::IO),
            n => left -= n,
        }
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    // Executing needs no writable descriptor to be left: ETXTBSY.
    let path = format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&copy));
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
