//! Signals as configs, images and users write them, signal(7).

/// SIGRTMIN of the C library, which reserves the kernel's first two real-time signals.
pub const RTMIN: i32 = 34;
/// SIGRTMAX.
pub const RTMAX: i32 = 64;

/// The first name of a number is its usual one.
const NAMES: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Number of a signal: `TERM`, `SIGTERM`, `15`, `RTMIN+3`, `SIGRTMIN+3` or `37`, in any case.
/// Also 0, which only tests whether a process exists (kill(2)). Not 32 and 33, which the C
/// library reserves.
pub fn number(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match digits(name) {
        Some(number) => number,
        None => named(name)?,
    };
    (0..=RTMAX).contains(&number).then_some(number)
}

/// Its usual name, such as `SIGTERM` or `SIGRTMIN+3`.
pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number == RTMIN => "SIGRTMIN".into(),
        None => format!("SIGRTMIN+{}", number - RTMIN),
    }
}

fn named(name: &str) -> Option<i32> {
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => RTMIN,
        (_, Some("")) => RTMAX,
        (Some(above), _) => RTMIN.checked_add(digits(above.strip_prefix('+')?)?)?,
        (_, Some(below)) => RTMAX.checked_sub(digits(below.strip_prefix('-')?)?)?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// Digits only: no sign, no space.
fn digits(text: &str) -> Option<i32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{name, number};

    #[test]
    fn signals_by_any_name() {
        for (text, wanted) in [
            ("TERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("RTMIN+3", 37),
            ("SIGRTMIN+3", 37),
            ("37", 37),
            ("SIGRTMIN", 34),
            ("RTMAX-1", 63),
            ("IOT", 6),
            ("0", 0),
        ] {
            assert_eq!(number(text), Some(wanted), "{text}");
        }
        for bad in ["", "SIG", "NOPE", "65", "-1", "+9", "RTMIN+31", "RTMIN-1", "RTMIN+", "RTMAX+1", "RTMAX-31"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_have_their_usual_names() {
        assert_eq!((name(6), name(34), name(37)), ("SIGABRT".into(), "SIGRTMIN".into(), "SIGRTMIN+3".into()));
    }
}
