//! The hooks that run while the container is made: those of the runtime's
//! namespaces by the runtime, those of the container's by init.

use super::context::Init;
use crate::create::hooks::run;
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::state::Status;
use crate::state::oci_state::state_json;
use crate::sys::clone;

pub fn run_create_hooks(init: &mut Init<'_>) -> Result<()> {
    let hooks = &init.plan.hooks;
    let all = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container];
    if all.iter().any(|hooks| !hooks.is_empty()) {
        init.channel.send(&Message::Hooks)?;
        init.channel.expect(&Message::HooksDone)?;
    }
    if hooks.create_container.is_empty() {
        return Ok(());
    }
    // In the root, as under runc, and by descriptor.
    rustix::process::fchdir(init.task.root()?).doing(|| "change to the new root")?;
    run("createContainer", &hooks.create_container, None, &hook_state(init, Status::Creating))
}

pub fn run_start_hooks(init: &mut Init<'_>) -> Result<()> {
    let mut hooks = init.plan.hooks.start_container.clone();
    if hooks.is_empty() {
        return Ok(());
    }
    // Programs of the container's get its environment, as under runc; those of the
    // host never do (CVE-2025-23266, of a toolkit's hook).
    let strings = init.task.vectors.as_ref().map_or(&[][..], |(_, env)| env.strings());
    let env: Vec<String> = strings.iter().map(|entry| entry.to_string_lossy().into_owned()).collect();
    for hook in &mut hooks {
        hook.env.get_or_insert_with(|| env.clone());
    }
    run("startContainer", &hooks, None, &hook_state(init, Status::Created))
}

/// In its own pid namespace init has another number than on the host, and does
/// not know that one.
fn hook_state(init: &Init<'_>, status: Status) -> String {
    let own = init.plan.namespaces.makes(clone::NEWPID);
    let pid = if own { 1 } else { rustix::process::getpid().as_raw_nonzero().get() };
    state_json(init.record, status, pid)
}
