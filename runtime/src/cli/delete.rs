//! `firn delete`.

use super::context::Context;
use super::ids;
use crate::error::Result;
use crate::lifecycle::delete::delete;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Kill the container first if it runs; an absent one is no error
    #[arg(short, long)]
    force: bool,
    /// ID is a regular expression; delete all matching containers (crun)
    #[arg(short, long)]
    regex: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let ids = if args.regex { ids::matching(&args.ids, context)? } else { args.ids.clone() };
    ids::for_each(&ids, context, |id| delete(&context.root, id, args.force, &context.log))
}
