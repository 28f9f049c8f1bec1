//! The only file with unsafe code: real-time signals, for which neither nix nor rustix has a
//! checked type; fork, and what comes between it and execve; datagrams whose descriptors are not
//! received; how a process ended that another has reaped, and the kernel's events about processes.
#![allow(unsafe_code)]

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{self, SigSet};
use rustix::process::{PidfdFlags, Signal, pidfd_open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// pidfd_send_signal(2). Errors: ESRCH where the process has ended, InvalidInput for a number that
/// is no signal.
pub(crate) fn signal_pidfd(pidfd: impl AsFd, number: i32) -> io::Result<()> {
    let signal = match Signal::from_named_raw(number) {
        Some(signal) => signal,
        None if (34..=64).contains(&number) => {
            // SAFETY: glibc uses 32 and 33 for its own threads, SIGRTMIN is 34, and the kernel's
            // last signal is 64 (signal(7)). The rest are real-time signals on which no library
            // here relies.
            unsafe { Signal::from_raw_unchecked(number) }
        }
        None => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(rustix::process::pidfd_send_signal(pidfd, signal)?)
}

/// `struct pidfd_info` in the size of Linux 6.13 (linux/pidfd.h).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid, and eight ids.
    ids: [u32; 11],
    exit_code: i32,
}

/// PIDFD_INFO_EXIT (linux/pidfd.h).
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)` (linux/pidfd.h).
const PIDFD_GET_INFO: libc::Ioctl = 0xc000_ff0b | (size_of::<PidfdInfo>() as libc::Ioctl) << 16;

/// The wait status (wait(2)) of a process that was reaped, by whichever process: since Linux 6.15 the
/// kernel keeps it for as long as a pidfd of it is open or mounted. `None`: it was not reaped, or the
/// kernel is older.
pub(crate) fn wait_status_of_reaped(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel writes no more than the size in the request's number,
    // which is the struct's.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// A socket of the kernel's process events (NETLINK_CONNECTOR, linux/connector.h, linux/cn_proc.h), which
/// have begun to come, if this process may have them. It does not wait. Errors: the kernel has none.
pub(crate) fn listen_to_process_events() -> io::Result<OwnedFd> {
    const CN_IDX_PROC: u32 = 1;
    const PROC_CN_MCAST_LISTEN: u32 = 1;
    const LENGTH: u32 = 16 + 20 + 4;
    let flags = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) touches no memory.
    let socket = match unsafe { libc::socket(libc::AF_NETLINK, flags, libc::NETLINK_CONNECTOR) } {
        fd if fd < 0 => return Err(io::Error::last_os_error()),
        // SAFETY: it is open, and nothing else owns it.
        fd => unsafe { OwnedFd::from_raw_fd(fd) },
    };
    // SAFETY: a sockaddr_nl of zeros is a valid one.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    (address.nl_family, address.nl_groups) = (libc::AF_NETLINK as libc::sa_family_t, CN_IDX_PROC);
    let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address is of the size that is given, and outlives the call.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut request = Vec::new();
    // nlmsghdr: length, type and flags, sequence, port; cn_msg: index, value, sequence, ack, length and flags.
    let words = [LENGTH, u32::from(libc::NLMSG_DONE as u16), 0, 0, CN_IDX_PROC, 1, 0, 0, 4, PROC_CN_MCAST_LISTEN];
    words.iter().for_each(|word| request.extend(word.to_ne_bytes()));
    rustix::net::send(&socket, &request, rustix::net::SendFlags::empty())?;
    Ok(socket)
}

/// Has the kernel pass on to the socket only what a program of classic BPF lets through (SO_ATTACH_FILTER,
/// socket(7)), in the place of one before. An instruction: code, jt, jf, k.
pub(crate) fn attach_filter(socket: BorrowedFd<'_>, program: &[(u16, u8, u8, u32)]) -> io::Result<()> {
    let filter = |&(code, jt, jf, k): &(u16, u8, u8, u32)| libc::sock_filter { code, jt, jf, k };
    let mut filters: Vec<libc::sock_filter> = program.iter().map(filter).collect();
    let length = u16::try_from(filters.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: filters.as_mut_ptr() };
    let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: the value is of the size that is given, and leads to as many instructions as it says; both
    // outlive the call. The kernel checks the program.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const program).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a process has not been reaped, so that its pid is its own.
pub(crate) fn has_its_pid(pidfd: BorrowedFd<'_>) -> bool {
    // SAFETY: signal 0 is none, and no siginfo is passed (pidfd_send_signal(2)).
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, 0, 0) == 0 }
}

/// What a command does between fork and execve:
///
/// * It writes its /proc/PID/stat (pid and start time) to `stat_file`, by which the next monitor
///   finds it if this one is killed. Until that is written it dies with us (PR_SET_PDEATHSIG):
///   otherwise it would make its container after the next monitor has cleaned up.
/// * It unblocks all signals. Those of the signalfd are blocked here, the mask is kept across
///   execve (signal(7)), and std has not reset it since Rust 1.67: the container's init would
///   never get a SIGTERM.
pub(crate) fn set_pre_exec(command: &mut Command, stat_file: OwnedFd) {
    let monitor = nix::unistd::getpid();
    let before_exec = move || {
        prctl::set_pdeathsig(signal::Signal::SIGKILL)?;
        // The parent may have ended before that was set (PR_SET_PDEATHSIG(2const)).
        if nix::unistd::getppid() != monitor {
            return Err(io::ErrorKind::NotFound.into());
        }
        let stat = rustix::fs::open(c"/proc/self/stat", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
        let mut text = [0; 512];
        let length = rustix::io::read(&stat, &mut text)?;
        rustix::io::write(&stat_file, &text[..length])?;
        prctl::set_pdeathsig(None)?;
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed;
    // the closure makes system calls only and allocates nothing. The monitor has
    // one thread. Files are closed by execve or here.
    unsafe { command.pre_exec(before_exec) };
}

/// Resets what was inherited from the caller. To be called before anything is opened. The descriptors
/// that a service manager has passed to this process (sd_listen_fds(3)).
///
/// * All other descriptors above 2 are closed. They would be inherited by the runtime and perhaps by the
///   container, where they lead to the host's files (CVE-2016-9962, CVE-2024-21626); and a
///   caller that reads a pipe to its end would wait for as long as the monitor lives.
/// * SIGCHLD gets its default. While it is ignored the kernel reaps children itself, and init's
///   wait status is lost (wait(2)).
/// * All signals are unblocked. One that the monitor does not read would never be delivered.
pub(crate) fn reset_inherited() -> io::Result<Vec<OwnedFd>> {
    firn::startup::reset_signals();
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    let passed = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0).min(PASSED_LIMIT);
    // SAFETY: nothing has been opened yet, so no value of this program owns a
    // descriptor above the standard ones.
    if unsafe { libc::close_range(3 + passed, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut fds = Vec::new();
    for fd in (3..).take(passed as usize) {
        // SAFETY: fcntl touches no memory. It fails where there is no such descriptor.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
            // SAFETY: it is open, and nothing else owns it.
            fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Ok(fds)
}

/// Descriptors that are taken from a service manager.
const PASSED_LIMIT: u32 = 64;

/// Forks a process that runs `work` and ends. It has `stdin` and `stdout` as descriptors 0 and 1,
/// and no others, when this returns. Its pidfd.
pub(crate) fn fork_worker(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>, work: fn()) -> io::Result<OwnedFd> {
    let (closed, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the monitor has one thread, so the child's copy of memory is
    // consistent and it may run any code.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if set_streams(stdin, stdout).is_ok() {
            work();
        }
        // SAFETY: ends the process without the monitor's exit handlers.
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    // Its end: the child has closed its copy, after its two descriptors were set.
    let _ = rustix::io::read(&closed, &mut [0; 1]);
    // It is not reaped before the event loop runs again, so the pid is still its own.
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(io::Error::last_os_error)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Forks a daemon, with /dev/null as its standard streams, in a session of its own. True in it.
pub(crate) fn fork_daemon() -> io::Result<bool> {
    let null = rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    // SAFETY: the caller has one thread, so the child's copy of memory is
    // consistent and it may run any code.
    match unsafe { libc::fork() } {
        0 => {
            rustix::process::setsid()?;
            rustix::process::chdir("/")?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            Ok(true)
        }
        pid if pid < 0 => Err(io::Error::last_os_error()),
        _ => Ok(false),
    }
}

/// Closes a descriptor of ours in a way that another process has to wait for what its last close
/// takes. That process is a child, to be reaped.
pub(crate) fn close_elsewhere(fd: OwnedFd) {
    let Ok((reader, writer)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else { return };
    let forked = fork_worker(fd.as_fd(), reader.as_fd(), || {
        // The end of this pipe: now its descriptor is the last.
        let _ = rustix::io::read(rustix::stdio::stdout(), &mut [0; 1]);
    });
    drop(fd);
    drop((forked, writer));
}

/// Makes the two descriptors 0 and 1, and closes all others.
fn set_streams(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>) -> io::Result<()> {
    for (fd, target) in [(stdin, 0), (stdout, 1)] {
        // SAFETY: dup2 touches no memory; nothing in this process uses 0 and 1 yet.
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

/// A datagram that was received.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// In bytes.
    pub(crate) length: usize,
    /// It was longer than the buffer (MSG_TRUNC).
    pub(crate) truncated: bool,
    /// The sender's pid in our pid namespace (SCM_CREDENTIALS, unix(7)); 0 if it has none there.
    pub(crate) sender: i32,
}

/// Receives a datagram without waiting. Errors: EAGAIN. The control buffer has room for the
/// sender's credentials only: descriptors that were sent along are not installed, and the kernel
/// closes them before this returns (MSG_CTRUNC, unix(7)).
pub(crate) fn receive_datagram(socket: BorrowedFd<'_>, text: &mut [u8]) -> io::Result<Datagram> {
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
    Ok(Datagram { length, truncated: message.msg_flags & libc::MSG_TRUNC != 0, sender })
}
