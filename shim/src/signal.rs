//! Signals by name and number.

use firn::spec::signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A signal's number on Linux, 1 to 64; parsed from `RTMIN+3`, `SIGRTMIN+3`, `37`, `TERM` or `SIGTERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signal(pub(crate) i32);

impl Signal {
    /// SIGRTMIN+3, at which systemd halts (systemd(1), "Signals").
    pub(crate) const HALT: Signal = Signal(signal::RTMIN + 3);
    /// reboot(RB_AUTOBOOT) ends a pid namespace's init by it (reboot(2)).
    pub(crate) const HUP: Signal = Signal(1);
    /// reboot(RB_POWER_OFF) and RB_HALT_SYSTEM end a pid namespace's init by it (reboot(2)).
    pub(crate) const INT: Signal = Signal(2);
    /// Shells show death by it as status 133, which as an exit status asks for a restart.
    pub(crate) const TRAP: Signal = Signal(5);
    pub(crate) const KILL: Signal = Signal(9);
    pub(crate) const TERM: Signal = Signal(15);
    pub(crate) const CHLD: Signal = Signal(17);
}

impl FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Signal, String> {
        // kill(2) sends nothing for 0; glibc's threads use 32 and 33 (nptl(7)).
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
}
