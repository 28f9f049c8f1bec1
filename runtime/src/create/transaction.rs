//! What has been made of a container so far, in the order in which it is made
//! and given back: `create` and `restore` alike.

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
use crate::resctrl::{Groups, Made};
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

/// What has been made of a container, in the order in which it is made. Each part that
/// is there is taken back if a later one fails.
#[derive(Debug, Default)]
pub struct CreateTransaction {
    pub dir: Option<StateDir>,
    /// The directories that were not there before.
    cgroup: Cgroup,
    resctrl: Made,
    pub init: Option<(Pid, OwnedFd)>,
    pub devices: Option<Moved>,
}

impl CreateTransaction {
    pub fn new(dir: StateDir) -> Self {
        CreateTransaction { dir: Some(dir), ..CreateTransaction::default() }
    }

    pub fn dir(&self) -> Result<&StateDir> {
        let Some(dir) = &self.dir else { bail!("the container has no state directory") };
        Ok(dir)
    }

    pub fn init(&self) -> Result<&(Pid, OwnedFd)> {
        let Some(init) = &self.init else { bail!("the container has no process") };
        Ok(init)
    }

    /// Init has made another process as its sibling, which is the container's, and ends.
    pub fn replace_init(&mut self, number: i32) -> Result<()> {
        let Some((intermediate, pidfd)) = self.init.take() else { bail!("the container has no process") };
        let made = match number == intermediate.as_raw_nonzero().get() {
            true => Err(Error::new("the process that set the container up named itself")),
            false => child::sibling(number),
        };
        match made {
            Ok(made) => {
                self.init = Some(made);
                child::wait(intermediate, &pidfd).doing(|| "the process that set the container up")
            }
            Err(error) => {
                // To be killed with the rest.
                self.init = Some((intermediate, pidfd));
                Err(error)
            }
        }
    }

    /// Decides where the container's groups shall be, and records that before there is
    /// anything that would have to be found again. `config` is the text of its
    /// config.json, `streams` are its standard streams as `ConsolePair` names them.
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

    /// Makes its cgroups, unless systemd will, and opens them; and its resctrl groups.
    pub fn make_groups(&mut self, plan: &Plan, record: &mut Record) -> Result<CgroupHandle> {
        let cgroup = &mut record.cgroup;
        let mut handle = CgroupHandle::default();
        if !plan.cgroup.is_disabled && cgroup.unit.is_none() {
            self.cgroup.pure_v2 = cgroup.pure_v2;
            cgroup.create(&plan.cgroup, &mut self.cgroup.dirs)?;
            delegate(plan, cgroup)?;
            handle = cgroup.open()?;
        }
        if let (Some(groups), Some(plan)) = (&record.resctrl, &plan.resctrl) {
            groups.make(plan, &mut self.resctrl)?;
        }
        Ok(handle)
    }

    /// Has systemd make the cgroup around `pid`, and says whether that was needed.
    pub fn enter_unit(&mut self, plan: &Plan, record: &mut Record, pid: Pid) -> Result<bool> {
        let Some(unit) = record.cgroup.unit.clone() else { return Ok(false) };
        record.cgroup.start_unit(&plan.cgroup, &unit, &plan.id, pid)?;
        self.cgroup = record.cgroup.clone();
        record.cgroup.complete_unit(&plan.cgroup, pid)?;
        delegate(plan, &record.cgroup)?;
        Ok(true)
    }

    /// All of it stays.
    pub fn commit(&mut self) -> (Pid, OwnedFd, StateDir) {
        match (self.init.take(), self.dir.take()) {
            (Some((pid, pidfd)), Some(dir)) => (pid, pidfd, dir),
            _ => unreachable!("both have been set"),
        }
    }

    /// `poststop` is owed where other hooks have begun: runtime.md, "Lifecycle".
    pub fn rollback(&mut self, poststop: &[Hook], log: &Log) {
        let record = self.dir.as_ref().and_then(|dir| Record::load(dir).ok().flatten());
        // While there is a namespace for them to come out of.
        if let Some(mut devices) = self.devices.take() {
            devices.move_back(log);
        }
        if let Some((pid, pidfd)) = self.init.take() {
            child::kill(pid, &pidfd);
        }
        if let Err(error) = teardown::remove(&self.cgroup, true, || self.resctrl.remove(), self.dir.take()) {
            log.warn(&format!("clear up after the error that follows: {}", error.chain()));
        }
        if let Some(record) = record.filter(|record| record.hooks_begun) {
            hooks::run_poststop(poststop, &record, log);
        }
    }
}

/// A cgroup that the container may write to, in namespaces of its own, is its root's:
/// or a systemd inside could make none below. On cgroup v1 delegation is not safe.
fn delegate(plan: &Plan, cgroup: &Cgroup) -> Result<()> {
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
