//! `firn start`.

use super::context::Context;
use crate::error::Result;
use crate::lifecycle::start::start;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    start(&context.root, &args.id, &context.log)?;
    Ok(0)
}
