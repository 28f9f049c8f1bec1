//! What each signal to process 1 means. By number, not by SIGRTMIN: managers
//! send 37, and where SIGRTMIN lies differs between C libraries.

/// Exit status that asks the container's manager to start it anew.
pub const RESTART: u8 = 133;

/// What to do about a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End every process within the grace, then exit with this status.
    Stop(u8),
    /// Exit with this status now.
    StopNow(u8),
    /// Ask the command to end, and exit with its status.
    StopCommand,
    /// Some child may have ended.
    Reap,
    /// The command's business.
    Forward,
    /// Nobody's business.
    Ignore,
}

/// The meaning of signal number `signal`.
pub fn action(signal: i32) -> Action {
    match signal {
        // systemd's RTMIN+3 (halt) and +4 (power off), +5 (reboot)
        37 | 38 => Action::Stop(0),
        39 | libc::SIGINT => Action::Stop(RESTART),
        // systemd's RTMIN+13, +14, +15: the same without waiting
        47 | 48 => Action::StopNow(0),
        49 => Action::StopNow(RESTART),
        libc::SIGTERM => Action::StopCommand,
        libc::SIGCHLD => Action::Reap,
        // Raised by what process 1 itself does with its terminal or a pipe.
        libc::SIGTTIN | libc::SIGTTOU | libc::SIGPIPE => Action::Ignore,
        _ => Action::Forward,
    }
}

/// The exit status that tells of a wait status.
///
/// Death by signal N is 128+N as in shells, except SIGTRAP: its 133 would ask
/// for a restart, and only a command that exits 133 itself means that.
pub fn exit_status(wait_status: i32) -> u8 {
    if libc::WIFEXITED(wait_status) {
        return u8::try_from(libc::WEXITSTATUS(wait_status)).unwrap_or(u8::MAX);
    }
    let signal = libc::WTERMSIG(wait_status);
    match 128 + u8::try_from(signal).unwrap_or(0) {
        RESTART => 1,
        status => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_meaning() {
        for (signal, wanted) in [
            (37, Action::Stop(0)),
            (38, Action::Stop(0)),
            (39, Action::Stop(133)),
            (libc::SIGINT, Action::Stop(133)),
            (47, Action::StopNow(0)),
            (48, Action::StopNow(0)),
            (49, Action::StopNow(133)),
            (libc::SIGTERM, Action::StopCommand),
            (libc::SIGCHLD, Action::Reap),
            (libc::SIGHUP, Action::Forward),
            (libc::SIGUSR1, Action::Forward),
            (libc::SIGWINCH, Action::Forward),
            (36, Action::Forward),
            (40, Action::Forward),
            (64, Action::Forward),
            (libc::SIGTTOU, Action::Ignore),
        ] {
            assert_eq!(action(signal), wanted, "signal {signal}");
        }
    }

    #[test]
    fn only_a_real_133_restarts() {
        assert_eq!(exit_status(0), 0);
        assert_eq!(exit_status(133 << 8), 133);
        assert_eq!(exit_status(255 << 8), 255);
        assert_eq!(exit_status(libc::SIGTERM), 143);
        assert_eq!(exit_status(libc::SIGKILL), 137);
        assert_eq!(exit_status(libc::SIGTRAP), 1);
        assert_eq!(exit_status(libc::SIGABRT | 0x80), 134);
        assert_eq!(exit_status(64), 192);
    }
}
