//! What each signal to process 1 means. By number and not by SIGRTMIN, whose value differs between C
//! libraries: managers send 37.

/// The exit status that asks the container's manager for a restart.
pub const RESTART: u8 = 133;

/// What a signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// SIGTERM to all processes, SIGKILL after the grace; exit with this status.
    Stop(u8),
    /// Exit with this status at once.
    StopNow(u8),
    /// SIGTERM to the command; exit with its status.
    StopCommand,
    /// A child may have ended.
    Reap,
    /// Pass it on to the command.
    Forward,
    /// No effect.
    Ignore,
}

/// What signal number `signal` does.
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
        // From process 1's own use of its terminal or a pipe.
        libc::SIGTTIN | libc::SIGTTOU | libc::SIGPIPE => Action::Ignore,
        _ => Action::Forward,
    }
}

/// The exit status for the command's wait status: its own, or 128 + N for a death by signal N, as in
/// shells. 1 for SIGTRAP, whose 133 would ask for a restart.
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
    fn only_an_exit_status_of_133_restarts() {
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
