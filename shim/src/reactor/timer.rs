//! Deadlines of the event loop.

use nix::sys::epoll::EpollTimeout;
use std::time::{Duration, Instant};

/// A timer that fires once.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Instant>);

impl Timer {
    /// Starts it anew; a time beyond the clock's range never comes.
    pub(crate) fn arm(&mut self, after: Duration) {
        self.0 = Instant::now().checked_add(after);
    }

    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }

    /// When it fires, if it is armed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0
    }

    /// Whether it has fired by `now`; it is disarmed then.
    pub(crate) fn take_expired(&mut self, now: Instant) -> bool {
        self.0.take_if(|deadline| *deadline <= now).is_some()
    }
}

/// The time since the boot, by the clock of [`Instant`]: another monitor has the same.
pub(crate) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// The time to a deadline for epoll_wait(2), in milliseconds, rounded up: rounded down, the last
/// millisecond would be a busy loop.
pub(super) fn timeout(deadline: Option<Instant>) -> EpollTimeout {
    match deadline {
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            let millis = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        }
        None => EpollTimeout::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_once_and_never_early() {
        let mut timer = Timer::default();
        assert!(!timer.take_expired(Instant::now()));
        timer.arm(Duration::from_secs(9));
        let deadline = timer.deadline().unwrap();
        assert!(!timer.take_expired(deadline - Duration::from_nanos(1)));
        assert!(timer.take_expired(deadline) && !timer.take_expired(deadline));
        timer.arm(Duration::MAX);
        assert_eq!(timer.deadline(), None);
        assert_eq!(timeout(None), EpollTimeout::NONE);
        assert_eq!(timeout(Some(Instant::now())), EpollTimeout::ZERO);
    }
}
