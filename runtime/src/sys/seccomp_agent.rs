//! seccomp_unotify(2): what an agent does with a filter that asks. For the conformance
//! suite, which plays one.

use super::check;
use rustix::fd::{AsRawFd, BorrowedFd};

/// struct seccomp_notif, linux/seccomp.h: a call that waits for an agent.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Notification {
    pub id: u64,
    /// As the agent counts.
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
/// Linux 5.5.
const FLAG_CONTINUE: u32 = 1;

/// What an agent does: waits for the next call.
pub fn receive_notification(listener: BorrowedFd<'_>) -> rustix::io::Result<Notification> {
    // The kernel wants it zeroed.
    let mut call = Notification::default();
    // SAFETY: the kernel writes at most one struct of this size.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut call) }.into())?;
    Ok(call)
}

/// Lets the call fail with an errno, or go on.
pub fn respond(listener: BorrowedFd<'_>, call: &Notification, error: Option<i32>) -> rustix::io::Result<()> {
    let flags = if error.is_some() { 0 } else { FLAG_CONTINUE };
    let mut response = Response { id: call.id, value: 0, error: -error.unwrap_or(0), flags };
    // SAFETY: the kernel reads one struct of this size.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut response) }.into())?;
    Ok(())
}
