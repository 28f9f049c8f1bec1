//! `firn mounts`: mounts in a running container (crun).

use super::context::Context;
use crate::error::Result;
use crate::lifecycle::mounts;
use crate::spec;
use crate::spec::mount::Mount;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "FILE has a list of mounts as config.json has it:\n  [{\"destination\": \"/data\", \"source\": \"/srv/data\", \"options\": [\"rbind\", \"ro\"]}]\nOf `closure` it is another bundle of firn-image: its closure is shown at /nix/store, and what\nis open in the present one stays open.\n\nExamples:\n  firn mounts add web data.json\n  firn mounts remove web data.json\n  firn mounts closure web ./web-of-today"
)]
pub struct Args {
    /// What to do
    // Subcommands would cost every command of firn the memory of their definitions.
    #[arg(value_name = "VERB")]
    verb: Verb,
    #[arg(value_name = "ID")]
    id: String,
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Verb {
    /// Add the mounts in FILE
    Add,
    /// Unmount the destinations in FILE
    Remove,
    /// Show the closure of the bundle FILE
    Closure,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let list = || -> Result<Vec<Mount>> { spec::read_json(&args.file) };
    match args.verb {
        Verb::Add => mounts::add(&context.root, &args.id, &list()?)?,
        Verb::Remove => mounts::remove(&context.root, &args.id, &list()?)?,
        Verb::Closure => mounts::show_closure(&context.root, &args.id, &args.file)?,
    }
    Ok(0)
}
