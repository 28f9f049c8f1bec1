//! firn-init: a container's process 1 around one command.
//!
//! It starts the command, reaps orphans, acts on the signals by which container
//! managers ask an init to stop or restart, and ends with the command's status.
//! Read in this order: [`args`] what the user asked for, [`signals`] what each
//! signal means, [`command`] starting the command, [`serve`] the loop,
//! [`notify`] telling the manager, [`sys`] the system calls.

#![deny(unsafe_code)]

mod args;
mod command;
mod notify;
mod serve;
mod signals;
#[allow(unsafe_code)]
mod sys;

use std::io::Write;
use std::process::ExitCode;

/// Status for a wrong option, and for a start as anything but process 1.
const EXIT_USAGE: u8 = 2;
const EXIT_NOT_INIT: u8 = 1;

fn main() -> ExitCode {
    // First of all: a signal that arrives before this is lost, as the kernel
    // drops what process 1 neither blocks nor handles.
    let blocked = sys::block_signals();
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(args::Parsed::Run(args)) => args,
        Ok(args::Parsed::Say(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error.to_string(), EXIT_USAGE),
    };
    let pid = std::process::id();
    if pid != 1 {
        return fail(&format!("not process 1 (this is process {pid}): start it as a container's init"), EXIT_NOT_INIT);
    }
    if let Err(error) = blocked {
        return fail(&format!("block signals: {error}"), EXIT_NOT_INIT);
    }
    let notifier = notify::Notifier::from_env();
    let child = match command::start(&args) {
        Ok(child) => child,
        Err(error) => return fail(&error.to_string(), error.exit_status()),
    };
    if !args.command_notifies {
        notifier.send("READY=1");
    }
    ExitCode::from(serve::run(child, args.grace, &notifier))
}

fn fail(message: &str, status: u8) -> ExitCode {
    say("error", message);
    ExitCode::from(status)
}

/// Not eprintln!, which panics when nobody reads stderr any more: a closed log
/// must not end process 1.
fn say(level: &str, message: &str) {
    let _ = writeln!(std::io::stderr(), "firn-init: {level}: {message}");
}
