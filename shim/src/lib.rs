//! The monitor of one container: it starts the container by an OCI runtime,
//! tells when it is ready, keeps its output, stops or restarts it by its rules,
//! and records how it ended.
//!
//! Read in this order, which is that of the flow:
//!
//! 1. [`cli`]: the command line, and [`signals`]: how a signal is named
//! 2. [`state_dir`]: the folder of one container, its lock and what it holds
//! 3. [`bundle`]: the caller's bundle, and the derived one that the runtime gets
//! 4. [`runtime`]: the runtime's commands, started and never waited for in line
//! 5. [`policy`] and [`machine`]: what happens next; pure, tested as tables
//! 6. [`setup`] and [`supervise`]: the loop, which turns what happens into
//!    events for the machine; [`actions`] carries out what it answers, by
//!    [`commands`] and [`children`]; [`attempt`] is one life of the container
//! 7. [`stdio`]: the container's output, by [`pipes`] or [`pty`], into [`log`]
//!    and on to the monitor's own output by [`sink`]
//! 8. [`notify`]: readiness, in from the container, and [`upstream`], out to the
//!    service manager
//! 9. [`exit`] and [`oom`]: the record that is left
//!
//! [`error`], [`clock`] and [`sys`] (the one file that may hold unsafe code)
//! serve all of them.
#![deny(unsafe_code)]

pub mod bundle;
pub mod cli;
pub mod clock;
pub mod container;
pub mod error;
pub mod io;
pub mod notify;
pub mod process;
pub mod runtime;
pub mod signal;
pub mod state;
pub mod sys;
pub use error::{Error, Result};

/// Runs what the command line says; the result is the process's exit code.
pub fn run(command: cli::Command) -> Result<u8> {
    match command {
        cli::Command::Run(options) => container::run(options),
        cli::Command::Help(text) => {
            use std::io::Write;
            // A closed pipe (`--help | head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(0)
        }
    }
}
