//! `firn mounts`: crun's command for mounts of a container that runs.

use super::Context;
use crate::error::Result;
use crate::join;
use crate::path::InRoot;
use crate::plan::mounts::{self, Surroundings};
use crate::spec;
use crate::spec::mount::Mount;
use crate::state::StateDir;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "FILE has a list of mounts as config.json has it:\n  [{\"destination\": \"/data\", \"source\": \"/srv/data\", \"options\": [\"rbind\", \"ro\"]}]\n\nExamples:\n  firn mounts add web data.json\n  firn mounts remove web data.json"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Mount what FILE lists
    Add(Operands),
    /// Unmount the destinations that FILE lists
    Remove(Operands),
}

#[derive(Debug, clap::Args)]
struct Operands {
    #[arg(value_name = "ID")]
    id: String,
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let (Verb::Add(operands) | Verb::Remove(operands)) = &args.verb;
    let list: Vec<Mount> = spec::read_json(&operands.file)?;
    // Locked: it stays the same container until this is done.
    let dir = StateDir::open(&context.root, &operands.id)?;
    let container = join::find(&dir, true)?;
    let (bundle, rootfs) = (&container.record.bundle, &container.record.rootfs);
    let around = Surroundings { bundle, rootfs, label: None, id_maps: None };
    let plans = mounts::plan(&list, &around)?;
    match args.verb {
        Verb::Add(_) => join::mounts::add(&container, &plans)?,
        Verb::Remove(_) => {
            // Last in, first out.
            let targets: Vec<InRoot> = plans.into_iter().rev().map(|plan| plan.target).collect();
            join::mounts::remove(&container, &targets)?;
        }
    }
    Ok(0)
}
