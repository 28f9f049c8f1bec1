//! The command line: `firn-shim run [OPTIONS] BUNDLE`.

use crate::container::policy::Restart;
use crate::error::{Context, Error, Result};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
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

const EXITS: &str = "\
Exit status: 0 after a clean end or stop; 137 after a stop that needed SIGKILL; 133
with --restart unit when the container asks to be restarted; 1 when the container
could not be started or the start limit was hit; else the container's own status, or
128 and the number of the signal that ended it.";

/// The command line's definition, from which man pages and completions are made.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[derive(Debug, Parser)]
#[command(name = "firn-shim", version, about = "Monitor of one container", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a bundle until it ends, and restart it as the rules say
    #[command(after_help = EXAMPLES, after_long_help = format!("{EXITS}\n\n{EXAMPLES}"))]
    Run(Box<Options>),
}

/// The options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// OCI bundle: a folder with config.json, and perhaps firn.json
    pub bundle: PathBuf,
    /// The container's name [default: the bundle folder's name]
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// OCI runtime [default: firn beside this program, else in PATH]
    #[arg(long, value_name = "PATH")]
    pub runtime: Option<PathBuf>,
    /// The runtime's own state directory, handed on as its --root
    #[arg(long, value_name = "DIR")]
    pub runtime_root: Option<PathBuf>,
    /// Where the monitor keeps a folder for each container
    #[arg(long, value_name = "DIR", default_value = "/run/firn/shim")]
    pub state_dir: PathBuf,
    /// The container's output [default: STATE-DIR/NAME/log]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Size at which the log is moved to FILE.1, with suffix K, M or G; 0: never
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = size)]
    pub log_size: u64,
    /// Seconds until the container must be ready; 0: no limit
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    pub timeout_start: u32,
    /// Seconds from the stop signal to SIGKILL; 0: no limit
    #[arg(long, value_name = "SECS", default_value_t = 90)]
    pub timeout_stop: u32,
    /// Which ends are followed by a new start
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Restart::No)]
    pub restart: Restart,
    /// Starts allowed within the interval; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub start_limit: u32,
    /// The interval of --start-limit
    #[arg(long, value_name = "SECS", default_value_t = 10)]
    pub start_limit_interval: u32,
    /// Whether the container tells when it is ready [auto: as firn.json says]
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Notify::Auto)]
    pub notify: Notify,
}

/// Whether readiness is told by the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Notify {
    /// It is, and waited for
    Yes,
    /// It is not, and gets no socket to tell it by
    No,
    /// As firn.json's init.notify says; a message counts in any case
    Auto,
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    Run(Box<Options>),
    /// Text that was asked for: the help or the version.
    Help(String),
}

/// Reads the command line.
pub fn parse() -> Result<Command> {
    match Cli::try_parse() {
        Ok(cli) => {
            let Verb::Run(options) = cli.verb;
            Ok(Command::Run(options))
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Error::new("a command is needed, see firn-shim --help"))
        }
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            Err(Error::new(text.trim_start_matches("error: ").trim_end()))
        }
        Err(help) => Ok(Command::Help(help.to_string())),
    }
}

impl Options {
    /// The container's name, which is also a file's name.
    pub fn name(&self, bundle: &Path) -> Result<String> {
        let name = match &self.id {
            Some(id) => id.clone(),
            None => bundle
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .ok_or_else(|| Error::new(format!("bundle {}: has no name, --id is needed", bundle.display())))?,
        };
        // The runtime's own rule: an id that it takes is one that can be monitored.
        firn::state::dir::check_id(&name).map_err(|error| Error::new(error.chain()))?;
        Ok(name)
    }

    /// The runtime's program: as given, beside our own, or in PATH.
    pub fn runtime_program(&self) -> Result<PathBuf> {
        if let Some(given) = &self.runtime {
            // With a slash it is a path, and the runtime is started elsewhere than here.
            return match given.components().count() {
                1 => Ok(given.clone()),
                _ => std::path::absolute(given).context(|| format!("runtime {}", given.display())),
            };
        }
        let beside =
            std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("firn"))).filter(|path| path.is_file());
        Ok(beside.unwrap_or_else(|| PathBuf::from("firn")))
    }
}

fn size(text: &str) -> std::result::Result<u64, String> {
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

    fn options(args: &[&str]) -> Options {
        let cli = Cli::try_parse_from([&["firn-shim", "run"], args].concat()).unwrap();
        let Verb::Run(options) = cli.verb;
        *options
    }

    #[test]
    fn options_stand_before_or_after_the_bundle() {
        for args in [
            ["--restart", "unit", "--notify=yes", "/b", "--id", "x"],
            ["/b", "--restart", "unit", "--notify=yes", "--id", "x"],
        ] {
            let options = options(&args);
            assert_eq!(options.restart, Restart::Unit);
            assert_eq!(options.notify, Notify::Yes);
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
            assert_eq!(size(text), Ok(bytes));
        }
        for text in ["", "M", "-1", "1T", "99999999999999999999", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
