//! Signal masks, dispositions and waiting, for the foreground of `run` and `exec`.

use super::{check, syscall};
use rustix::fs::{Mode, OFlags};
use std::mem::MaybeUninit;

/// All signals: what the foreground blocks and then waits for.
fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the whole set.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised above.
    unsafe { set.assume_init() }
}

/// Blocks every signal. Must come before the clone, so that a child that ends
/// at once is not missed.
pub fn block_all() -> rustix::io::Result<()> {
    let set = full_set();
    // SAFETY: `set` is a valid set; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) }.into())?;
    Ok(())
}

/// Unblocks every signal.
pub fn unblock_all() -> rustix::io::Result<()> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: `set` was initialised above; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) }.into())?;
    Ok(())
}

/// Sets what a program needs of its own signals, whatever the caller handed down
/// across execve(2): first of all in each program.
///
/// - SIGCHLD has its default. Where it is ignored_mask the kernel reaps children by
///   itself (wait(2), "NOTES"): no status is left to wait for, and a child's pid
///   can belong to another process before anybody has looked.
/// - No signal is blocked.
/// - SIGPIPE is ignored_mask: a write to a reader that is gone is an error (EPIPE).
pub fn reset_at_start() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // sigprocmask(2) fails for a bad address or a bad `how` only.
    let _ = unblock_all();
}

/// This program ignores SIGPIPE, and an ignored_mask signal stays ignored_mask across execve.
pub fn reset_sigpipe() {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Gives every signal but SIGPIPE its default, for a container's program inherits
/// dispositions: one that ignores SIGTERM without knowing can't be stopped, and a
/// shell can't even trap it. crun does the same; runc's Go start-up does it.
/// Only those that /proc/self/status names as ignored_mask cost a call.
pub fn reset_ignored() {
    let ignored = own_status().ok().and_then(|status| ignored_mask(&status));
    for number in (1..=64).filter(|number| *number != libc::SIGPIPE) {
        if ignored.is_none_or(|mask| mask & 1 << (number - 1) != 0) {
            set_default(number);
        }
    }
}

/// By the system call, for signal(3) refuses the C library's own two, 32 and 33.
fn set_default(number: libc::c_int) {
    // struct sigaction of the kernel: handler (SIG_DFL is 0), flags, restorer, mask.
    const DEFAULT: [u64; 4] = [0; 4];
    // SAFETY: SIG_DFL runs no code of ours; the structure outlives the call, and the
    // last argument is the size of its mask. SIGKILL and SIGSTOP are refused.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), std::ptr::null::<u8>(), 8usize) };
}

fn own_status() -> rustix::io::Result<String> {
    let file = rustix::fs::open(c"/proc/self/status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // One with very many groups has its masks further on: then all are set.
    let mut text = [0; 4096];
    let length = rustix::io::read(&file, &mut text)?;
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

/// The mask of ignored_mask signals, proc_pid_status(5).
fn ignored_mask(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Ends this process by each of `signals` that is not ignored_mask; a program that
/// follows has their defaults again.
pub fn exit_on(signals: &[libc::c_int]) {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit(2) may be called in a handler.
        unsafe { libc::_exit(128 + signal) }
    }
    for signal in signals {
        // SAFETY: the handler does nothing but end the process.
        let before = unsafe { libc::signal(*signal, end as *const () as libc::sighandler_t) };
        if before == libc::SIG_IGN {
            // SAFETY: SIG_IGN runs no code of ours.
            unsafe { libc::signal(*signal, libc::SIG_IGN) };
        }
    }
}

/// Sends `signal` (1–64) to the process behind `pidfd`.
pub fn pidfd_send_signal(pidfd: rustix::fd::BorrowedFd<'_>, signal: i32) -> rustix::io::Result<()> {
    use rustix::fd::AsRawFd;
    // SAFETY: integers and no siginfo.
    unsafe { syscall!(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0u32)? };
    Ok(())
}

/// The descriptor that delivers all blocked signals, signalfd(2).
pub fn signalfd() -> rustix::io::Result<rustix::fd::OwnedFd> {
    signalfd_with(&full_set())
}

/// The same for some of them alone: the others stay pending.
pub fn signalfd_for(numbers: &[libc::c_int]) -> rustix::io::Result<rustix::fd::OwnedFd> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised above.
    let mut set = unsafe { set.assume_init() };
    for number in numbers {
        // SAFETY: `set` is valid; a number that is no signal is refused.
        unsafe { libc::sigaddset(&raw mut set, *number) };
    }
    signalfd_with(&set)
}

/// Takes the next signal from a signalfd that can be read.
pub fn read_signalfd(signals: rustix::fd::BorrowedFd<'_>) -> rustix::io::Result<i32> {
    let mut record = [0u8; SIGNALFD_RECORD];
    rustix::io::read(signals, &mut record)?;
    let [a, b, c, d, ..] = record;
    Ok(i32::from_ne_bytes([a, b, c, d]))
}

fn signalfd_with(set: &libc::sigset_t) -> rustix::io::Result<rustix::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: `set` is valid.
    let fd = check(unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { rustix::fd::OwnedFd::from_raw_fd(fd as i32) })
}

/// The size of one record that a signalfd delivers; its first four bytes are
/// the signal's number.
pub const SIGNALFD_RECORD: usize = size_of::<libc::signalfd_siginfo>();

/// A child that has ended and waits to be reaped, waitid(2); rustix does not
/// tell whose a status is.
pub fn exited_child() -> rustix::io::Result<Option<rustix::process::Pid>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: waitid fills in the siginfo, which is zeroed before.
    check(unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) }.into())?;
    // SAFETY: zeroed, and then filled in or left so by waitid.
    let info = unsafe { info.assume_init() };
    // SAFETY: the siginfo is one of SIGCHLD, or all zero.
    Ok(rustix::process::Pid::from_raw(unsafe { info.si_pid() }))
}

/// The signal in words, such as "bad system call".
pub fn description(signal: i32) -> String {
    // SAFETY: strsignal(3) takes any number.
    let text = unsafe { libc::strsignal(signal) };
    if text.is_null() {
        return signal.to_string();
    }
    // SAFETY: a string that lives until the next call by this thread; it is copied.
    unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::ignored_mask;

    #[test]
    fn the_mask_of_ignored_signals_is_found() {
        let status = "Name:\tSigIgn: ffff\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000011000\nSigCgt:\t0\n";
        assert_eq!(ignored_mask(status), Some(0x11000));
        assert_eq!(ignored_mask("Name:\tx\n"), None);
    }
}
