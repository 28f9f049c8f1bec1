//! Pseudo-terminals by descriptor, ioctl_tty(2).

use super::{check, last_errno};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Opens the slave of `master` by TIOCGPTPEER (Linux 4.13). No path is looked up, so a
/// /dev/pts/N that was replaced by a symbolic link does not decide what is opened and
/// bound on /dev/console (CVE-2025-52565).
pub fn open_peer(master: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags and returns a descriptor.
    let fd = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if fd == -1 {
        return Err(last_errno());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// TIOCSPTLCK 0, as unlockpt(3): the slave may be opened.
pub fn unlock(master: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which lives here.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }.into())?;
    Ok(())
}

/// TIOCSCTTY: the terminal becomes the controlling one of the calling session leader.
/// Errors: EPERM where the caller is not a session leader without a terminal.
pub fn set_controlling(terminal: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // SAFETY: TIOCSCTTY takes an int.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into())?;
    Ok(())
}
