//! `firn pause` and `firn resume`.

use super::context::Context;
use crate::error::Result;
use crate::lifecycle::pause;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
}

pub fn pause(args: &Args, context: &Context) -> Result<u8> {
    pause::pause(&context.root, &args.id)?;
    Ok(0)
}

pub fn resume(args: &Args, context: &Context) -> Result<u8> {
    pause::resume(&context.root, &args.id)?;
    Ok(0)
}
