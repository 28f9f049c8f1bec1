//! Hooks during creation: prestart and createRuntime run in the runtime's namespaces, by the
//! runtime; createContainer and startContainer in the container's, by init.

use super::context::Init;
use crate::create::hooks::run;
use crate::error::{Context, Result};
use crate::ipc::protocol::Message;
use crate::state::Status;
use crate::state::oci_state::state_json;
use crate::sys::{clone, prctl};

/// Lets the runtime run prestart and createRuntime, then runs createContainer.
pub fn run_create_hooks(init: &mut Init<'_>) -> Result<()> {
    let hooks = &init.plan.hooks;
    let all = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container];
    if all.iter().any(|hooks| !hooks.is_empty()) {
        // An ordinary user's hook may open the namespaces of init's that it is to change, as pasta does: /proc/PID/ns
        // of a process that is not dumpable takes CAP_SYS_PTRACE in the user namespace of its memory, which is the
        // caller's (ptrace(2), "Ptrace access mode checking"). In namespaces that are new no other process sees init.
        let is_shown =
            init.record.owner != 0 && init.plan.namespaces.makes(clone::NEWUSER) && !init.plan.namespaces.joins_pid();
        let show = |shown: bool| {
            let set = if is_shown { prctl::set_dumpable(shown) } else { Ok(()) };
            set.doing(|| "PR_SET_DUMPABLE for hooks")
        };
        show(true)?;
        init.channel.send(&Message::Hooks)?;
        init.channel.expect(&Message::HooksDone)?;
        show(false)?;
    }
    if hooks.create_container.is_empty() {
        return Ok(());
    }
    // The working directory is the root, as with runc; by descriptor.
    rustix::process::fchdir(init.state.root()?).doing(|| "chdir to the container's root for createContainer hooks")?;
    run("createContainer", &hooks.create_container, None, &hook_state(init, Status::Creating))
}

/// Runs startContainer, after `start`.
pub fn run_start_hooks(init: &mut Init<'_>) -> Result<()> {
    let mut hooks = init.plan.hooks.start_container.clone();
    if hooks.is_empty() {
        return Ok(());
    }
    // A startContainer hook is a program of the container and gets its environment, as
    // with runc. Hooks of the host never do: by LD_PRELOAD the image would run code in
    // them, on the host (CVE-2025-23266, NVIDIA Container Toolkit).
    let strings = init.state.vectors.as_ref().map_or(&[][..], |(_, env)| env.strings());
    let env: Vec<String> = strings.iter().map(|entry| entry.to_string_lossy().into_owned()).collect();
    for hook in &mut hooks {
        hook.env.get_or_insert_with(|| env.clone());
    }
    run("startContainer", &hooks, None, &hook_state(init, Status::Created))
}

/// The state for a hook in the container: the pid is 1 in a new pid namespace, whose init
/// does not know its pid on the host.
fn hook_state(init: &Init<'_>, status: Status) -> String {
    let own = init.plan.namespaces.makes(clone::NEWPID);
    let pid = if own { 1 } else { rustix::process::getpid().as_raw_nonzero().get() };
    state_json(init.record, status, pid)
}
