//! `firn kill`.

use super::{Context, compat};
use crate::bail;
use crate::error::{Context as _, Result};
use crate::state::{self, Record, StateDir, Status};
use crate::sys;
use rustix::fd::AsFd;
use rustix::io::Errno;

#[derive(Debug, clap::Args)]
#[command(after_help = "A signal is a name or a number: TERM, SIGTERM, 15, RTMIN+3, SIGRTMIN+3, 37.")]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", hide_default_value = true)]
    signal: String,
    /// To every process of the container
    #[arg(short, long)]
    all: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let number = signal(&args.signal)?;
    let dir = StateDir::look(&context.root, &args.id)?;
    let record = Record::need(&dir)?;
    if args.all {
        record.cgroup.signal_all(number)?;
        return Ok(0);
    }
    let init = match Status::of(&dir, &record) {
        Status::Creating | Status::Stopped => None,
        _ => state::process::open(record.pid, record.start_time)?,
    };
    let Some(init) = init else { bail!("{}", compat::NOT_RUNNING) };
    match sys::signal::send(init.as_fd(), number) {
        Err(Errno::SRCH) => bail!("{}", compat::NOT_RUNNING),
        result => result.doing(|| format!("send signal {number} to process {}", record.pid))?,
    }
    if number == libc::SIGKILL && record.cgroup.is_frozen() {
        // A frozen process of cgroup v1 does not even die.
        record.cgroup.set_frozen(false)?;
    }
    Ok(0)
}

/// signal(7), with glibc's SIGRTMIN.
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
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal given by number or name.
pub fn signal(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        if (0..=RTMAX).contains(&number) {
            return Ok(number);
        }
        bail!("signal {number} is not within 0 and {RTMAX}");
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if name.is_empty() && text.is_empty() {
        return Ok(15);
    }
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    match real_time(name) {
        Some(number) if (RTMIN..=RTMAX).contains(&number) => Ok(number),
        _ => bail!("{text:?} is not a signal"),
    }
}

fn real_time(name: &str) -> Option<i32> {
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return if offset.is_empty() {
            Some(RTMIN)
        } else {
            offset.strip_prefix('+')?.parse::<u8>().ok().map(|n| RTMIN + i32::from(n))
        };
    }
    let offset = name.strip_prefix("RTMAX")?;
    if offset.is_empty() {
        Some(RTMAX)
    } else {
        offset.strip_prefix('-')?.parse::<u8>().ok().map(|n| RTMAX - i32::from(n))
    }
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals_by_any_name() {
        for (text, number) in [
            ("TERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("RTMIN+3", 37),
            ("SIGRTMIN+3", 37),
            ("37", 37),
            ("SIGRTMIN", 34),
            ("RTMAX-1", 63),
            ("", 15),
            ("0", 0),
        ] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for bad in ["SIG", "NOPE", "65", "-1", "RTMIN+31", "RTMIN-1", "RTMAX+1"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
