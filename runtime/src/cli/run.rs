//! `firn run`.

use super::context::Context;
use super::create::Common;
use crate::error::Result;
use crate::lifecycle::run::{RunOptions, run as run_container};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Return when the program runs
    #[arg(short, long)]
    detach: bool,
    /// Keep the state after the container has stopped
    #[arg(long)]
    keep: bool,
}

impl Args {
    pub fn preserve_fds(&self) -> u32 {
        self.common.preserved()
    }
}

pub fn run(args: Args, context: &Context) -> Result<u8> {
    let how = RunOptions { detach: args.detach, keep: args.keep };
    run_container(args.common.options(context), how, &context.log)
}
