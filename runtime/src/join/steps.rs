//! The steps of a joining process up to execve(2), in order.

use super::context::JoinContext;
use super::enter::{enter_cgroup, enter_namespaces};
use super::pids_limit;
use crate::error::{Context, Result};
use crate::init::context::Task;
use crate::init::{caps, console, exec, fds, keyring, limits, lsm, sched, seccomp, user, working_dir};
use crate::ipc::protocol::Message;
use crate::sys;
use crate::sys::clone;
use rustix::fd::AsFd;
use rustix::io::Errno;

type Step = fn(&mut Task<'_>, &JoinContext<'_>) -> Result<()>;

/// The steps of the intermediate process, as `init::STEPS` for a root that exists.
const INTERMEDIATE: &[(&str, Step)] = &[
    ("descriptors", |task, _| fds::preserve_and_hide(task)),
    ("cgroup", enter_cgroup),
    ("namespaces", enter_namespaces),
    ("session keyring", |task, context| keyring::join_keyring(task, &context.container.record.keyring)),
    ("console", |task, _| console::open_console(task)),
    ("security labels", |task, _| lsm::set_exec_label(task)),
    ("scheduling", |task, _| sched::set_attributes(task)),
    ("limits", |task, _| limits::set_before_clone(task.process)),
    ("standard streams", |task, _| console::set_up_streams(task)),
    ("capability bounds", |task, _| caps::drop_bounding(task)),
    ("no new privileges", |task, _| user::set_no_new_privs(task)),
    ("working directory", |task, _| working_dir::enter_as_root(task)),
    ("user", |task, _| user::become_user(task)),
    ("working directory as the user", |task, _| working_dir::enter_as_user(task)),
    ("program", |task, _| exec::find_program(task)),
    // No descriptor of the host's: /proc/PID/fd of the new process would show it.
    ("prepare execve", |task, context| exec::prepare_exec(task, &[context.channel.as_fd(), context.parent()?.as_fd()])),
    ("seccomp", |task, context| seccomp::load_early(task, context.parent()?)),
    ("capabilities", |task, _| caps::drop_filter_capability(task)),
];

/// The steps of the program's process, the first that is seen in the container.
const PROGRAM: &[(&str, Step)] = &[
    ("session", |task, _| console::start_session_with_terminal(task)),
    ("limits", |task, _| limits::set_limits(task.process)),
    ("seccomp in the pid namespace", |task, context| seccomp::load_late(task, &context.channel)),
    ("ready", report_ready),
];

/// Runs the steps of the intermediate process, forks, and runs those of the program's process
/// and the program. An error is sent to the runtime.
pub fn run(mut task: Task<'_>, mut context: JoinContext<'_>) -> ! {
    let forked = run_steps(INTERMEDIATE, &mut task, &context).and_then(|()| match clone::fork_sibling(0) {
        Err(Errno::AGAIN) if !context.moved_by_systemd => pids_limit::clone_traced(context.parent()?),
        result => result.doing(|| "clone the new process"),
    });
    match (forked, context.parent.take()) {
        (Ok(Some(pid)), Some(parent)) => parent.leave(Ok(Message::Pid(pid.as_raw_nonzero().get()))),
        (Err(error), Some(parent)) => parent.leave(Err(error)),
        (_, parent) => {
            // EOF on it tells the runtime that the intermediate process has ended.
            drop(parent);
            run_program(task, &context)
        }
    }
}

/// The program's process.
fn run_program(mut task: Task<'_>, context: &JoinContext<'_>) -> ! {
    let error = match run_steps(PROGRAM, &mut task, context) {
        Err(error) => error,
        Ok(()) => exec::exec_program(&mut task),
    };
    match task.go_received {
        true => drop(crate::path::write_all(&context.channel, &error.to_bytes())),
        false => drop(context.channel.send(&Message::Failed(error.chain()))),
    }
    sys::exec::exit(255)
}

fn run_steps(list: &[(&str, Step)], task: &mut Task<'_>, context: &JoinContext<'_>) -> Result<()> {
    list.iter().try_for_each(|(_, step)| step(task, context))
}

/// Tells the runtime that no error of the config is left, and waits for Go.
fn report_ready(task: &mut Task<'_>, context: &JoinContext<'_>) -> Result<()> {
    context.channel.send(&Message::Ready)?;
    context.channel.expect(&Message::Go)?;
    task.go_received = true;
    Ok(())
}
