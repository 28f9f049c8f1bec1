//! `firn-shim run [OPTIONS] BUNDLE`.

use crate::container::policy::Restart;
use crate::container::{self, Settings, Timeouts};
use crate::io::log::{DriverName, Limits, LogSettings};
use crate::notify::{NotifyMode, store};
use crate::reactor::signals::Signals;
use clap::Args;
use firn::error::{Context, Error, Result};
use rustix::net::SocketType;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const EXAMPLES: &str = "\
Examples:
  firn-shim run ./web
      run the bundle in the foreground; Ctrl-C stops it, a second one kills it
  firn-shim run --runtime runc --restart on-failure --id web /srv/bundles/web
      with another runtime, and restarted when it fails
  firn-shim run --restart unit --notify yes /srv/bundles/web
      as ExecStart= of a unit with Type=notify, RestartForceExitStatus=133 and
      SuccessExitStatus=133: ready when the container is, restarts left to systemd
  kill -HUP PID
      restart the container of the monitor PID";

pub(super) const EXIT_STATUS: &str = "\
Exit status: 0 after a clean end or stop; 137 after a stop that needed SIGKILL; 133
with --restart unit when the container asks to be restarted; 1 when the container
could not be started or the start limit was hit; else the container's own status, or
128 and the number of the signal that ended it.";

/// The options of `run`.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// OCI bundle: a directory with config.json, and perhaps firn.json
    bundle: PathBuf,
    /// Name of the container [default: the name of the bundle's directory]
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// OCI runtime [default: firn beside this program, else in PATH]
    #[arg(long, value_name = "PATH")]
    runtime: Option<PathBuf>,
    /// State directory of the runtime, passed to it as --root
    #[arg(long, value_name = "DIR")]
    runtime_root: Option<PathBuf>,
    /// Where the monitor keeps a directory for each container
    #[arg(long, value_name = "DIR", default_value = "/run/firn/shim")]
    state_dir: PathBuf,
    /// Where the container's output is logged; may be repeated
    #[arg(long = "log-driver", value_enum, value_name = "DRIVER", default_value = "k8s-file")]
    log_drivers: Vec<DriverName>,
    /// Log of the container's output [default: STATE-DIR/NAME/log]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Size at which the log is moved to FILE.1, with suffix K, M or G; 0: never
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = parse_size)]
    log_size: u64,
    /// The number of old logs that are kept, FILE.1, FILE.2 and so on
    #[arg(long, value_name = "N", default_value_t = 1)]
    log_files: u32,
    /// Give the container a pipe as stdin, for `attach`. Without it and without a terminal stdin is
    /// /dev/null
    #[arg(long)]
    stdin: bool,
    /// Go on with the container that a killed monitor has left, with the options that it had; run
    /// one where none is left
    #[arg(long)]
    adopt: bool,
    /// Seconds until the container must be ready; 0: no limit
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    timeout_start: u32,
    /// Seconds from the stop signal to SIGKILL; 0: no limit
    #[arg(long, value_name = "SECS", default_value_t = 90)]
    timeout_stop: u32,
    /// When to restart the container
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Restart::No)]
    restart: Restart,
    /// Don't restart a container that ends before it was ready for the first time, unless that asks for
    /// it
    #[arg(long)]
    fail_first_start: bool,
    /// Starts allowed within the interval; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 5)]
    start_limit: u32,
    /// The interval of --start-limit
    #[arg(long, value_name = "SECS", default_value_t = 10)]
    start_limit_interval: u32,
    /// Whether the container notifies when it is ready [auto: as firn.json says]
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = NotifyMode::Auto)]
    notify: NotifyMode,
    /// Kill the container when it has not sent WATCHDOG=1 for so long, which is a failure. It
    /// finds the time in WATCHDOG_USEC
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..))]
    watchdog: Option<u32>,
    /// Stdin is a connection to the control socket (SOCK_SEQPACKET), made by the program that starts
    /// the monitor, which so speaks to it from the beginning
    #[arg(long)]
    client_on_stdin: bool,
}

/// Runs the container; the monitor's exit code.
pub(super) fn run(options: &Options, inherited: Vec<OwnedFd>) -> Result<u8> {
    // First of all: a stop must not end the monitor with a container half made.
    let signals = Signals::block().doing(|| "signalfd")?;
    let starter = if options.client_on_stdin { Some(take_stdin().doing(|| "--client-on-stdin")?) } else { None };
    let settings = options.settings()?;
    let stored = store::stored(inherited);
    if options.adopt {
        return container::adopt::take_over_or_run(settings, signals, starter, stored);
    }
    store::remove_all(stored.iter().map(|(name, _)| name))?;
    container::run(settings, signals, starter)
}

/// The socket that stdin is; /dev/null takes its place.
fn take_stdin() -> io::Result<OwnedFd> {
    if rustix::net::sockopt::socket_type(io::stdin())? != SocketType::SEQPACKET {
        return Err(io::Error::other("stdin is no SOCK_SEQPACKET socket"));
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

impl Options {
    fn settings(&self) -> Result<Settings> {
        let bundle = std::path::absolute(&self.bundle).doing(|| format!("bundle {}", self.bundle.display()))?;
        let seconds = |number: u32| Duration::from_secs(number.into());
        let timeout = |number: u32| if number == 0 { Duration::MAX } else { seconds(number) };
        let log = self.log.as_deref().map(|log| std::path::absolute(log).doing(|| format!("log {}", log.display())));
        if self.watchdog.is_some() && self.notify == NotifyMode::No {
            return Err(Error::new("--watchdog: needs notifications: leave out --notify no"));
        }
        Ok(Settings {
            id: self.name(&bundle)?,
            runtime: self.runtime_program()?,
            runtime_root: self.runtime_root.as_ref().map(std::path::absolute).transpose().doing(|| "--runtime-root")?,
            state_dir: std::path::absolute(&self.state_dir).doing(|| "--state-dir")?,
            log: LogSettings {
                drivers: self.log_drivers.clone(),
                path: log.transpose()?,
                limits: Limits { size: self.log_size, files: self.log_files },
            },
            stdin: self.stdin,
            timeouts: Timeouts { start: timeout(self.timeout_start), stop: timeout(self.timeout_stop) },
            restart: self.restart,
            fail_first_start: self.fail_first_start,
            start_limit: self.start_limit,
            start_limit_interval: seconds(self.start_limit_interval),
            notify: self.notify,
            watchdog: self.watchdog.map(seconds),
            bundle,
        })
    }

    /// The container's name. It is also the name of a directory, by the runtime's own rule.
    fn name(&self, bundle: &Path) -> Result<String> {
        let name = match &self.id {
            Some(id) => id.clone(),
            None => bundle
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .ok_or_else(|| Error::new(format!("bundle {}: has no name, --id is needed", bundle.display())))?,
        };
        firn::state::check_id(&name)?;
        Ok(name)
    }

    /// The runtime's program: as given, else `firn` beside our own, else in PATH.
    fn runtime_program(&self) -> Result<PathBuf> {
        if let Some(given) = &self.runtime {
            // One with a slash is a path, and relative to the working directory of now.
            return match given.components().count() {
                1 => Ok(given.clone()),
                _ => std::path::absolute(given).doing(|| format!("runtime {}", given.display())),
            };
        }
        let beside =
            std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("firn"))).filter(|path| path.is_file());
        Ok(beside.unwrap_or_else(|| PathBuf::from("firn")))
    }
}

/// Parses a number of bytes with suffix K, M or G.
fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "not a size such as 500K or 16M".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options(args: &[&str]) -> Options {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        Line::try_parse_from([&["run"], args].concat()).unwrap().options
    }

    #[test]
    fn options_stand_before_or_after_the_bundle() {
        for args in [
            ["--restart", "unit", "--notify=yes", "/b", "--id", "x"],
            ["/b", "--restart", "unit", "--notify=yes", "--id", "x"],
        ] {
            let options = options(&args);
            assert_eq!(options.restart, Restart::Unit);
            assert_eq!(options.notify, NotifyMode::Yes);
            assert_eq!(options.bundle, Path::new("/b"));
        }
    }

    #[test]
    fn names() {
        let long = "n".repeat(255);
        for (id, good) in [
            ("web", true),
            ("a_b.c-d+1", true),
            (long.as_str(), true),
            ("", false),
            ("..", false),
            (".hidden", true),
            (".", false),
            ("-a", true),
            ("a/b", false),
            ("ä", false),
        ] {
            let options = options(&["/srv/web", &format!("--id={id}")]);
            assert_eq!(options.name(Path::new("/srv/web")).is_ok(), good, "{id}");
        }
        assert_eq!(options(&["/srv/web"]).name(Path::new("/srv/web")).unwrap(), "web");
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("12", 12), ("500K", 512_000), ("16M", 16 << 20), ("1G", 1 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for text in ["", "M", "-1", "1T", "99999999999999999999", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
