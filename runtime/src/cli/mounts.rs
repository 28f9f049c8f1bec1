//! `firn mounts`: mounts in a running container (crun).

use super::context::Context;
use crate::error::Result;
use crate::lifecycle::mounts;
use crate::spec;
use crate::spec::mount::Mount;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "FILE has a list of mounts as config.json has it:\n  [{\"destination\": \"/data\", \"source\": \"/srv/data\", \"options\": [\"rbind\", \"ro\"]}]\n\nExamples:\n  firn mounts add web data.json\n  firn mounts remove web data.json\n  firn mounts closure web ./web-of-today"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Add the mounts in FILE
    Add(Operands),
    /// Unmount the destinations in FILE
    Remove(Operands),
    /// Show the closure of another bundle at /nix/store; what is open in the present one stays open
    Closure {
        #[arg(value_name = "ID")]
        id: String,
        /// A bundle of firn-image
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Operands {
    #[arg(value_name = "ID")]
    id: String,
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let list = |operands: &Operands| -> Result<Vec<Mount>> { spec::read_json(&operands.file) };
    match &args.verb {
        Verb::Add(operands) => mounts::add(&context.root, &operands.id, &list(operands)?)?,
        Verb::Remove(operands) => mounts::remove(&context.root, &operands.id, &list(operands)?)?,
        Verb::Closure { id, bundle } => mounts::show_closure(&context.root, id, bundle)?,
    }
    Ok(0)
}
