//! `firn mounts`: mounts in a running container (crun).

use super::context::Context;
use crate::error::Result;
use crate::lifecycle::mounts;
use crate::spec;
use crate::spec::mount::Mount;
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
    /// Add the mounts in FILE
    Add(Operands),
    /// Unmount the destinations in FILE
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
    match args.verb {
        Verb::Add(_) => mounts::add(&context.root, &operands.id, &list)?,
        Verb::Remove(_) => mounts::remove(&context.root, &operands.id, &list)?,
    }
    Ok(0)
}
