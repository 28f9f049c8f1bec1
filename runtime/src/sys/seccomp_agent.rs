//! seccomp_unotify(2), the agent's side of user notification: for the conformance suite.

use super::check;
use rustix::fd::{AsRawFd, BorrowedFd};

/// struct seccomp_notif, linux/seccomp.h: a system call that waits for its answer.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Notification {
    pub id: u64,
    /// In the pid namespace of the agent.
    pub pid: u32,
    pub flags: u32,
    pub number: i32,
    pub arch: u32,
    pub instruction: u64,
    pub arguments: [u64; 6],
}

/// struct seccomp_notif_resp.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
/// SECCOMP_USER_NOTIF_FLAG_CONTINUE (Linux 5.5).
const FLAG_CONTINUE: u32 = 1;

/// SECCOMP_IOCTL_NOTIF_RECV: waits for the next notification.
pub fn receive_notification(listener: BorrowedFd<'_>) -> rustix::io::Result<Notification> {
    // Must be zeroed, or EINVAL.
    let mut call = Notification::default();
    // SAFETY: the kernel writes at most one struct of this size.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut call) }.into())?;
    Ok(call)
}

/// SECCOMP_IOCTL_NOTIF_SEND: the call fails with errno `error`, or is executed (None).
pub fn respond(listener: BorrowedFd<'_>, call: &Notification, error: Option<i32>) -> rustix::io::Result<()> {
    let flags = if error.is_some() { 0 } else { FLAG_CONTINUE };
    let mut response = Response { id: call.id, value: 0, error: -error.unwrap_or(0), flags };
    // SAFETY: the kernel reads one struct of this size.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut response) }.into())?;
    Ok(())
}
