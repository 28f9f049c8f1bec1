//! `firn pause` and `firn resume`.

use super::Context;
use crate::bail;
use crate::error::Result;
use crate::state::{Record, StateDir, Status};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(args: &Args, context: &Context, frozen: bool) -> Result<u8> {
    let dir = StateDir::open(&context.root, &args.id)?;
    let record = Record::need(&dir)?;
    match (Status::of(&dir, &record), frozen) {
        (Status::Running | Status::Created, true) | (Status::Paused, false) => record.cgroup.set_frozen(frozen)?,
        (status, true) => bail!("container not running or created: {}", status.name()),
        (status, false) => bail!("container not paused: {}", status.name()),
    }
    Ok(0)
}
