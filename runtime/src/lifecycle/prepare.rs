//! From the options of a new container to its plan: reads the bundle, and queries the
//! caller and the host for what the plan needs.

use crate::bail;
use crate::cgroup::systemd;
use crate::create::preflight;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::ipc::{inherited, notify, streams};
use crate::log::Log;
use crate::plan::layered_root::{self, LayeredRootPlan};
use crate::plan::request::{Attachment, CgroupManager, Console, Request};
use crate::plan::{self, Plan};
use crate::spec;
use crate::state::dir::check_id;
use crate::state::files::NOTIFY_DIRECTORY;
use crate::state::{Record, StateDir};
use rustix::fd::RawFd;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Options of `create`, `run` and `restore`.
#[derive(Debug, Default)]
pub struct Options {
    pub id: String,
    /// `--root`: the parent of the state directories.
    pub root: PathBuf,
    pub bundle: PathBuf,
    /// Instead of the bundle's config.json.
    pub config: Option<PathBuf>,
    pub console: Console,
    /// Unix socket to which a pidfd of init is sent.
    pub pidfd_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    /// Descriptors of the caller that are passed to the program, including `listen_fds`.
    pub preserved_fds: Vec<RawFd>,
    /// Number of them from socket activation, sd_listen_fds(3).
    pub listen_fds: u32,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub cgroup_manager: Manager,
}

/// Which manager creates the container's cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manager {
    #[default]
    Cgroupfs,
    /// systemd's system instance, or for an unprivileged caller its user instance.
    Systemd,
    /// None: the container stays in the caller's cgroup.
    Disabled,
}

/// The input of a creation; nothing has been created yet.
#[derive(Debug)]
pub struct Prepared {
    /// The text of its config.json.
    pub config: Vec<u8>,
    pub host: Host,
    pub plan: Plan,
}

/// Plans a new container. `starts_at_once`: it does not wait for `start`. Errors: what
/// can't be read or parsed, what the plan refuses.
pub fn prepare(options: &Options, starts_at_once: bool, log: &Log) -> Result<Prepared> {
    let bundle = std::path::absolute(&options.bundle).doing(|| format!("bundle {}", options.bundle.display()))?;
    let path = options.config.clone().unwrap_or_else(|| bundle.join("config.json"));
    let config = spec::read_file(&path)?;
    let spec = spec::parse(&config).doing(|| format!("parse {}", path.display()))?;
    let host = Host::probe()?;
    check_id(&options.id)?;
    let notify_directory = match notify::is_wanted() {
        true => Some(notify_directory(&options.root.join(&options.id))?),
        false => None,
    };
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    let request = Request {
        id: options.id.clone(),
        layered_root: read_firn_config(&bundle)?,
        bundle,
        cgroup_manager: manager(options.cgroup_manager, &host)?,
        attachment: Some(attachment(options.console.clone(), terminal)),
        notify_directory,
        environment: inherited::environment(options.listen_fds),
        preserved_fds: options.preserved_fds.clone(),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        starts_at_once,
    };
    let plan = plan::plan(&spec, request, &host, log)?;
    preflight::check(&plan)?;
    Ok(Prepared { config, host, plan })
}

/// The console, and the standard streams of the caller.
pub fn attachment(console: Console, terminal: bool) -> Attachment {
    Attachment { console, streams: streams::probe_caller_streams(terminal) }
}

/// The plan of an existing container, from the config.json in its state directory.
pub fn plan_of(dir: &StateDir, record: &Record) -> Result<Plan> {
    let spec = Record::require_config(dir)?;
    let notify_directory = dir.has(NOTIFY_DIRECTORY).then(|| notify_directory(dir.path())).transpose()?;
    let request = Request {
        id: record.id.clone(),
        bundle: record.bundle.clone(),
        layered_root: read_firn_config(&record.bundle)?,
        cgroup_manager: match &record.cgroup.unit {
            Some(unit) => CgroupManager::Systemd { of_user: unit.of_user },
            None => CgroupManager::Cgroupfs,
        },
        notify_directory,
        ..Request::default()
    };
    // Warnings were logged at creation.
    plan::plan(&spec, request, &Host::probe()?, &Log::quiet())
}

fn notify_directory(state: &Path) -> Result<PathBuf> {
    let directory = state.join(OsStr::from_bytes(NOTIFY_DIRECTORY.to_bytes()));
    std::path::absolute(&directory).doing(|| format!("directory {}", directory.display()))
}

fn manager(manager: Manager, host: &Host) -> Result<CgroupManager> {
    match manager {
        Manager::Cgroupfs => return Ok(CgroupManager::Cgroupfs),
        Manager::Disabled => return Ok(CgroupManager::Disabled),
        Manager::Systemd => {}
    }
    let of_user = host.is_rootless();
    if !systemd::is_running() {
        bail!("systemd is not running on this host, so it can't manage cgroups: use --cgroup-manager cgroupfs");
    }
    if of_user && !host.cgroups.pure_v2 {
        // As under runc: systemd delegates no controller of v1 to a user instance.
        bail!(
            "an unprivileged user's systemd manages only cgroup v2, and this host has v1: use --cgroup-manager cgroupfs"
        );
    }
    Ok(CgroupManager::Systemd { of_user })
}

/// Reads the bundle's firn.json, and the list of the closure that it names.
pub fn read_firn_config(bundle: &Path) -> Result<Option<LayeredRootPlan>> {
    let Some((config, _)) = spec::firn_config::read(bundle)? else { return Ok(None) };
    let closure = config.root.as_ref().and_then(|root| root.closure.as_deref());
    let list = closure.map(|path| spec::read_file(&bundle.join(path))).transpose()?;
    layered_root::plan(&config, list.as_deref())
}
