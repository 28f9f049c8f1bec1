//! Protects the runtime's executable from being overwritten (CVE-2019-5736): a container
//! that gets the runtime to execute /proc/self/exe, as its entrypoint or by
//! `#!/proc/self/exe`, or that opens /proc/PID/exe of a runtime process in it, could
//! open that file for writing once the process has ended, and replace the host's binary.

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

/// Environment variable that guards against a re-exec loop, where the second start is
/// not protected either.
pub const SEALED_VARIABLE: &str = "FIRN_SEALED";

/// Returns if the executable can't be written through /proc/self/exe; otherwise executes
/// it again from a detached read-only mount, or from a sealed memfd. The mount costs two
/// system calls and no copy, and nothing in a container can remount it. Errors: no
/// protected executable could be made.
pub fn protect() -> Result<()> {
    let what = "protect the runtime's own file";
    let exe = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(|| what)?;
    if is_protected(&exe).doing(|| what)? {
        return Ok(());
    }
    if std::env::var_os(SEALED_VARIABLE).is_some() {
        bail!("{what}: it is still writable after it was executed from a read-only mount or sealed memfd");
    }
    let sealed = match read_only_mount(&exe) {
        // Without CAP_SYS_ADMIN no mount can be made: a sealed memfd instead.
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
    let envp = environment.chain([CString::new(format!("{SEALED_VARIABLE}=1"))]).collect::<Result<_, _>>();
    match (argv, envp) {
        (Ok(argv), Ok(envp)) => Err(fexecve(sealed.as_fd(), &CVec::new(argv), &CVec::new(envp))).doing(|| what),
        _ => bail!("{what}: an argument has a NUL byte"),
    }
}

fn is_protected(exe: &OwnedFd) -> rustix::io::Result<bool> {
    if rustix::fs::fstatvfs(exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // EINVAL: not a memfd, so without seals.
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
        Ok(copy) => copy_and_seal(copy, exe).doing(|| "make a sealed memfd"),
        Err(Errno::ACCESS) => bail!(
            "vm.memfd_noexec is 2, so no program can be run from memory, and mounting is not permitted: \
             set that sysctl to 1, or install firn on a read-only file system"
        ),
        Err(errno) => Err(errno).doing(|| "make a sealed memfd"),
    }
}

fn copy_and_seal(copy: OwnedFd, exe: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let mut left = rustix::fs::fstat(exe)?.st_size as usize;
    while left > 0 {
        match rustix::fs::sendfile(&copy, exe, None, left)? {
            0 => return Err(Errno::IO),
            n => left -= n,
        }
    }
    seal(&copy)?;
    // execve(2) fails with ETXTBSY while the file is open for writing.
    let path = format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&copy));
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The kernel refuses with EBUSY as long as anything has a reference to one of the pages, such as what moves
/// pages in a busy machine's memory; it has waited for 150 ms by then.
fn seal(copy: &OwnedFd) -> rustix::io::Result<()> {
    const TRIES: usize = 40;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    let mut tries = std::iter::repeat_with(|| rustix::fs::fcntl_add_seals(copy, seals)).take(TRIES);
    tries.find(|tried| *tried != Err(Errno::BUSY)).unwrap_or(Err(Errno::BUSY))
}
