//! Making a container, in order: lock and record, sources, cgroup, clone, serve
//! init, record again. Whatever fails on the way takes back what was made.

pub mod bind_source;
pub mod clone;
pub mod console;
pub mod hooks;
pub mod idmap;
pub mod idmap_mounts;
pub mod inherited;
pub mod listener;
pub mod making;
pub mod memfd;
pub mod notify;
pub mod pidfd;
pub mod protocol;
pub mod seal;
pub mod serve;
pub mod socket;
pub mod sources;
pub mod streams;
pub mod watch;

use crate::bail;
use crate::cgroup::{Cgroup, Entry, systemd};
use crate::cli::compat;
use crate::error::{Context, Result};
use crate::host::{self, Host};
use crate::init;
use crate::init::keyring::Keyring;
use crate::log::Log;
use crate::network::devices;
use crate::plan::{self, Plan, Request};
use crate::spec::{self, Spec};
use crate::state::{self, Record, StateDir};
use crate::sys::clone::Fork;
use crate::sys::fds::Bin;
use bind_source::Source;
use console::{Console, Ends, Way};
use making::Making;
use protocol::{Channel, Message};
use rustix::fd::{OwnedFd, RawFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use sources::Sources;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use watch::Watch;

/// What the command line says.
#[derive(Debug, Default)]
pub struct Options {
    pub id: String,
    /// The runtime's root, where the state directories are.
    pub root: PathBuf,
    pub bundle: PathBuf,
    /// Instead of the bundle's config.json.
    pub config: Option<PathBuf>,
    pub console: Console,
    /// A socket that gets a pidfd of init.
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    /// Descriptors of the caller for the program, those of `listen_fds` included.
    pub preserved: Vec<RawFd>,
    /// How many of them a service manager opened.
    pub listen_fds: u32,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Leave no cgroup of its own to the container.
    pub no_cgroup: bool,
    /// The cgroup is made by systemd.
    pub systemd_cgroup: bool,
    /// `run`: init goes on by itself, and its signals were blocked before.
    pub run: bool,
}

/// A container whose init has been told to go on.
#[derive(Debug)]
pub struct Created {
    pub dir: StateDir,
    pub record: Record,
    pub plan: Plan,
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub channel: Channel,
    /// Our side of its streams, for the foreground.
    pub near: Ends,
}

pub fn create(options: &Options, log: &Log) -> Result<Created> {
    let mut planned = planned(options, log)?;
    let outputs = streams::Output::of_init(&planned.plan);
    let Way { near, far, names } = options.console.open(&mut planned.plan.process, outputs)?;
    planned.streams = names;
    let pidfd_socket = options.pidfd_socket.as_deref().map(pidfd::connect).transpose()?;

    let dir = StateDir::create(&options.root, &options.id)?;
    let mut making = Making::new(dir);
    let sockets = Sockets { streams: far, pidfd: pidfd_socket };
    let result = make(&mut making, &planned, sockets, options, log);
    match result {
        Ok((record, pid, pidfd, channel, dir)) => {
            Ok(Created { dir, record, plan: planned.plan, pid, pidfd, channel, near })
        }
        Err(error) => {
            making.undo(&planned.plan.hooks.poststop, log);
            Err(error)
        }
    }
}

/// What is known of a container before anything of it is made.
#[derive(Debug)]
pub struct Planned {
    /// The text of its config.json.
    pub text: Vec<u8>,
    spec: Spec,
    /// Absolute.
    bundle: PathBuf,
    pub host: Host,
    pub plan: Plan,
    /// Its standard streams that are pipes, as /proc/PID/fd names them.
    pub streams: Vec<String>,
}

pub fn planned(options: &Options, log: &Log) -> Result<Planned> {
    let bundle = std::path::absolute(&options.bundle).doing(|| format!("bundle {}", options.bundle.display()))?;
    let config = options.config.clone().unwrap_or_else(|| bundle.join("config.json"));
    let text = spec::read_file(&config)?;
    let mut spec = spec::parse(&text).doing(|| format!("parse {}", config.display()))?;
    let host = Host::probe()?;
    state::dir::check_id(&options.id)?;
    if notify::is_wanted() {
        notify::add_folder(&mut spec, &options.root.join(&options.id))?;
        notify::add_name(&mut spec);
    }
    let systemd = options.systemd_cgroup.then(host::is_rootless);
    if systemd.is_some() && !systemd::is_running() {
        bail!("systemd is not running on this host, so it can't manage cgroups: use --cgroup-manager cgroupfs");
    }
    if systemd == Some(true) && !host.cgroups.pure_v2 {
        // As under runc: of v1, systemd delegates no controller to a user.
        bail!(
            "an ordinary user's systemd manages cgroups of v2 alone, and this host has v1: use --cgroup-manager cgroupfs"
        );
    }
    let request = Request { id: &options.id, bundle: &bundle, roots: roots(&bundle)?, systemd };
    let mut plan = plan::plan(&spec, request, &host, log)?;
    if options.no_pivot && plan.namespaces.makes(crate::sys::clone::NEWNS) {
        plan::refuse_to_uncover(&plan.process, &plan.namespaces).doing(|| "--no-pivot")?;
    }
    plan.process.env.extend(inherited::environment(options.listen_fds));
    Ok(Planned { text, spec, bundle, host, plan, streams: Vec::new() })
}

/// The plan of a container that is there, from the config with which it was made.
pub fn plan_of(dir: &StateDir, record: &Record) -> Result<Plan> {
    let mut spec = Record::need_config(dir)?;
    if dir.has(notify::FOLDER) {
        notify::add_folder(&mut spec, dir.path())?;
    }
    let host = Host::probe()?;
    let systemd = record.cgroup.unit.as_ref().map(|unit| unit.of_user);
    let request = Request { id: &record.id, bundle: &record.bundle, roots: roots(&record.bundle)?, systemd };
    // Its warnings were given when it was made.
    plan::plan(&spec, request, &host, &Log::quiet())
}

/// What firn.json and the closure that it names say.
fn roots(bundle: &Path) -> Result<Option<plan::roots::RootsPlan>> {
    let Some((roots, _)) = spec::roots::read(bundle)? else { return Ok(None) };
    let closure = roots.root.as_ref().and_then(|root| root.closure.as_deref());
    let list = closure.map(|path| spec::read_file(&bundle.join(path))).transpose()?;
    plan::roots::plan(&roots, list.as_deref())
}

/// Of the caller's, opened before anything is made.
struct Sockets {
    streams: Ends,
    pidfd: Option<OwnedFd>,
}

type Parts = (Record, Pid, OwnedFd, Channel, StateDir);

fn make(making: &mut Making, planned: &Planned, sockets: Sockets, options: &Options, log: &Log) -> Result<Parts> {
    let Planned { host, plan, .. } = planned;
    let mut record = making.write_down(planned, options)?;
    let Ends { console, pipes } = sockets.streams;
    let mut sources = sources::open(plan, console, host.may_mount())?;
    if sources.are_found {
        idmap_mounts::own(plan, &mut sources, host)?;
    }
    let entry = making.make_groups(plan, &mut record, options)?;
    if record.cgroup.dirs.is_empty() && !record.own_pid_namespace {
        log.warn(compat::NO_WAY_TO_KILL);
    }
    if record.cgroup.unit.is_none() {
        sources.open_cgroups(plan, &record.cgroup)?;
    }
    let start = if options.run { None } else { Some(state::start::make(making.dir()?)?) };
    let (mut channel, far_end) = Channel::pair()?;
    if options.run {
        channel.watch(Arc::new(Watch::new(None)?));
    }
    let (pid, pidfd) = match clone::clone_init(plan, &sources, &entry)? {
        Fork::Parent { pid, pidfd } => (pid, pidfd),
        Fork::Child => {
            streams::take(pipes);
            // With the directory goes init's part in the lock: flock(2) belongs
            // to all who inherit it.
            drop((channel, making.dir.take()));
            init::run(plan, sources, (&record.cgroup, entry), far_end, start, &record, options)
        }
    };
    making.init = Some((pid, pidfd));
    drop(pipes);
    if plan.namespaces.enters_by_itself() {
        serve::until_apart(&channel)?;
    }
    if let Some(filter) = &plan.seccomp {
        log.debug(|| format!("seccomp filter flags: {}", filter.flags));
    }
    log.debug(|| format!("{}: init is process {}", compat::CLONED, pid.as_raw_nonzero()));
    if let Some(groups) = &record.resctrl {
        groups.add(pid)?;
    }
    if !plan.net_devices.is_empty() {
        making.devices = Some(devices::move_in(&plan.net_devices, sources::network(&sources, pid)?, log)?);
    }
    serve::map_ids(&channel, plan, &sources, pid, host)?;
    discard(far_end, sources, entry);
    if making.enter_unit(plan, &mut record, pid)? {
        channel.send(&Message::Placed)?;
    }
    log.debug(|| compat::IN_INIT.to_owned());
    serve::until_ready(&channel, planned, &mut record, making)?;
    announce(making, &mut record, sockets.pidfd, options)?;
    drop(start);
    log.debug(|| compat::GOES_ON.to_owned());
    channel.send(&Message::Go)?;
    let (pid, pidfd, dir) = making.done();
    Ok((record, pid, pidfd, channel, dir))
}

/// The container is ready: from here on others find it.
fn announce(making: &Making, record: &mut Record, pidfd_socket: Option<OwnedFd>, options: &Options) -> Result<()> {
    let (dir, (pid, pidfd)) = (making.dir()?, making.init()?);
    record.begin(*pid, dir)?;
    if let Some(socket) = &pidfd_socket {
        pidfd::send(socket, pidfd::OF_INIT, pidfd)?;
    }
    if let Some(path) = &options.pid_file {
        write_pid_file(path, record.pid)?;
    }
    if options.run { Ok(()) } else { state::start::publish(dir) }
}

/// Closes the parent's copies of what init has now.
fn discard(far_end: Channel, sources: Sources, entry: Entry) {
    let mut bin = Bin::default();
    let Sources { are_found: _, mounts, root: _, idmaps, cgroups, null, nodes, namespaces, console_socket } = sources;
    let mounts = mounts.into_iter().flatten().filter_map(Source::into_tree);
    let idmaps = idmaps.into_iter().map(|(_, fd)| fd);
    let opened = mounts.chain(idmaps).chain(null).chain(nodes).chain(console_socket);
    opened.chain(cgroups.into_iter().flatten().map(|(_, fd)| fd)).for_each(|fd| bin.put(fd));
    entry.into_fds().chain(namespaces.into_iter().map(|(_, fd)| fd)).for_each(|fd| bin.put(fd));
    bin.put(far_end.into());
}

impl Planned {
    /// What is recorded of it first.
    fn record(&self, cgroup: Cgroup) -> Record {
        let Planned { spec, bundle, host, plan, streams, .. } = self;
        Record {
            oci_version: if spec.oci_version.is_empty() { spec::VERSION.into() } else { spec.oci_version.clone() },
            id: plan.id.clone(),
            pid: 0,
            start_time: 0,
            bundle: bundle.clone(),
            rootfs: plan.rootfs.clone(),
            created: state::time::rfc3339(SystemTime::now()),
            owner: host.euid,
            annotations: spec.annotations.clone(),
            cgroup,
            resctrl: None,
            keyring: Keyring::default(),
            own_pid_namespace: plan.namespaces.makes(crate::sys::clone::NEWPID),
            root_is_moved: false,
            hooks_begun: false,
            streams: streams.clone(),
        }
    }
}

/// A reader finds the whole number or no file. The folder may be anybody's: no
/// file that is there is written to.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let what = || format!("write the pid file {}", path.display());
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, Mode::from_raw_mode(0o644)).doing(what)?;
    let written = crate::path::write_all(&file, pid.to_string().as_bytes())
        .and_then(|()| rustix::fs::rename(temporary.as_os_str(), path));
    written.doing(what).inspect_err(|_| {
        let _ = rustix::fs::unlink(&temporary);
    })
}
