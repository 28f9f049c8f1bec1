//! `exec`: another process in a container that runs. A process in between joins
//! by one setns(2) on the pidfd of init and becomes what the program will be;
//! only then is the program's process made. Whoever is in the container's pid
//! namespace may, with CAP_SYS_PTRACE, use the root, the descriptors and the
//! rights of any process there: none may be seen that still has the host's.

#![deny(clippy::disallowed_methods)]

pub mod mounts;
mod room;

use crate::bail;
use crate::cgroup::systemd::{self, Unit};
use crate::cgroup::{Cgroup, Dir, Entry};
use crate::child;
use crate::cli::compat;
use crate::create::clone::{drop_groups, sibling};
use crate::create::console::{Console, Ends, Way};
use crate::create::listener::{self, Notifier};
use crate::create::protocol::{Channel, Message};
use crate::create::watch::Watch;
use crate::create::{serve, streams};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::init::{
    Task, caps, console, exec, fds, keyring, limits, lsm, pid_namespace, sched, seccomp, user, working_dir,
};
use crate::log::Log;
use crate::path::RootFd;
use crate::plan::namespaces::KINDS;
use crate::plan::process::ProcessPlan;
use crate::plan::{self, namespaces};
use crate::seccomp::Filter;
use crate::spec::Spec;
use crate::spec::process::Process;
use crate::state::{self, Record, StateDir, Status};
use crate::sys;
use crate::sys::clone::{self, Fork};
use rustix::fd::{AsFd, OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Options {
    /// Descriptors of the caller that the program gets.
    pub preserved: Vec<RawFd>,
    pub console: Console,
    pub ignore_paused: bool,
    /// Below the container's cgroup: `PATH`, or `CONTROLLER:PATH` on v1.
    pub cgroup: Vec<String>,
    /// Its signals were blocked before.
    pub foreground: bool,
}

#[derive(Debug)]
pub struct Joined {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub channel: Channel,
    /// Our side of its streams, for the foreground.
    pub near: Ends,
}

/// What a container that runs is, for those who join it.
#[derive(Debug)]
pub struct Container {
    pub record: Record,
    pub spec: Spec,
    init: OwnedFd,
}

/// Finds the container and checks that it can be joined.
pub fn find(dir: &StateDir, ignore_paused: bool) -> Result<Container> {
    let record = Record::need(dir)?;
    let mut status = Status::of(dir, &record);
    if status == Status::Paused && !ignore_paused {
        // `kill --all` freezes it too, for a moment, and holds the lock meanwhile.
        dir.lock_again()?;
        status = Status::of(dir, &record);
        dir.unlock()?;
    }
    match status {
        Status::Running | Status::Created => {}
        Status::Paused if ignore_paused => {}
        Status::Paused => bail!("cannot exec in a paused container (use --ignore-paused to override)"),
        Status::Creating | Status::Stopped => bail!("cannot exec in a stopped container"),
    }
    let Some(init) = state::process::open(record.pid, record.start_time)? else {
        bail!("cannot exec in a stopped container");
    };
    let spec = Record::need_config(dir)?;
    Ok(Container { record, spec, init })
}

/// Starts `process` in the container, up to where its program is about to run.
pub fn join(container: &Container, process: &Process, options: &Options, log: &Log) -> Result<Joined> {
    let host = Host::probe()?;
    let (mut plan, filter) = plan::exec(process, &container.spec, &host, log)?;
    let Way { near, far, .. } = options.console.open(&mut plan, streams::Output::Passes)?;
    let linux = container.spec.linux.as_ref().map(namespaces::plan).transpose()?.unwrap_or_default();
    if container.record.root_is_moved && linux.makes(clone::NEWNS) {
        plan::refuse_to_uncover(&plan, &linux).doing(|| "the container was made with --no-pivot")?;
    }
    let named = linux.join.iter().fold(linux.new, |all, (kind, _)| all | kind);
    // In a mount namespace of its own the root is the namespace's.
    let root = if linux.makes(clone::NEWNS) { None } else { Some(root_of(&container.record)?) };
    let (mut channel, far_end) = Channel::pair()?;
    let (mut between, between_end) = Channel::pair()?;
    let watch = Arc::new(Watch::new(Some(&container.init))?);
    channel.watch(Arc::clone(&watch));
    between.watch(Arc::clone(&watch));
    let entry = entry(container, &options.cgroup)?;
    if let [Some(initial), _] = &plan.cpu_affinity {
        // Inherited: the new process begins its life in the cgroup.
        sched_setaffinity(None, initial).doing(|| "set process.execCPUAffinity.initial")?;
    }
    log.debug(|| format!("nsexec: affinity: {}", affinity()));
    let (fork, entry, attach) = fork(container, entry)?;
    match fork {
        Fork::Parent { pid, pidfd } => {
            if let Some(unit) = attach {
                let below = options.cgroup.first().map_or("", String::as_str);
                if let Err(error) = systemd::attach(unit, below, pid.as_raw_nonzero().get()) {
                    child::kill(pid, &pidfd);
                    return Err(error);
                }
                channel.send(&Message::Placed)?;
            }
            drop((far_end, between_end, entry, far));
            let mut listener = None;
            let (pid, pidfd) = made_by((pid, &pidfd), &between, &watch, container, &mut listener)?;
            log.debug(|| format!("{}: the new process is {}", compat::CLONED, pid.as_raw_nonzero()));
            log.debug(|| compat::IN_INIT.to_owned());
            let grouped = container.record.resctrl.as_ref().map_or(Ok(()), |groups| groups.add(pid));
            let agent = Agent { container, filter: filter.as_ref(), pid };
            let told = grouped.and_then(|()| listener.map_or(Ok(()), |listener| agent.hand_over(&listener)));
            match told.and_then(|()| until_ready(&channel, &plan, &agent)) {
                Ok(()) => Ok(Joined { pid, pidfd, channel, near }),
                Err(error) => {
                    child::kill(pid, &pidfd);
                    Err(error)
                }
            }
        }
        Fork::Child => {
            drop((channel, between, near));
            streams::take(far.pipes);
            if options.foreground {
                // The foreground waits for signals with all of them blocked.
                let _ = sys::signal::unblock_all();
            }
            let task = task(&plan, filter.as_ref(), &options.preserved, far.console);
            let wait_for_place = attach.is_some();
            let (channel, parent) = (far_end, Some(between_end));
            run(task, Inside { container, named, root, entry, wait_for_place, channel, parent })
        }
    }
}

/// The process that the intermediate one has made, once that one has ended; and the
/// listener of a filter that it has loaded for that process.
fn made_by(
    (between, pidfd): (Pid, &OwnedFd),
    channel: &Channel,
    watch: &Watch,
    container: &Container,
    listener: &mut Option<OwnedFd>,
) -> Result<(Pid, OwnedFd)> {
    let mut left = None;
    let made = loop {
        match channel.receive_with() {
            Ok(Some((Message::Filter, Some(filter)))) => {
                *listener = Some(filter);
                if let Err(error) = channel.send(&Message::HandedOver) {
                    break Err(error);
                }
            }
            Ok(Some((Message::Full, _))) => {
                match room::take_out(between, container.record.cgroup.pure_v2) {
                    Ok(place) => left = Some(place),
                    Err(error) => break Err(error),
                }
                if let Err(error) = channel.send(&Message::Placed) {
                    break Err(error);
                }
            }
            Ok(Some((Message::Pid(number), _))) => break sibling(number),
            Ok(other) => break Err(Error::new(format!("the intermediate process said {other:?}"))),
            Err(error) => break Err(error),
        }
    };
    let mut ended = if made.is_ok() { watch.wait(pidfd.as_fd()) } else { Ok(()) };
    if let (Ok((pid, _)), Some(left), Ok(())) = (&made, &left, &ended) {
        ended = room::put_in(*pid, left, watch);
    }
    // It has ended, or is held up: then it is not waited for.
    child::kill(between, pidfd);
    match (made, ended) {
        (Ok((pid, pidfd)), Err(error)) => {
            child::kill(pid, &pidfd);
            Err(error)
        }
        (made, _) => made,
    }
}

/// The first processors that the new process begins its life on, as a mask.
fn affinity() -> String {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let mask = (0..64).filter(|cpu| set.is_set(*cpu)).fold(0u64, |mask, cpu| mask | 1 << cpu);
    format!("{mask:#x}")
}

/// Into the container's own cgroup, or those below it.
fn entry(container: &Container, below: &[String]) -> Result<Entry> {
    let mut cgroup = container.record.cgroup.clone();
    below.iter().try_for_each(|below| descend(&mut cgroup, below))?;
    cgroup.entry()
}

#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's cgroups")]
fn descend(cgroup: &mut Cgroup, below: &str) -> Result<()> {
    let (controllers, path) = match below.split_once(':') {
        Some((controllers, path)) => (Some(controllers), path),
        None => (None, below),
    };
    if path.split('/').any(|part| part == "..") {
        bail!("bad sub cgroup path: {path} is not a sub cgroup path, for it leads out of the container's");
    }
    let list = controllers.map(|list| list.split(',').collect::<Vec<_>>());
    if let Some(unknown) = list.iter().flatten().find(|name| !cgroup.dirs.iter().any(|dir| dir.has(name))) {
        bail!("--cgroup {below:?}: unknown controller {unknown}: the container has no such cgroup");
    }
    let chosen = |dir: &Dir| list.as_ref().is_none_or(|list| list.iter().any(|controller| dir.has(controller)));
    for dir in cgroup.dirs.iter_mut().filter(|dir| chosen(dir)) {
        dir.path.push(path.trim_start_matches('/'));
        if !dir.path.is_dir() {
            let procs = dir.path.join("cgroup.procs");
            return Err(Errno::NOENT)
                .doing(|| format!("error adding pid of exec to cgroups: open {}", procs.display()));
        }
    }
    Ok(())
}

/// On cgroup v2 a container that has handed controllers down takes no more
/// processes at its top (EBUSY): then into the cgroup that its init is in. A user
/// who is in another part of the tree may not move anybody there (EACCES), but
/// systemd, whose unit it is, may; it is returned if it has to.
fn fork(container: &Container, entry: Entry) -> Result<(Fork, Entry, Option<&Unit>)> {
    match clone::clone3(0, entry.clone_into()) {
        Err(Errno::BUSY | Errno::OPNOTSUPP) => {
            let beside = entry.replace_v2(&init_cgroup(container)?)?;
            let fork = clone::clone3(0, beside.clone_into()).doing(|| "clone the new process")?;
            Ok((fork, beside, None))
        }
        Err(Errno::ACCESS) if container.record.cgroup.unit.is_some() => {
            let fork = clone::clone3(0, None).doing(|| "clone the new process")?;
            Ok((fork, Entry::default(), container.record.cgroup.unit.as_ref()))
        }
        result => Ok((result.doing(|| "clone the new process")?, entry, None)),
    }
}

fn init_cgroup(container: &Container) -> Result<std::path::PathBuf> {
    let pid = container.record.pid;
    let Some(text) = state::process::read(&container.init, pid, "cgroup")? else {
        bail!("cannot exec in a stopped container");
    };
    let own = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .ok_or_else(|| Error::new(format!("/proc/{pid}/cgroup has no cgroup v2")))?;
    let mount = if container.record.cgroup.pure_v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
    Ok(std::path::Path::new(mount).join(own))
}

/// Whose filter the agent gets, where there is one.
struct Agent<'a> {
    container: &'a Container,
    filter: Option<&'a Filter>,
    pid: Pid,
}

impl Agent<'_> {
    fn hand_over(&self, descriptor: &OwnedFd) -> Result<()> {
        let agent = self.filter.and_then(|filter| filter.listener.as_ref());
        let Some(agent) = agent else { bail!("the new process sent the listener of a filter that has none") };
        let (record, pid) = (&self.container.record, self.pid.as_raw_nonzero().get());
        let of = Notifier { record, status: Status::Running, init: record.pid, pid };
        listener::hand_over(descriptor, agent, &of)
    }
}

fn until_ready(channel: &Channel, plan: &ProcessPlan, agent: &Agent<'_>) -> Result<()> {
    if let Some(adjustment) = plan.oom_score_adj {
        serve::adjust_oom_score(agent.pid, adjustment)?;
    }
    loop {
        match channel.receive_with()? {
            Some((Message::Ready, _)) => return sched::set_policy(plan, agent.pid.as_raw_nonzero().get()),
            Some((Message::Filter, Some(descriptor))) => {
                agent.hand_over(&descriptor)?;
                channel.send(&Message::HandedOver)?;
            }
            Some((other, _)) => bail!("the new process said {other:?} out of turn"),
            None => bail!("the new process ended before it was ready"),
        }
    }
}

fn task<'a>(
    process: &'a ProcessPlan,
    filter: Option<&'a Filter>,
    preserved: &'a [RawFd],
    console_socket: Option<OwnedFd>,
) -> Task<'a> {
    Task {
        process,
        filter,
        is_outside: true,
        loads_late: filter.is_some_and(|filter| !pid_namespace::lets_fork(filter, process)),
        preserved,
        console_socket,
        root: None,
        proc: None,
        enters_as_user: false,
        program: None,
        env: process.env.clone(),
        vectors: None,
        has_gone_on: false,
    }
}

/// What a joining process needs beside its task.
struct Inside<'a> {
    container: &'a Container,
    /// CLONE_NEW* of the namespaces that the config names.
    named: u64,
    /// Of a container that shares its mount namespace with others.
    root: Option<OwnedFd>,
    entry: Entry,
    /// systemd moves us.
    wait_for_place: bool,
    channel: Channel,
    /// Of the intermediate process alone.
    parent: Option<Channel>,
}

impl Inside<'_> {
    fn parent(&self) -> Result<&Channel> {
        self.parent.as_ref().ok_or_else(|| Error::new("exec: the intermediate process has ended"))
    }
}

type Step = fn(&mut Task<'_>, &Inside<'_>) -> Result<()>;

/// As `init::STEPS`, for a root that exists. The process in between:
const BETWEEN: &[(&str, Step)] = &[
    ("descriptors", |task, _| fds::hide(task)),
    ("cgroup", enter_cgroup),
    ("namespaces", enter),
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
const INSIDE: &[(&str, Step)] = &[
    ("session", |task, _| console::session(task)),
    ("limits", |task, _| limits::set(task.process)),
    ("seccomp in the pid namespace", |task, inside| seccomp::load_late(task, &inside.channel)),
    ("ready", ready),
];

fn run(mut task: Task<'_>, mut inside: Inside<'_>) -> ! {
    let forked = steps(BETWEEN, &mut task, &inside).and_then(|()| match clone::fork_sibling(0) {
        Err(Errno::AGAIN) if !inside.wait_for_place => room::clone_traced(inside.parent()?).doing(|| "exec"),
        result => result.doing(|| "exec: clone the new process"),
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
    let error = match steps(INSIDE, &mut task, inside) {
        Err(error) => error,
        Ok(()) => exec::exec(&mut task),
    };
    let text = error.chain();
    match task.has_gone_on {
        true => drop(crate::path::write_all(&inside.channel, text.as_bytes())),
        false => drop(inside.channel.send(&Message::Failed(text))),
    }
    sys::exec::exit(255)
}

fn steps(list: &[(&str, Step)], task: &mut Task<'_>, inside: &Inside<'_>) -> Result<()> {
    for (name, step) in list {
        step(task, inside).doing(|| format!("exec: {name}"))?;
    }
    Ok(())
}

fn enter_cgroup(task: &mut Task<'_>, inside: &Inside<'_>) -> Result<()> {
    match inside.wait_for_place {
        true => inside.channel.expect(&Message::Placed)?,
        false => inside.entry.enter()?,
    }
    match &task.process.cpu_affinity {
        [_, Some(last)] => sched_setaffinity(None, last).doing(|| "set process.execCPUAffinity.final"),
        [None, None] => sys::sched::reset_affinity().doing(|| "leave the processors to the cgroup"),
        _ => Ok(()),
    }
}

/// All namespaces in one call, then the root that init has.
fn enter(task: &mut Task<'_>, inside: &Inside<'_>) -> Result<()> {
    if inside.named & clone::NEWUSER != 0 {
        drop_groups(task.process)?;
    }
    join_namespaces(inside).doing(|| "join the container's namespaces")?;
    if let Some(root) = &inside.root {
        enter_root(root).doing(|| "enter the container's root")?;
    }
    if inside.named & clone::NEWUSER != 0 {
        // Without a mapping for root we stay who we are.
        let _ = sys::ids::set_gid(0);
        let _ = sys::ids::set_uid(0);
    }
    task.root = Some(RootFd::new(crate::init::rootfs::open_directory("/")?));
    Ok(())
}

/// Also those that the config does not name and that init is in all the same: criu
/// restores into a time namespace of its own. To join one's own again changes
/// nothing, but for a user namespace (EINVAL), and takes rights over it (EPERM) that
/// a user has over those alone that it made.
fn join_namespaces(inside: &Inside<'_>) -> Result<()> {
    let init = inside.container.init.as_fd();
    let all = KINDS.iter().fold(0, |all, (_, kind)| all | kind) & !clone::NEWUSER | inside.named;
    match clone::setns(init, all) {
        Err(Errno::PERM | Errno::INVAL) => {
            let kinds = inside.named | others_of(&inside.container.record)?;
            if kinds == 0 { Ok(()) } else { clone::setns(init, kinds).doing(|| "setns") }
        }
        result => result.doing(|| "setns"),
    }
}

/// The namespaces of init in which this process is not.
#[expect(clippy::disallowed_methods, reason = "still the host's /proc")]
fn others_of(record: &Record) -> Result<u64> {
    let mut kinds = 0;
    for (name, kind) in KINDS.into_iter().filter(|(_, kind)| *kind != clone::NEWUSER) {
        let file = match name {
            "network" => "net",
            "mount" => "mnt",
            name => name,
        };
        let id = |process: &str| match rustix::fs::stat(format!("/proc/{process}/ns/{file}")) {
            Err(Errno::NOENT) => Ok(None),
            result => {
                result.map(|stat| Some((stat.st_dev, stat.st_ino))).doing(|| format!("look at the {name} namespace"))
            }
        };
        if id("self")? != id(&record.pid.to_string())? {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

/// Where init has its root: without a mount namespace of its own it is somewhere
/// below that of the host, or of whoever's namespace was joined.
#[expect(clippy::disallowed_methods, reason = "the runtime's side: the host's /proc")]
fn root_of(record: &Record) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", record.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).doing(|| format!("open {path}"))?;
    // Looked at after opening: the number may have become another process's.
    if !state::process::is_alive(record.pid, record.start_time) {
        bail!("cannot exec in a stopped container");
    }
    Ok(root)
}

#[expect(clippy::disallowed_methods, reason = ". and / only, around the change of root")]
fn enter_root(root: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

fn ready(task: &mut Task<'_>, inside: &Inside<'_>) -> Result<()> {
    inside.channel.send(&Message::Ready)?;
    inside.channel.expect(&Message::Go)?;
    task.has_gone_on = true;
    Ok(())
}
