//! The only file that may hold unsafe code: real-time signals, for which
//! neither nix nor rustix has a checked type; what a process inherits, from us
//! and by us; datagrams whose descriptors are not taken.
#![allow(unsafe_code)]

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{self, SigSet};
use rustix::process::{PidfdFlags, Signal, pidfd_open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Sends signal `number` to the process behind `pidfd`.
pub fn signal_pidfd(pidfd: impl AsFd, number: i32) -> io::Result<()> {
    let signal = match Signal::from_named_raw(number) {
        Some(signal) => signal,
        None if (34..=64).contains(&number) => {
            // SAFETY: the C library keeps 32 and 33 for its own threads and
            // starts SIGRTMIN at 34; the kernel's last signal is 64. What is
            // left is a real-time signal that no library here relies on.
            unsafe { Signal::from_raw_unchecked(number) }
        }
        None => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(rustix::process::pidfd_send_signal(pidfd, signal)?)
}

/// Prepares a command's process, between fork and exec:
///
/// * It is not there without our knowledge. It writes its /proc/PID/stat (pid and
///   start time) to `mark`, by which a monitor that comes after a killed one finds
///   it, and until that is written it dies with us: it would otherwise make its
///   container behind the back of the next monitor.
/// * No signal is blocked in it. The ones that the loop reads from a signalfd
///   are blocked here, a mask outlives execve, and std has kept it since 1.67:
///   without this the container's init would never get a SIGTERM.
pub fn prepare(command: &mut Command, mark: OwnedFd) {
    let monitor = nix::unistd::getpid();
    let prepare = move || {
        prctl::set_pdeathsig(signal::Signal::SIGKILL)?;
        // We may have been killed before that was set (prctl(2)).
        if nix::unistd::getppid() != monitor {
            return Err(io::ErrorKind::NotFound.into());
        }
        let stat = rustix::fs::open(c"/proc/self/stat", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
        let mut text = [0; 512];
        let length = rustix::io::read(&stat, &mut text)?;
        rustix::io::write(&mark, &text[..length])?;
        prctl::set_pdeathsig(None)?;
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed;
    // the closure makes system calls only and allocates nothing. The monitor has
    // one thread. Files are closed by execve or here.
    unsafe { command.pre_exec(prepare) };
}

/// Gives up what a careless caller left us with. To be called before anything
/// is opened.
///
/// * Open files: they would reach the runtime and perhaps the container
///   (CVE-2016-9962 and CVE-2024-21626 began so), and the caller may wait for
///   the end of a pipe that we would hold open for as long as we live.
/// * An ignored SIGCHLD: the kernel would then reap init itself, and its status
///   would be lost.
/// * Blocked signals: those that the monitor does not read would never arrive.
pub fn shed_inheritance() -> io::Result<()> {
    firn::sys::signal::reset_at_start();
    // SAFETY: nothing has been opened yet, so no value of this program owns a
    // descriptor above the standard ones.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks a process that runs `work` and ends. It has `stdin` and `stdout` as 0 and
/// 1, and no other descriptor. The result is its pidfd.
pub fn fork_worker(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>, work: fn()) -> io::Result<OwnedFd> {
    // SAFETY: the monitor has one thread, so the child's copy of memory is
    // consistent and it may run any code.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if take_streams(stdin, stdout).is_ok() {
            work();
        }
        // SAFETY: ends the process without running what the monitor registered.
        unsafe { libc::_exit(0) }
    }
    // Our child, which nobody else reaps: the pid is still its own.
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(io::Error::last_os_error)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn take_streams(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>) -> io::Result<()> {
    for (fd, target) in [(stdin, 0), (stdout, 1)] {
        // SAFETY: dup2 touches no memory; in this process nobody uses 0 and 1 yet.
        if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: all other descriptors are copies of the monitor's, which nothing in
    // this process uses any more.
    match unsafe { libc::close_range(2, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A datagram.
#[derive(Debug)]
pub struct Datagram {
    pub length: usize,
    /// It was longer than the buffer.
    pub cut: bool,
    /// The sender's pid as seen from here (SCM_CREDENTIALS); 0 if it has none.
    pub sender: i32,
}

/// Takes a datagram without waiting. There is room for the sender's credentials
/// and for nothing else: descriptors that came along are never installed, and the
/// kernel drops them before this returns (unix(7), MSG_CTRUNC).
pub fn receive(socket: BorrowedFd<'_>, text: &mut [u8]) -> io::Result<Datagram> {
    #[repr(C)]
    union Control {
        _align: libc::cmsghdr,
        // SAFETY: CMSG_SPACE computes with its argument only.
        bytes: [u8; unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize],
    }
    let mut control = Control { bytes: [0; _] };
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: a msghdr of zeros is a valid, empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the header leads to buffers of the lengths that it names, which
    // outlive the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled in the header and its control buffer.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    let mut sender = 0;
    // SAFETY: not null, it points to a whole header in the control buffer.
    if let Some(first) = unsafe { header.as_ref() }
        && (first.cmsg_level, first.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
    {
        // SAFETY: computes an address behind the header.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: the buffer has room for a whole ucred there, of any values.
        let credentials: libc::ucred = unsafe { data.cast::<libc::ucred>().read_unaligned() };
        sender = credentials.pid;
    }
    Ok(Datagram { length, cut: message.msg_flags & libc::MSG_TRUNC != 0, sender })
}
