//! The command line. It has four options, so it is parsed without a library: this process stays in
//! memory for the container's whole life.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::time::Duration;

const HELP: &str = "\
A small init: runs COMMAND as a container's process 1.

Usage: firn-init [OPTIONS] [--] COMMAND [ARG]...

Options:
      --grace SECONDS   seconds between SIGTERM and SIGKILL when the container is
                        stopped [default: 10]
      --notify WHO      who sends READY=1 to $NOTIFY_SOCKET: 'init' once COMMAND was
                        executed, or 'command' itself [default: init]
  -h, --help            print help
  -V, --version         print version

Signals to firn-init, by number:
  37, 38 (RTMIN+3, +4)      stop: TERM to all, after the grace KILL; exit 0
  39 (RTMIN+5), INT         the same, but exit 133: asks for a restart
  47, 48 (RTMIN+13, +14)    stop at once, exit 0
  49 (RTMIN+15)             stop at once, exit 133
  TERM                      TERM to COMMAND, after the grace KILL; exit with its status
  others                    passed on to COMMAND

Examples:
  firn-init -- /bin/server --port 80
  firn-init --grace 30 --notify=command -- postgres -D /data
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Run the command.
    Run(Args),
    /// Print this text: the help or the version.
    Print(String),
}

/// How to run the command.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// Time from SIGTERM to SIGKILL.
    pub grace: Duration,
    /// The command notifies when it is ready, not firn-init.
    pub command_notifies: bool,
    /// The command and its arguments, never empty.
    pub command: Vec<OsString>,
}

/// A mistake in the command line.
#[derive(Debug, PartialEq, Eq)]
pub enum ArgsError {
    /// An option that doesn't exist.
    UnknownOption(OsString),
    /// An option without its value.
    MissingValue(&'static str),
    /// An option, a value that it does not take, and those that it takes.
    BadValue(&'static str, OsString, &'static str),
    /// No command.
    NoCommand,
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOption(option) => {
                write!(f, "unknown option {option:?} (see firn-init --help)")
            }
            Self::MissingValue(option) => write!(f, "option {option} needs a value"),
            Self::BadValue(option, value, wanted) => {
                write!(f, "option {option} can't be {value:?}: give {wanted}")
            }
            Self::NoCommand => write!(f, "no command given (see firn-init --help)"),
        }
    }
}

/// Parses the arguments after the program's own name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, ArgsError> {
    let mut args = args.into_iter();
    let mut parsed = Args { grace: Duration::from_secs(10), command_notifies: false, command: Vec::new() };
    while let Some(arg) = args.next() {
        let (name, value) = split_option(&arg);
        match name.to_str() {
            Some("--") if value.is_none() => break,
            Some("-h" | "--help") => return Ok(Parsed::Print(HELP.into())),
            Some("-V" | "--version") => {
                return Ok(Parsed::Print(format!("firn-init {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Some("--grace") => parsed.grace = parse_grace(take_value("--grace", value, &mut args)?)?,
            Some("--notify") => {
                parsed.command_notifies = parse_notify(take_value("--notify", value, &mut args)?)?;
            }
            _ if arg.as_encoded_bytes().starts_with(b"-") => {
                return Err(ArgsError::UnknownOption(arg));
            }
            // The first argument that is no option begins the command; the rest are its own.
            _ => {
                parsed.command.push(arg);
                break;
            }
        }
    }
    parsed.command.extend(args);
    if parsed.command.is_empty() {
        return Err(ArgsError::NoCommand);
    }
    Ok(Parsed::Run(parsed))
}

/// `--NAME=VALUE` as name and value; anything else as it is.
fn split_option(arg: &OsStr) -> (&OsStr, Option<OsString>) {
    match arg.to_str().and_then(|text| text.split_once('=')) {
        Some((name, value)) if name.starts_with("--") => (OsStr::new(name), Some(value.into())),
        _ => (arg, None),
    }
}

fn take_value(
    option: &'static str,
    value: Option<OsString>,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<OsString, ArgsError> {
    value.or_else(|| rest.next()).ok_or(ArgsError::MissingValue(option))
}

fn parse_grace(value: OsString) -> Result<Duration, ArgsError> {
    value
        .to_str()
        .and_then(|text| text.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|grace| grace.as_secs() <= MAX_GRACE)
        .ok_or(ArgsError::BadValue("--grace", value, "a number of seconds, at most one year"))
}

/// One year, in seconds. An Instant does not overflow by it.
const MAX_GRACE: u64 = 365 * 24 * 3600;

fn parse_notify(value: OsString) -> Result<bool, ArgsError> {
    match value.to_str() {
        Some("init") => Ok(false),
        Some("command") => Ok(true),
        _ => Err(ArgsError::BadValue("--notify", value, "'init' or 'command'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(args: &[&str]) -> Result<Parsed, ArgsError> {
        parse(args.iter().map(OsString::from))
    }

    fn parse_run(args: &[&str]) -> Args {
        match parse_words(args) {
            Ok(Parsed::Run(args)) => args,
            other => panic!("{args:?} gave {other:?}"),
        }
    }

    #[test]
    fn options_end_where_the_command_begins() {
        for line in [
            &["--grace", "3", "--notify=command", "--", "a", "--grace", "b"][..],
            &["--notify", "command", "--grace=3", "a", "--grace", "b"][..],
        ] {
            let args = parse_run(line);
            assert_eq!(args.grace, Duration::from_secs(3));
            assert!(args.command_notifies);
            assert_eq!(args.command, ["a", "--grace", "b"]);
        }
        assert_eq!(parse_run(&["--", "--odd"]).command, ["--odd"]);
        assert_eq!(parse_run(&["a", "--", "b"]).command, ["a", "--", "b"]);
        assert_eq!(parse_run(&["--grace=0.5", "a"]).grace, Duration::from_millis(500));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse_words(&[]), Err(ArgsError::NoCommand));
        assert_eq!(parse_words(&["--"]), Err(ArgsError::NoCommand));
        assert_eq!(parse_words(&["--grace"]), Err(ArgsError::MissingValue("--grace")));
        assert_eq!(parse_words(&["--gracee", "1"]), Err(ArgsError::UnknownOption("--gracee".into())));
        for bad in ["-1", "x", "inf", "NaN", "1e99", ""] {
            let error = parse_words(&["--grace", bad, "a"]).expect_err(bad);
            assert!(matches!(error, ArgsError::BadValue("--grace", ..)), "{bad}: {error}");
        }
        assert!(matches!(parse_words(&["--notify=x", "a"]), Err(ArgsError::BadValue("--notify", ..))));
    }

    #[test]
    fn help_and_version_are_texts() {
        for option in ["--help", "-h", "--version", "-V"] {
            assert!(matches!(parse_words(&[option]), Ok(Parsed::Print(_))), "{option}");
        }
    }
}
