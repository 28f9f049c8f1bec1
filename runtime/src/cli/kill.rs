//! `firn kill`.

use super::context::Context;
use super::ids;
use crate::bail;
use crate::error::Result;
use crate::lifecycle::kill::kill;
use crate::spec;

#[derive(Debug, clap::Args)]
#[command(after_help = "A signal is a name or a number: TERM, SIGTERM, 15, RTMIN+3, SIGRTMIN+3, 37.")]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", hide_default_value = true)]
    signal: String,
    /// Signal all processes of the container
    #[arg(short, long)]
    all: bool,
    /// ID is a regular expression; signal all matching containers (crun)
    #[arg(short, long)]
    regex: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let number = signal(&args.signal)?;
    let id = std::slice::from_ref(&args.id);
    let ids = if args.regex { ids::matching(id, context)? } else { id.to_vec() };
    ids::for_each(&ids, context, |id| kill(&context.root, id, number, args.all))
}

/// As for runc, an empty string means the default.
fn signal(text: &str) -> Result<i32> {
    if text.is_empty() {
        return Ok(libc::SIGTERM);
    }
    let Some(number) = spec::signal::number(text) else { bail!("{text:?} is not a signal") };
    Ok(number)
}
