//! `firn start`.

use super::{Context, delete};
use crate::bail;
use crate::create::hooks;
use crate::create::serve::state_json;
use crate::error::{Context as _, Result};
use crate::spec::Spec;
use crate::spec::hooks::Hooks;
use crate::state::record::CONFIG;
use crate::state::{self, Record, StateDir, Status};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let dir = StateDir::open(&context.root, &args.id)?;
    let record = Record::need(&dir)?;
    match Status::of(&dir, &record) {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Running => bail!("cannot start an already running container"),
        other => bail!("cannot start a container in the {} state", other.name()),
    }
    if let Some(error) = state::start::signal(&dir)? {
        bail!("{error}");
    }
    let hooks = hooks_of(&dir)?;
    poststart(&hooks, &record)?;
    Ok(0)
}

/// The hooks of the config as it was at `create`.
pub fn hooks_of(dir: &StateDir) -> Result<Hooks> {
    let Some(text) = dir.read(CONFIG)? else { return Ok(Hooks::default()) };
    let spec: Spec = serde_json::from_slice(&text).doing(|| format!("parse {}/config.json", dir.path().display()))?;
    Ok(spec.hooks.unwrap_or_default())
}

/// After a hook that fails, the container must not go on: runtime.md,
/// "Lifecycle" step 9.
pub fn poststart(hooks: &Hooks, record: &Record) -> Result<()> {
    let state = state_json(record, Status::Running, record.pid);
    hooks::run("poststart", &hooks.poststart, &state).inspect_err(|_| {
        // The hook's error is the one to tell.
        let _ = delete::end(record);
    })
}
