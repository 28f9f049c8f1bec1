//! What a joining process does on its way to execve, in order.

use super::enter::{enter_cgroup, enter_namespaces};
use super::inside::Inside;
use super::room;
use crate::error::{Context, Result};
use crate::init::context::Task;
use crate::init::{caps, console, exec, fds, keyring, limits, lsm, sched, seccomp, user, working_dir};
use crate::ipc::protocol::Message;
use crate::sys;
use crate::sys::clone;
use rustix::fd::AsFd;
use rustix::io::Errno;

type Step = fn(&mut Task<'_>, &Inside<'_>) -> Result<()>;

/// As `init::STEPS`, for a root that exists. The intermediate process:
const INTERMEDIATE: &[(&str, Step)] = &[
    ("descriptors", |task, _| fds::hide(task)),
    ("cgroup", enter_cgroup),
    ("namespaces", enter_namespaces),
    ("session keyring", |task, inside| keyring::join(task, &inside.container.record.keyring)),
    ("console", |task, _| console::open(task)),
    ("security labels", |task, _| lsm::label(task)),
    ("scheduling", |task, _| sched::set(task)),
    ("limits", |task, _| limits::set_before_clone(task.process)),
    ("standard streams", |task, _| console::give_streams(task)),
    ("capability bounds", |task, _| caps::bound(task)),
    ("no new privileges", |task, _| user::no_new_privs(task)),
    ("working directory", |task, _| working_dir::enter(task)),
    ("user", |task, _| user::become_user(task)),
    ("working directory as the user", |task, _| working_dir::enter_as_user(task)),
    ("program", |task, _| exec::find(task)),
    // All of the host's: they would show in the new process's /proc.
    ("last descriptors", |task, inside| exec::let_go(task, &[inside.channel.as_fd(), inside.parent()?.as_fd()])),
    ("seccomp", |task, inside| seccomp::load_early(task, inside.parent()?)),
    ("capabilities", |task, _| caps::keep(task)),
];

/// And the program's own, the first that is seen in the container.
const PROGRAM: &[(&str, Step)] = &[
    ("session", |task, _| console::session(task)),
    ("limits", |task, _| limits::set(task.process)),
    ("seccomp in the pid namespace", |task, inside| seccomp::load_late(task, &inside.channel)),
    ("ready", ready),
];

/// Runs the steps and then the program; never returns.
pub fn run(mut task: Task<'_>, mut inside: Inside<'_>) -> ! {
    let forked = steps(INTERMEDIATE, &mut task, &inside).and_then(|()| match clone::fork_sibling(0) {
        Err(Errno::AGAIN) if !inside.wait_for_place => room::clone_traced(inside.parent()?),
        result => result.doing(|| "clone the new process"),
    });
    match (forked, inside.parent.take()) {
        (Ok(Some(pid)), Some(parent)) => parent.leave(Ok(Message::Pid(pid.as_raw_nonzero().get()))),
        (Err(error), Some(parent)) => parent.leave(Err(error)),
        (_, parent) => {
            // Whose end tells the runtime that the intermediate process is gone.
            drop(parent);
            program(task, &inside)
        }
    }
}

fn program(mut task: Task<'_>, inside: &Inside<'_>) -> ! {
    let error = match steps(PROGRAM, &mut task, inside) {
        Err(error) => error,
        Ok(()) => exec::exec(&mut task),
    };
    match task.has_gone_on {
        true => drop(crate::path::write_all(&inside.channel, &error.to_bytes())),
        false => drop(inside.channel.send(&Message::Failed(error.chain()))),
    }
    sys::exec::exit(255)
}

fn steps(list: &[(&str, Step)], task: &mut Task<'_>, inside: &Inside<'_>) -> Result<()> {
    list.iter().try_for_each(|(_, step)| step(task, inside))
}

fn ready(task: &mut Task<'_>, inside: &Inside<'_>) -> Result<()> {
    inside.channel.send(&Message::Ready)?;
    inside.channel.expect(&Message::Go)?;
    task.has_gone_on = true;
    Ok(())
}
