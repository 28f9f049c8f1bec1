//! The command line: one file a verb.

mod build;
mod bundle;
mod bundle_args;
mod copy;
mod diff;
mod gc;
mod inspect;
mod inspect_image;
mod list;
mod pull;
mod push;
mod remove;
mod size;
mod store;
mod transfer;
mod unshare;
mod verify;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Builds bundles and OCI images from Nix closures and layers of root file systems, and keeps images.
///
/// An image is docker://[REGISTRY/]NAME, oci:DIR:TAG, oci-archive:FILE or docker-archive:FILE
/// (containers-transports(5)). The commands for the store (pull, push, list, remove, verify) take names without
/// docker:// too, as they take nothing else; the others do not, where a word may be a path.
#[derive(Debug, Parser)]
#[command(name = "firn-image", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bundle(Box<bundle_args::BundleArgs>),
    Build(Box<build::BuildArgs>),
    Copy(copy::CopyArgs),
    Pull(pull::PullArgs),
    Push(push::PushArgs),
    List(list::ListArgs),
    Remove(remove::RemoveArgs),
    Gc(gc::GcArgs),
    Verify(verify::VerifyArgs),
    Inspect(inspect::InspectArgs),
    Diff(diff::DiffArgs),
    Unshare(unshare::UnshareArgs),
}

/// The definition of the command line, from which man pages and completions are made.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with this process's arguments: the whole of `firn-image`. An error is printed on
/// stderr, in one line; the exit code is 0, 1, or 2 for a wrong command line.
pub fn main() -> ExitCode {
    firn::startup::reset_signals();
    let result = match Cli::parse().verb {
        Verb::Bundle(args) => bundle::run(*args),
        Verb::Build(args) => build::run(*args),
        Verb::Copy(args) => copy::run(&args),
        Verb::Pull(args) => pull::run(&args),
        Verb::Push(args) => push::run(&args),
        Verb::List(args) => list::run(&args),
        Verb::Remove(args) => remove::run(&args),
        Verb::Gc(args) => gc::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Unshare(args) => unshare::run(&args).map(|never| match never {}),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // It may hold names of an image: without newlines, and without control characters,
            // which a terminal would obey.
            let text = format!("{error:#}").replace('\n', "\\u000a");
            eprintln!("firn-image: error: {}", firn::log::printable(&text));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
