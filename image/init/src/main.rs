//! firn-init: process 1 of a container, which runs one command.
//!
//! It starts the command, reaps orphans, handles the signals by which container managers stop or
//! restart an init, and exits with the command's status. In the order of the flow: [`args`] the
//! command line, [`signals`] what each signal means, [`command`] the start of the command,
//! [`serve`] the loop, [`notify`] notifications to the manager, [`sys`] the system calls.

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

/// Exit statuses for a wrong command line, and for a start as another process than process 1.
const EXIT_USAGE: u8 = 2;
const EXIT_NOT_INIT: u8 = 1;

fn main() -> ExitCode {
    // First of all: until then a signal is lost, as the kernel drops those that a pid namespace's
    // init neither blocks nor handles (pid_namespaces(7)).
    let blocked = sys::block_signals();
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(args::Parsed::Run(args)) => args,
        Ok(args::Parsed::Print(text)) => {
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

/// Prints an error; the exit code.
fn fail(message: &str, status: u8) -> ExitCode {
    print_message("error", message);
    ExitCode::from(status)
}

/// Not eprintln!, which panics where stderr is a pipe that nobody reads: that must not end process 1.
fn print_message(level: &str, message: &str) {
    let _ = writeln!(std::io::stderr(), "firn-init: {level}: {message}");
}
