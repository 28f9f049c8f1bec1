//! The resources of a container that is being created or restored, and their rollback.

use super::{hooks, teardown};
use crate::bail;
use crate::cgroup::{Cgroup, CgroupHandle, v2};
use crate::error::{Context, Error, Result};
use crate::host::{self, Host};
use crate::ipc::{child, notify};
use crate::log::Log;
use crate::network::devices::Moved;
use crate::plan::Plan;
use crate::plan::mounts::{MountKind, MountPlan};
use crate::resctrl::{CreatedGroups, Groups};
use crate::spec::hooks::Hook;
use crate::spec::linux::IdMapping;
use crate::state::keyring::Keyring;
use crate::state::{self, Record, StateDir};
use crate::sys::clone::{NEWCGROUP, NEWPID, NEWUSER};
use crate::sys::mount::ATTR_RDONLY;
use crate::time;
use rustix::fd::OwnedFd;
use rustix::process::Pid;
use std::time::SystemTime;

/// What has been created so far, in order of creation. [`Self::rollback`] removes it,
/// [`Self::commit`] keeps it.
#[derive(Debug, Default)]
pub struct CreateTransaction {
    pub dir: Option<StateDir>,
    /// The cgroup directories that this transaction created.
    cgroup: Cgroup,
    resctrl: CreatedGroups,
    pub init: Option<(Pid, OwnedFd)>,
    pub devices: Option<Moved>,
}

impl CreateTransaction {
    /// A transaction that owns the state directory.
    pub fn new(dir: StateDir) -> Self {
        CreateTransaction { dir: Some(dir), ..CreateTransaction::default() }
    }

    /// Errors: there is no state directory.
    pub fn dir(&self) -> Result<&StateDir> {
        let Some(dir) = &self.dir else { bail!("the container has no state directory") };
        Ok(dir)
    }

    /// Pid and pidfd of init. Errors: it has not been cloned.
    pub fn init(&self) -> Result<&(Pid, OwnedFd)> {
        let Some(init) = &self.init else { bail!("the container has no process") };
        Ok(init)
    }

    /// Replaces init by process `number`, which init has made as its sibling
    /// (CLONE_PARENT) before it ends. Errors: `number` is not a child of the caller.
    pub fn replace_init(&mut self, number: i32) -> Result<()> {
        let Some((intermediate, pidfd)) = self.init.take() else { bail!("the container has no process") };
        let made = match number == intermediate.as_raw_nonzero().get() {
            true => Err(Error::new("the process that set up the container sent its own pid")),
            false => child::open_sibling(number),
        };
        match made {
            Ok(made) => {
                self.init = Some(made);
                child::wait(intermediate, &pidfd).doing(|| "wait for the process that set up the container")
            }
            Err(error) => {
                // Rollback kills it.
                self.init = Some((intermediate, pidfd));
                Err(error)
            }
        }
    }

    /// Chooses the paths of the cgroups and resctrl groups, and saves the record before any
    /// of them exists, so that `delete --force` can find them. `config`: the text of
    /// config.json. `streams`: the standard streams, as in `ConsolePair::names`.
    pub fn begin(&mut self, plan: &Plan, host: &Host, config: &[u8], streams: Vec<String>) -> Result<Record> {
        let mut cgroup = Cgroup::default();
        if !plan.cgroup.is_disabled {
            cgroup = Cgroup::place(&host.cgroups, &plan.cgroup)?;
            cgroup.refuse_foreign()?;
        }
        let record = Record {
            oci_version: plan.oci_version.clone(),
            id: plan.id.clone(),
            pid: 0,
            start_time: 0,
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.clone(),
            created: time::rfc3339(SystemTime::now()),
            owner: host.euid,
            annotations: plan.annotations.clone(),
            cgroup,
            resctrl: plan.resctrl.as_ref().map(|resctrl| Groups::place(resctrl, &plan.id)).transpose()?,
            keyring: Keyring::new(&plan.id, plan.new_keyring)?,
            own_pid_namespace: plan.namespaces.makes(NEWPID),
            root_is_moved: plan.no_pivot,
            hooks_begun: false,
            streams,
        };
        let dir = self.dir()?;
        record.save(dir)?;
        dir.write_new(state::files::CONFIG, config)?;
        if plan.has_notify_directory {
            notify::make_directory(dir)?;
        }
        Ok(record)
    }

    /// Creates and opens the cgroups, unless systemd creates them, and the resctrl groups.
    pub fn create_cgroups_and_resctrl(&mut self, plan: &Plan, record: &mut Record) -> Result<CgroupHandle> {
        let cgroup = &mut record.cgroup;
        let mut handle = CgroupHandle::default();
        if !plan.cgroup.is_disabled && cgroup.unit.is_none() {
            self.cgroup.pure_v2 = cgroup.pure_v2;
            cgroup.create(&plan.cgroup, &mut self.cgroup.dirs)?;
            delegate_to_container_root(plan, cgroup)?;
            handle = cgroup.open()?;
        }
        if let (Some(groups), Some(plan)) = (&record.resctrl, &plan.resctrl) {
            groups.make(plan, &mut self.resctrl)?;
        }
        Ok(handle)
    }

    /// Has systemd start a unit with `pid` in it. Returns whether the plan has a unit.
    pub fn enter_unit(&mut self, plan: &Plan, record: &mut Record, pid: Pid) -> Result<bool> {
        let Some(unit) = record.cgroup.unit.clone() else { return Ok(false) };
        record.cgroup.start_unit(&plan.cgroup, &unit, &plan.id, pid)?;
        self.cgroup = record.cgroup.clone();
        record.cgroup.complete_unit(&plan.cgroup, pid)?;
        delegate_to_container_root(plan, &record.cgroup)?;
        Ok(true)
    }

    /// Keeps everything. Panics unless `dir` and `init` are set.
    pub fn commit(&mut self) -> (Pid, OwnedFd, StateDir) {
        match (self.init.take(), self.dir.take()) {
            (Some((pid, pidfd)), Some(dir)) => (pid, pidfd, dir),
            _ => unreachable!("both have been set"),
        }
    }

    /// Kills init and removes what has been created; failures are logged. The poststop hooks
    /// run if other hooks have begun (runtime-spec, runtime.md, "Lifecycle").
    pub fn rollback(&mut self, poststop: &[Hook], log: &Log) {
        let record = self.dir.as_ref().and_then(|dir| Record::load(dir).ok().flatten());
        // Before init dies, and its network namespace with the devices.
        if let Some(mut devices) = self.devices.take() {
            devices.move_back(log);
        }
        if let Some((pid, pidfd)) = self.init.take() {
            child::kill(pid, &pidfd);
        }
        if let Err(error) = teardown::remove_container(&self.cgroup, true, || self.resctrl.remove(), self.dir.take()) {
            log.warn(&format!("roll back after the error that follows: {}", error.chain()));
        }
        if let Some(record) = record.filter(|record| record.hooks_begun) {
            hooks::run_poststop(poststop, &record, log);
        }
    }
}

/// chowns a cgroup that is mounted writable in a container with user and cgroup
/// namespaces of its own to the container's root, for a systemd in it. Only on
/// cgroup v2: delegation of v1 is not safe (cgroups(7), "Cgroup delegation").
fn delegate_to_container_root(plan: &Plan, cgroup: &Cgroup) -> Result<()> {
    let writable = |mount: &MountPlan| {
        matches!(mount.kind, MountKind::Cgroup { .. }) && (mount.attr.set | mount.recursive_attr.set) & ATTR_RDONLY == 0
    };
    let own = plan.namespaces.makes(NEWUSER) && plan.namespaces.makes(NEWCGROUP);
    if !cgroup.pure_v2 || !own || host::is_rootless() || !plan.mounts.iter().any(writable) {
        return Ok(());
    }
    let (Some(maps), Some(dir)) = (&plan.id_maps, cgroup.v2()) else { return Ok(()) };
    let root_of = |maps: &[IdMapping]| maps.iter().find(|map| map.container_id == 0).map(|map| map.host_id);
    match (root_of(&maps.uids), root_of(&maps.gids)) {
        (Some(uid), Some(gid)) => v2::delegate(dir, uid, gid),
        _ => Ok(()),
    }
}
