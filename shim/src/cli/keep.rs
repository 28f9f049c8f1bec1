//! `firn-shim keep`: starts the keeper. Monitors do that by themselves.

use crate::keeper::server;
use clap::Args;
use firn::error::Result;
use std::path::PathBuf;

/// The options of `keep`.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// Where the monitors keep a directory for each container
    #[arg(long, value_name = "DIR", default_value = "/run/firn/shim")]
    state_dir: PathBuf,
}

/// Starts it in the background, unless one runs.
pub(super) fn run(options: &Options) -> Result<u8> {
    server::start(&options.state_dir)?;
    Ok(0)
}
