//! Signals by name and number, as people and images write them.

use firn::spec::signal;
use std::fmt;
use std::str::FromStr;

/// The annotation by which an image names the signal that stops it.
pub const STOP_ANNOTATION: &str = "org.opencontainers.image.stopSignal";

/// A signal's number; parsed from `RTMIN+3`, `SIGRTMIN+3`, `37`, `TERM` or `SIGTERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(pub i32);

impl Signal {
    /// What systemd halts on, and what firn's contract asks of a foreign init.
    pub const HALT: Signal = Signal(signal::RTMIN + 3);
    /// Death by it is how reboot(RB_AUTOBOOT) ends a pid namespace's init.
    pub const HUP: Signal = Signal(1);
    /// Death by it is how power-off and halt end a pid namespace's init.
    pub const INT: Signal = Signal(2);
    /// Its death shows as 133 in a shell, which is not a restart.
    pub const TRAP: Signal = Signal(5);
    /// The end.
    pub const KILL: Signal = Signal(9);
}

impl FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Signal, String> {
        // 0 is no signal to send, and the C library keeps 32 and 33.
        let sendable = |number: &i32| !matches!(number, 0 | 32 | 33);
        let number = signal::number(text).filter(sendable);
        number.map(Signal).ok_or_else(|| format!("unknown signal {text:?}"))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&signal::name(self.0))
    }
}

/// Whether a process would take the signal: it has a handler for it, or blocks
/// it (which is how a signalfd is used). A pid namespace's init loses any other
/// signal without a trace, also one that is sent a moment before it installs
/// its handler. `status` is the text of /proc/PID/status.
pub fn is_awaited(status: &str, signal: Signal) -> bool {
    ["SigCgt:", "SigBlk:"].iter().any(|field| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask >> (signal.0 - 1) & 1 == 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("RTMIN+3", 37),
            ("SIGRTMIN+3", 37),
            ("37", 37),
            ("sigrtmin+3", 37),
            ("SIGRTMIN", 34),
            ("SIGRTMAX", 64),
            ("RTMAX-1", 63),
            ("TERM", 15),
            ("SIGTERM", 15),
            (" SIGINT\n", 2),
            ("9", 9),
        ] {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal() {
        for text in [
            "",
            "SIG",
            "0",
            "32",
            "33",
            "65",
            "-1",
            "+3",
            "RTMIN+31",
            "RTMIN+-1",
            "RTMIN+",
            "RTMAX-40",
            "RTMIN+99999999999",
            "TERMINATE",
            "SIGSIGTERM",
        ] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }

    #[test]
    fn shown_as_written() {
        for text in ["SIGTERM", "SIGRTMIN+3", "SIGRTMIN", "SIGHUP"] {
            assert_eq!(text.parse::<Signal>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn awaited_when_caught_or_blocked() {
        let mask = |n: i32| format!("{:016x}", 1u64 << (n - 1));
        let zero = "0000000000000000";
        for (blocked, caught, awaited) in
            [(mask(37), zero.to_string(), true), (zero.to_string(), mask(37), true), (mask(36), mask(38), false)]
        {
            let status = format!("Name:\tinit\nSigBlk:\t{blocked}\nSigIgn:\t{zero}\nSigCgt:\t{caught}\n");
            assert_eq!(is_awaited(&status, Signal::HALT), awaited, "{status}");
        }
        assert!(!is_awaited("", Signal::HALT));
    }
}
