//! `restore`: does for CRIU, which makes the processes, what `create` does for init.

use super::options::{Common, ImageDirs, open_in_namespace_of};
use super::rpc::{self, Kind, opts};
use super::service::{self, ChildSetup, Criu};
use super::wire::Writer;
use super::{external, mounts, root, streams};
use crate::bail;
use crate::cgroup::{Cgroup, CgroupHandle};
use crate::create::transaction::CreateTransaction;
use crate::create::{hooks, idmap_mounts};
use crate::error::{Context, Error, Result};
use crate::host::{Host, proc_cgroup};
use crate::init::console;
use crate::ipc::pair::StreamEnds;
use crate::log::Log;
use crate::mount::sources::{self, Sources};
use crate::network::{self, devices};
use crate::path::RootFd;
use crate::plan::Plan;
use crate::state::keyring::Keyring;
use crate::state::oci_state::state_json;
use crate::state::{Record, Status, keyring};
use crate::sys::{self, clone};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Options of `restore`, besides those of a new container.
#[derive(Debug)]
pub struct Restore {
    pub common: Common,
    pub tcp_close: bool,
    pub lsm_profile: Option<String>,
    pub lsm_mount_context: Option<String>,
}

/// The images directory, and the CRIU to read it.
#[derive(Debug)]
pub struct Images<'a> {
    restore: &'a Restore,
    program: CString,
    image_dirs: ImageDirs,
    /// Names of the streams in the images, `streams.rs`.
    streams: Vec<String>,
}

impl<'a> Images<'a> {
    /// Errors: a plan that CRIU can't restore; CRIU is missing or too old; no images.
    pub fn open(restore: &'a Restore, plan: &Plan) -> Result<Self> {
        mounts::refuse(plan)?;
        let program = service::find()?;
        if restore.lsm_profile.is_some() || restore.lsm_mount_context.is_some() {
            // Older versions ignore unknown options, and so the label.
            const KNOWN_SINCE: u64 = 31_600;
            if service::version(&program)? < KNOWN_SINCE {
                bail!("--lsm-profile and --lsm-mount-context need criu 3.16");
            }
        }
        let image_dirs = ImageDirs::open(&restore.common, false, "restore.log")?;
        let streams = streams::load(&image_dirs.images)?;
        Ok(Images { restore, program, image_dirs, streams })
    }
}

/// Restores the container. `record` was begun by `transaction`. Returns the record with
/// init's pid.
pub fn restore(
    images: Images<'_>,
    plan: &Plan,
    streams: StreamEnds,
    transaction: &mut CreateTransaction,
    record: Record,
    host: &Host,
    log: &Log,
) -> Result<Record> {
    let work = Work { images, plan, streams, host, log };
    work.run(transaction, record)
}

/// The inputs of a restore.
struct Work<'a> {
    images: Images<'a>,
    plan: &'a Plan,
    /// The process's ends of its streams.
    streams: StreamEnds,
    host: &'a Host,
    log: &'a Log,
}

impl Work<'_> {
    fn run(&self, transaction: &mut CreateTransaction, mut record: Record) -> Result<Record> {
        let plan = self.plan;
        let mut sources = sources::open_sources(plan, None, true)?;
        sources.open_deferred(plan)?;
        idmap_mounts::mount_layered_root(plan, &mut sources, self.host)?;
        let cgroup_handle = transaction.create_cgroups_and_resctrl(plan, &mut record)?;
        let place = transaction.dir()?.make_mount_point()?;
        let criu = self.fork(&sources, &cgroup_handle, &record.keyring, &place)?;
        drop(cgroup_handle);
        if let Some(groups) = &record.resctrl {
            groups.add(criu.pid)?;
        }
        transaction.enter_unit(plan, &mut record, criu.pid)?;
        record.save(transaction.dir()?)?;
        let pid = self.request_restore(&criu, transaction, &mut record, &sources, &place)?;
        // A child of the caller: the pid is not reused before it is reaped.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).doing(|| "pidfd_open of the restored init")?;
        transaction.init = Some((pid, pidfd));
        criu.finish()?;
        drop(sources);
        transaction.dir()?.remove_mount_point()?;
        Ok(record)
    }

    fn fork(&self, sources: &Sources, cgroup_handle: &CgroupHandle, keyring: &Keyring, place: &Path) -> Result<Criu> {
        let plan = self.plan;
        let keep: Vec<_> = sources.namespaces.iter().map(|(_, fd)| fd.as_fd()).collect();
        let prepare = || {
            // CRIU's standard streams become the container's.
            for (number, pipe) in &self.streams.pipes {
                let owner = plan.process.owner.map(rustix::fs::Uid::from_raw);
                rustix::fs::fchown(pipe, owner, None).doing(|| "fchown a standard stream")?;
                sys::fds::dup2(pipe.as_fd(), *number).doing(|| "dup2 of a pipe to a standard stream of CRIU")?;
            }
            // CRIU does not dump keyrings: restored processes inherit CRIU's session keyring, which
            // must not be the caller's.
            keyring::join(keyring)?;
            cgroup_handle.enter()?;
            root::mount(plan, sources, place)
        };
        let inside =
            ChildSetup { namespaces: clone::NEWNS, cgroup: cgroup_handle.clone_into(), keep: &keep, prepare: &prepare };
        Criu::fork(&self.images.program, &inside).doing(|| "mount the root for CRIU")
    }

    /// Sends the request, serves the notifications, and returns init.
    fn request_restore(
        &self,
        criu: &Criu,
        transaction: &mut CreateTransaction,
        record: &mut Record,
        sources: &Sources,
        place: &Path,
    ) -> Result<Pid> {
        let image_dirs = self.images.image_dirs.in_namespace_of(criu.pid)?;
        let list = self.opts(criu, &image_dirs, &record.cgroup, sources, place)?;
        criu.exec()?;
        let mut cause = None;
        let answer = criu.request(&rpc::request(Kind::Restore, Some(&list)), &mut |script, pid, fd| {
            let done = match script {
                "setup-namespaces" => self.set_up(transaction, record, sources, pid),
                "post-restore" => self.record(transaction, record, pid),
                "orphan-pts-master" => self.send_pty_master(fd),
                _ => Ok(()),
            };
            done.map_err(|error| {
                cause = Some(error);
                Error::new("refused")
            })
        });
        match (cause, answer) {
            (Some(error), _) => Err(error),
            (None, Ok(answer)) if answer.success => {
                Pid::from_raw(answer.pid).ok_or_else(|| Error::new("CRIU sent no pid of the restored init"))
            }
            (None, Ok(answer)) => Err(self.images.image_dirs.failure(answer.errno, &answer.message)),
            (None, Err(error)) => Err(self.images.image_dirs.failure(0, &error.chain())),
        }
    }

    fn opts(
        &self,
        criu: &Criu,
        image_dirs: &ImageDirs,
        cgroup: &Cgroup,
        sources: &Sources,
        place: &Path,
    ) -> Result<Writer> {
        let mut list = self.images.restore.common.opts(image_dirs);
        list.bytes(opts::ROOT, place.as_os_str().as_bytes());
        list.flag(opts::EVASIVE_DEVICES, true);
        // The newer mount engine (CRIU 3.17) fails for a bind mount whose source is outside
        // the root on the same file system.
        list.flag(opts::MNTNS_COMPAT_MODE, true);
        // As a child of the caller, which can then wait for it.
        list.flag(opts::RST_SIBLING, true);
        list.flag(opts::TCP_CLOSE, self.images.restore.tcp_close);
        let labels = [
            (opts::LSM_PROFILE, &self.images.restore.lsm_profile),
            (opts::LSM_MOUNT_CONTEXT, &self.images.restore.lsm_mount_context),
        ];
        for (field, label) in labels {
            if let Some(label) = label {
                list.bytes(field, label.as_bytes());
            }
        }
        self.namespaces(sources, &mut list)?;
        if !cgroup.dirs.is_empty() {
            cgroup_roots(criu.pid, &mut list)?;
        }
        let root = RootFd::new(open_in_namespace_of(criu.pid, place)?);
        mounts::at_restore(self.plan, cgroup, &root, &mut list)?;
        streams::inherit(&self.images.streams, &mut list);
        Ok(list)
    }

    /// Joined namespaces are external and not modified.
    fn namespaces(&self, sources: &Sources, list: &mut Writer) -> Result<()> {
        for ((kind, fd), (_, path)) in sources.namespaces.iter().zip(&self.plan.namespaces.join) {
            let key = match *kind {
                clone::NEWNET => external::NET,
                clone::NEWPID => external::PID,
                clone::NEWCGROUP => bail!("criu can't restore into a cgroup namespace that is joined"),
                kind => {
                    let name = crate::plan::namespaces::KINDS.iter().find(|(_, flag)| *flag == kind);
                    let name = name.map_or("", |(name, _)| name);
                    list.message(opts::JOIN_NS, &rpc::pair(name.as_bytes(), path.as_os_str().as_bytes()));
                    continue;
                }
            };
            list.message(opts::INHERIT_FD, &rpc::inherit(key, fd.as_raw_fd()));
        }
        Ok(())
    }

    /// On setup-namespaces: the namespaces exist, without processes. Does what `create` does
    /// while init waits.
    fn set_up(
        &self,
        transaction: &mut CreateTransaction,
        record: &mut Record,
        sources: &Sources,
        pid: i32,
    ) -> Result<()> {
        let plan = self.plan;
        let Some(init) = Pid::from_raw(pid) else { bail!("CRIU sent no pid for the new namespaces") };
        if plan.namespaces.makes(clone::NEWNET) {
            network::loopback_up_in(sources::open_network_namespace(sources, init)?.as_fd())?;
        }
        if !plan.net_devices.is_empty() {
            let namespace = sources::open_network_namespace(sources, init)?;
            // In a joined namespace they are still where `create` moved them.
            let joined = plan.namespaces.joins(clone::NEWNET);
            let left =
                if joined { devices::missing_in(&namespace, &plan.net_devices)? } else { plan.net_devices.clone() };
            transaction.devices = Some(devices::move_in(&left, namespace, self.log)?);
        }
        record.begin_hooks(&plan.hooks, transaction.dir()?)?;
        let state = state_json(record, Status::Creating, pid);
        hooks::run("prestart", &plan.hooks.prestart, Some(&record.bundle), &state)?;
        hooks::run("createRuntime", &plan.hooks.create_runtime, Some(&record.bundle), &state)
    }

    /// On post-restore: the processes exist and do not run yet.
    fn record(&self, transaction: &CreateTransaction, record: &mut Record, pid: i32) -> Result<()> {
        let Some(pid) = Pid::from_raw(pid) else { bail!("CRIU sent no pid of the restored init") };
        record.begin(pid, transaction.dir()?)
    }

    fn send_pty_master(&self, master: Option<OwnedFd>) -> Result<()> {
        match (&self.streams.console, master) {
            (Some(socket), Some(master)) => console::send_master(socket, &master),
            (None, _) => bail!("the images have a terminal, but process.terminal is false"),
            (_, None) => bail!("CRIU sent no pty master"),
        }
    }
}

/// CRIU runs in the container's cgroups; they replace the ones in the images.
fn cgroup_roots(criu: Pid, list: &mut Writer) -> Result<()> {
    let path = format!("/proc/{}/cgroup", criu.as_raw_nonzero());
    let text = std::fs::read_to_string(&path).doing(|| format!("read {path}"))?;
    for (controllers, path) in proc_cgroup::hierarchies(&text) {
        for controller in controllers.split(',') {
            list.message(opts::CG_ROOT, &rpc::pair(controller.as_bytes(), path.as_bytes()));
        }
    }
    Ok(())
}
