//! `firn state`.

use super::context::{Context, print};
use crate::error::{Context as _, Result};
use crate::lifecycle::state::state;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let state = state(&context.root, &args.id)?;
    let text = serde_json::to_string_pretty(&state).doing(|| "write the state")?;
    print(&(text + "\n"))?;
    Ok(0)
}
