//! Signal masks, dispositions, signalfd(2) and waiting.

use super::{check, syscall};
use rustix::fs::{Mode, OFlags};
use std::mem::MaybeUninit;

/// The set of all signals.
fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the whole set.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised above.
    unsafe { set.assume_init() }
}

/// Blocks every signal. Before the clone, so that the SIGCHLD of a child that ends at
/// once stays pending for signalfd(2).
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

/// Sets the signal state that a program of ours needs, whatever the caller left across
/// execve(2). To be called first in main.
///
/// - SIGCHLD has its default disposition. Where it is ignored, the kernel reaps children
///   itself (wait(2), "NOTES"): waitpid(2) has no status, and a child's pid can be reused
///   before it is looked at.
/// - No signal is blocked.
/// - SIGPIPE is ignored: write(2) without a reader fails with EPIPE.
pub fn reset_at_start() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // sigprocmask(2) fails only for a bad address or `how`.
    let _ = unblock_all();
}

/// SIGPIPE has its default again: an ignored signal stays ignored across execve(2).
pub fn reset_sigpipe() {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Gives every ignored signal but SIGPIPE its default disposition, which the container's
/// program inherits. A program that ignores SIGTERM without knowing can't be stopped,
/// and a shell can't trap a signal that was ignored on entry. crun does the same; in
/// runc the start-up of Go does. Only signals in SigIgn of /proc/self/status cost a call.
pub fn reset_ignored() {
    let ignored = own_status().ok().and_then(|status| ignored_mask(&status));
    for number in (1..=64).filter(|number| *number != libc::SIGPIPE) {
        if ignored.is_none_or(|mask| mask & 1 << (number - 1) != 0) {
            set_default(number);
        }
    }
}

/// By rt_sigaction(2) itself: signal(3) refuses glibc's own signals, 32 and 33.
fn set_default(number: libc::c_int) {
    // struct sigaction of the kernel: handler (SIG_DFL is 0), flags, restorer, mask.
    const DEFAULT: [u64; 4] = [0; 4];
    // SAFETY: SIG_DFL runs no code of ours; the structure outlives the call, and the
    // last argument is the size of its mask. SIGKILL and SIGSTOP are refused.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), std::ptr::null::<u8>(), 8usize) };
}

fn own_status() -> rustix::io::Result<String> {
    let file = rustix::fs::open(c"/proc/self/status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // With very many groups SigIgn is past the buffer: then all signals are set.
    let mut text = [0; 4096];
    let length = rustix::io::read(&file, &mut text)?;
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

/// The mask after `SigIgn:` in /proc/PID/status, proc_pid_status(5).
fn ignored_mask(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Sets a handler for each of `signals` that is not ignored, which ends the process with
/// 128 + the signal's number. execve(2) resets it to the default.
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

/// pidfd_send_signal(2) of `signal` (1–64; 0 only checks). Errors: ESRCH where the
/// process has ended and been reaped.
pub fn pidfd_send_signal(pidfd: rustix::fd::BorrowedFd<'_>, signal: i32) -> rustix::io::Result<()> {
    use rustix::fd::AsRawFd;
    // SAFETY: integers and no siginfo.
    unsafe { syscall!(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0u32)? };
    Ok(())
}

/// A signalfd(2) for all signals, non-blocking; they must be blocked.
pub fn signalfd() -> rustix::io::Result<rustix::fd::OwnedFd> {
    signalfd_with(&full_set())
}

/// A signalfd(2) for `numbers` alone: other blocked signals stay pending.
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

/// Reads one signal's number from a signalfd. Errors: EAGAIN where none is pending.
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

/// sizeof(struct signalfd_siginfo); its first four bytes are ssi_signo.
pub const SIGNALFD_RECORD: usize = size_of::<libc::signalfd_siginfo>();

/// A child that has exited and is not yet reaped, waitid(2) with WNOWAIT. By libc:
/// rustix does not return si_pid.
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

/// strsignal(3) in lower case, such as "bad system call".
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
