//! Readiness and status, by the datagram protocol of sd_notify(3): in from the container, out to
//! the monitor's own service manager.

pub(crate) mod inbox;
pub(crate) mod store;
pub(crate) mod upstream;

use serde::{Deserialize, Serialize};

/// A status text is cut at so many characters.
const STATUS_LIMIT: usize = 256;

/// Whether the container is waited for to notify that it is ready; option `--notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(crate) enum NotifyMode {
    /// It notifies, and is waited for
    Yes,
    /// It does not, and gets no socket
    No,
    /// As firn.json's init.notify says; a READY=1 counts in any case
    Auto,
}

/// A variable assignment that has a meaning here, of those that sd_notify(3) lists. All others
/// (MAINPID, FDSTORE …) would speak about the monitor to the host's service manager, and a
/// container has no say in that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification {
    Ready,
    Stopping,
    Status(String),
    ExitStatus(u8),
    /// WATCHDOG=1: it is alive.
    Alive,
    /// WATCHDOG=trigger: it is not, and says so.
    Stuck,
}

impl Notification {
    /// The notification that a line of a message is. Control characters are removed from a status
    /// text.
    fn parse(line: &str) -> Option<Notification> {
        match line.split_once('=')? {
            ("READY", "1") => Some(Notification::Ready),
            ("STOPPING", "1") => Some(Notification::Stopping),
            ("STATUS", text) => {
                let printable = text.chars().filter(|c| !c.is_control());
                Some(Notification::Status(printable.take(STATUS_LIMIT).collect()))
            }
            ("WATCHDOG", "1") => Some(Notification::Alive),
            ("WATCHDOG", "trigger") => Some(Notification::Stuck),
            ("EXIT_STATUS", number) => number.parse().ok().map(Notification::ExitStatus),
            _ => None,
        }
    }

    /// The assignment, without a newline.
    fn line(&self) -> String {
        match self {
            Notification::Ready => "READY=1".into(),
            Notification::Stopping => "STOPPING=1".into(),
            Notification::Status(text) => format!("STATUS={text}"),
            Notification::ExitStatus(status) => format!("EXIT_STATUS={status}"),
            Notification::Alive => "WATCHDOG=1".into(),
            Notification::Stuck => "WATCHDOG=trigger".into(),
        }
    }

    /// Whether both assign the same variable.
    fn same_variable(&self, other: &Notification) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The notifications in a message; of several for one variable the first counts, as for systemd.
fn parse_message(message: &[u8]) -> Vec<Notification> {
    let text = String::from_utf8_lossy(message);
    let mut all: Vec<Notification> = Vec::new();
    for notification in text.lines().filter_map(Notification::parse) {
        if !all.iter().any(|earlier| earlier.same_variable(&notification)) {
            all.push(notification);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_variables_are_taken() {
        let message =
            b"STATUS=up \x1b[31mred\nREADY=1\nMAINPID=1\nREADY=2\nEXIT_STATUS=133\nEXIT_STATUS=x\nSTOPPING=1\n\xff";
        let expected = [
            Notification::Status("up [31mred".into()),
            Notification::Ready,
            Notification::ExitStatus(133),
            Notification::Stopping,
        ];
        assert_eq!(parse_message(message), expected);
        assert_eq!(parse_message(b""), []);
        let long = format!("STATUS={}", "ä".repeat(2000));
        assert_eq!(parse_message(long.as_bytes()), [Notification::Status("ä".repeat(STATUS_LIMIT))]);
    }

    #[test]
    fn the_first_assignment_to_a_variable_counts() {
        let many: String = (0..400).map(|n| format!("STATUS={n}\nEXIT_STATUS={}\n", n % 256)).collect();
        assert_eq!(parse_message(many.as_bytes()), [Notification::Status("0".into()), Notification::ExitStatus(0)]);
    }
}
