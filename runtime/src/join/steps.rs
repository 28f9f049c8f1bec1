//! The steps of a joining process up to execve(2), in order.

use super::context::JoinContext;
use super::enter::{enter_cgroup, enter_namespaces};
use super::pids_limit;
use crate::error::{Context, Result};
use crate::init::context::ProcessState;
use crate::init::{caps, console, exec, fds, keyring, limits, lsm, sched, seccomp, user, working_dir};
use crate::ipc::protocol::Message;
use crate::sys;
use crate::sys::clone;
use rustix::fd::AsFd;
use rustix::io::Errno;

type Step = fn(&mut ProcessState<'_>, &JoinContext<'_>) -> Result<()>;

/// The steps of the intermediate process, as `init::STEPS` for a root that exists.
const INTERMEDIATE: &[(&str, Step)] = &[
    ("descriptors", |state, _| fds::preserve_and_hide(state)),
    ("cgroup", enter_cgroup),
    ("namespaces", enter_namespaces),
    ("session keyring", |state, context| keyring::join_keyring(state, &context.container.record.keyring)),
    ("console", |state, _| console::open_console(state)),
    ("security labels", |state, _| lsm::set_exec_label(state)),
    ("scheduling", |state, _| sched::set_attributes(state)),
    ("limits", |state, _| limits::set_before_clone(state.plan)),
    ("standard streams", |state, _| console::set_up_streams(state)),
    ("capability bounds", |state, _| caps::drop_bounding(state)),
    ("no new privileges", |state, _| user::set_no_new_privs(state)),
    ("working directory", |state, _| working_dir::enter_as_root(state)),
    ("user", |state, _| user::become_user(state)),
    ("working directory as the user", |state, _| working_dir::enter_as_user(state)),
    ("program", |state, _| exec::find_program(state)),
    // No descriptor of the host's: /proc/PID/fd of the new process would show it.
    ("prepare execve", |state, context| {
        exec::prepare_exec(state, &[context.channel.as_fd(), context.parent()?.as_fd()])
    }),
    ("seccomp", |state, context| seccomp::load_early(state, context.parent()?)),
    ("capabilities", |state, _| caps::drop_filter_capability(state)),
];

/// The steps of the program's process, the first that is seen in the container.
const PROGRAM: &[(&str, Step)] = &[
    ("session", |state, _| console::start_session_with_terminal(state)),
    ("limits", |state, _| limits::set_limits(state.plan)),
    ("seccomp in the pid namespace", |state, context| seccomp::load_late(state, &context.channel)),
    ("ready", report_ready),
];

/// Runs the steps of the intermediate process, forks, and runs those of the program's process
/// and the program. An error is sent to the runtime.
pub fn run(mut state: ProcessState<'_>, mut context: JoinContext<'_>) -> ! {
    let forked = run_steps(INTERMEDIATE, &mut state, &context).and_then(|()| match clone::fork_sibling(0) {
        Err(Errno::AGAIN) if !context.moved_by_systemd => pids_limit::clone_traced(context.parent()?),
        result => result.doing(|| "clone the new process"),
    });
    match (forked, context.parent.take()) {
        (Ok(Some(pid)), Some(parent)) => parent.leave(Ok(Message::Pid(pid.as_raw_nonzero().get()))),
        (Err(error), Some(parent)) => parent.leave(Err(error)),
        (_, parent) => {
            // EOF on it tells the runtime that the intermediate process has ended.
            drop(parent);
            run_program(state, &context)
        }
    }
}

/// The program's process.
fn run_program(mut state: ProcessState<'_>, context: &JoinContext<'_>) -> ! {
    let error = match run_steps(PROGRAM, &mut state, context) {
        Err(error) => error,
        Ok(()) => exec::exec_program(&mut state),
    };
    match state.go_received {
        true => drop(crate::path::write_all(&context.channel, &error.to_bytes())),
        false => drop(context.channel.send(&Message::Failed(error.chain()))),
    }
    sys::exec::exit(255)
}

fn run_steps(list: &[(&str, Step)], state: &mut ProcessState<'_>, context: &JoinContext<'_>) -> Result<()> {
    list.iter().try_for_each(|(_, step)| step(state, context))
}

/// Tells the runtime that no error of the config is left, and waits for Go.
fn report_ready(state: &mut ProcessState<'_>, context: &JoinContext<'_>) -> Result<()> {
    context.channel.send(&Message::Ready)?;
    context.channel.expect(&Message::Go)?;
    state.go_received = true;
    Ok(())
}
