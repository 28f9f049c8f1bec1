//! `firn start`.

use super::{Context, delete};
use crate::bail;
use crate::create::hooks;
use crate::create::notify;
use crate::create::serve::state_json;
use crate::error::{Context as _, Result};
use crate::spec::hooks::Hooks;
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
    let spec = Record::config(&dir)?.unwrap_or_default();
    let proxy = notify::Proxy::listen(&dir)?;
    let reader = state::start::signal(&dir)?;
    if let Some(error) = state::start::outcome(&reader)? {
        bail!("{error}");
    }
    let hooks = spec.hooks.unwrap_or_default();
    if let Err(error) = poststart(&hooks, &record) {
        delete::destroy(dir, &record, &hooks.poststop, &context.log).doing(|| error.chain())?;
        return Err(error);
    }
    if let (Some(proxy), Some(init)) = (proxy, state::process::open(record.pid, record.start_time)?) {
        // Others may pause or delete it meanwhile.
        dir.unlock()?;
        proxy.pass_on(&init, record.pid)?;
    }
    Ok(0)
}

/// After a hook that fails, the container must not go on: runtime.md,
/// "Lifecycle" step 9.
pub fn poststart(hooks: &Hooks, record: &Record) -> Result<()> {
    let state = state_json(record, Status::Running, record.pid);
    hooks::run("poststart", &hooks.poststart, record.hooks_folder(), &state).inspect_err(|_| {
        // The hook's error is the one to tell.
        let _ = delete::end(record);
    })
}
