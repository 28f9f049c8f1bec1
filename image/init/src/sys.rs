//! The system calls, and the only unsafe code. `spawn` relies on this being a process with one
//! thread.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// The arguments of execve(2), allocated before the fork.
#[derive(Debug)]
pub struct Exec {
    /// Paths to try in order.
    pub files: Vec<CString>,
    pub argv: Vec<CString>,
    pub envp: Vec<CString>,
}

/// The result of a waitpid(2).
#[derive(Debug)]
pub enum Reaped {
    Child { pid: i32, status: i32 },
    NoneEnded,
    NoneLeft,
}

/// Blocks all signals, which then stay pending for [`wait_signal`].
pub fn block_signals() -> io::Result<()> {
    // While SIGCHLD is ignored, as it may be inherited, the kernel reaps children itself (wait(2)).
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let set = full_set();
    // SAFETY: `set` is an initialised signal set; no old set is asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) })?;
    Ok(())
}

/// The next signal; `None` at the timeout, or when the call was interrupted.
pub fn wait_signal(timeout: Option<Duration>) -> Option<i32> {
    let set = full_set();
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the set is initialised, no siginfo is asked for, and `timeout` is
    // null or points to a timespec that outlives the call.
    let signal = unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), timeout) };
    (signal > 0).then_some(signal)
}

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset(3) initialises the set that it is given.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above, which can't fail for a valid pointer.
    unsafe { set.assume_init() }
}

/// Reaps one child that has ended, without waiting.
pub fn reap() -> Reaped {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
        0 => Reaped::NoneEnded,
        -1 => Reaped::NoneLeft,
        pid => Reaped::Child { pid, status },
    }
}

/// Sends a signal. That the process has ended meanwhile is no error.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: kill(2) touches no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

/// Sends a signal to every process of the pid namespace but this one.
pub fn kill_all(signal: i32) {
    kill(-1, signal);
}

/// Whether the file descriptor is a terminal.
pub fn is_terminal(fd: i32) -> bool {
    // SAFETY: isatty(3) touches no memory of ours.
    unsafe { libc::isatty(fd) == 1 }
}

/// Forks and executes; the pid. The outer error is of pipe or fork, the inner one of execve: the
/// child writes its errno to a pipe, which a successful execve closes.
pub fn spawn(exec: &Exec, on_terminal: bool) -> io::Result<io::Result<i32>> {
    let argv = pointers(&exec.argv);
    let envp = pointers(&exec.envp);
    let (read, write) = pipe()?;
    // SAFETY: the process has one thread, so that the child's copy of memory is
    // consistent, and the child does nothing but system calls.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        drop(read);
        become_command(exec, &argv, &envp, on_terminal, write.as_raw_fd());
    }
    drop(write);
    let mut errno = [0; 4];
    if read_full(&read, &mut errno)? == 0 {
        return Ok(Ok(pid));
    }
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    Ok(Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))))
}

/// A null-terminated array of pointers to strings, which the caller keeps alive.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: just made, and owned by nobody else.
    let read = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: as above.
    let write = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    Ok((read, write))
}

fn read_full(fd: &OwnedFd, buffer: &mut [u8; 4]) -> io::Result<usize> {
    // SAFETY: the buffer holds as many bytes as are asked for. The child writes
    // all four in one write to a pipe, which is atomic.
    let read = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// The child's side of the fork: sets process group and signals, and executes. It allocates nothing.
/// `report` is the pipe for an errno.
fn become_command(
    exec: &Exec,
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
    on_terminal: bool,
    report: i32,
) -> ! {
    take_terminal(on_terminal);
    reset_signals();
    let mut reason = libc::ENOENT;
    for file in &exec.files {
        // SAFETY: `file` is NUL-terminated; argv and envp are null-terminated
        // arrays of strings that `exec` keeps alive.
        unsafe { libc::execve(file.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) if exec.files.len() > 1 => {}
            // A later directory in PATH may have one that can be executed (execvp(3)).
            Some(libc::EACCES) => reason = libc::EACCES,
            other => {
                reason = other.unwrap_or(libc::EIO);
                break;
            }
        }
    }
    let bytes = reason.to_ne_bytes();
    // SAFETY: the bytes outlive the call; the descriptor is the pipe's end.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
    // SAFETY: ends the process without the parent's exit handlers.
    unsafe { libc::_exit(127) }
}

/// Gives the command its own process group in the terminal's foreground, so that keys such as Ctrl-C
/// signal it and not firn-init. SIGTTOU is still blocked here, so tcsetpgrp(3) works from the
/// background.
fn take_terminal(on_terminal: bool) {
    // SAFETY: tcgetpgrp(3) touches no memory of ours.
    let ours = on_terminal && unsafe { libc::tcgetpgrp(0) } >= 0;
    if on_terminal && !ours {
        // It is no controlling terminal yet: it becomes that of a new session.
        // SAFETY: setsid(2) touches no memory of ours.
        unsafe { libc::setsid() };
        // SAFETY: TIOCSCTTY takes an integer; with 0 it fails where another session has the terminal.
        unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        return;
    }
    // SAFETY: setpgid(2) touches no memory of ours.
    unsafe { libc::setpgid(0, 0) };
    if ours {
        // SAFETY: getpid(2) can't fail.
        let pid = unsafe { libc::getpid() };
        // SAFETY: tcsetpgrp(3) touches no memory of ours.
        unsafe { libc::tcsetpgrp(0, pid) };
    }
}

/// Resets all signals to their default (Rust ignores SIGPIPE, others may be inherited as ignored) and
/// unblocks them.
fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no code. It fails for SIGKILL, SIGSTOP and the two signals of the C
        // library, which stay as they are.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset(3) initialises the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is initialised by the call above.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut()) };
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
