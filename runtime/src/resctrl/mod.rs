//! Groups of resctrl, by which CPUs share caches and memory bandwidth
//! (Documentation/filesystems/resctrl.rst). A control group limits its tasks; a monitoring
//! group below it counts their usage.

pub mod schemata;
pub mod stats;

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::plan::resctrl::{DEFAULT, ResctrlPlan};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The resctrl groups of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// The mount point of resctrl.
    root: PathBuf,
    control: PathBuf,
    /// The control group was named by the container's id, and is removed with it.
    own: bool,
    monitoring: Option<PathBuf>,
}

impl Groups {
    /// Determines the groups for the plan; creates nothing. Errors: resctrl is not mounted; an
    /// existing group has other schemata; a named group without schemata does not exist.
    pub fn place(plan: &ResctrlPlan, id: &str) -> Result<Self> {
        let Some(root) = mount_point()? else {
            bail!(
                "linux.intelRdt needs a mounted resctrl file system, and this host has none: mount -t resctrl resctrl /sys/fs/resctrl"
            );
        };
        Self::place_in(root, plan, id)
    }

    fn place_in(root: PathBuf, plan: &ResctrlPlan, id: &str) -> Result<Self> {
        let control = match plan.clos.as_deref() {
            Some(DEFAULT) => root.clone(),
            name => root.join(name.unwrap_or(id)),
        };
        let exists = control.exists();
        if let (Some(name), false) = (&plan.clos, exists)
            && plan.schemata.is_empty()
        {
            bail!("linux.intelRdt: there is no group {name:?}, and without schemata it is not created");
        }
        if plan.clos.is_some() && exists {
            schemata::compare(&control, &plan.schemata)?;
        }
        let monitoring = plan.monitoring.then(|| control.join("mon_groups").join(id));
        Ok(Groups { root, own: plan.clos.is_none() && !exists, control, monitoring })
    }

    /// Creates missing groups. Those that this call created, and other containers may use later,
    /// are in `made`, for removal if the creation fails.
    pub fn make(&self, plan: &ResctrlPlan, made: &mut CreatedGroups) -> Result<()> {
        if make_group(&self.control).doing(|| self.what("make", &self.control))? {
            made.0.push(self.control.clone());
        }
        // The schemata of an existing group have been compared in `place`.
        if !plan.schemata.is_empty() && (plan.clos.is_none() || !made.0.is_empty()) {
            self.write_schemata(&plan.schemata)?;
        }
        if let Some(group) = &self.monitoring
            && make_group(group).doing(|| self.what("make", group))?
        {
            made.0.push(group.clone());
        }
        Ok(())
    }

    /// Writes lines of schemata to the control group.
    pub fn write_schemata(&self, lines: &[String]) -> Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let file = self.control.join("schemata");
        std::fs::write(&file, &text).doing(|| self.what(&format!("write {text:?} to"), &file))
    }

    /// Adds a process to the groups; its children are born in them.
    pub fn add(&self, pid: Pid) -> Result<()> {
        for group in [Some(&self.control), self.monitoring.as_ref()].into_iter().flatten() {
            let file = group.join("tasks");
            std::fs::write(&file, pid.as_raw_nonzero().to_string())
                .doing(|| self.what(&format!("write {} to", pid.as_raw_nonzero()), &file))?;
        }
        Ok(())
    }

    /// Removes the groups. A control group is removed with its monitoring groups.
    pub fn remove(&self) -> Result<()> {
        self.monitoring.iter().chain(self.own.then_some(&self.control)).try_for_each(|group| remove_group(group))
    }

    /// The operation, with the kernel's info/last_cmd_status.
    fn what(&self, verb: &str, path: &Path) -> String {
        let status = std::fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
        match status.trim() {
            "" | "ok" => format!("{verb} {}", path.display()),
            status => format!("{verb} {} ({status})", path.display()),
        }
    }
}

/// The groups that this creation made.
#[derive(Debug, Default)]
pub struct CreatedGroups(Vec<PathBuf>);

impl CreatedGroups {
    /// Removes them.
    pub fn remove(&self) -> Result<()> {
        self.0.iter().rev().try_for_each(|group| remove_group(group))
    }
}

fn make_group(path: &Path) -> std::io::Result<bool> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_group(path: &Path) -> Result<()> {
    match rustix::fs::unlinkat(rustix::fs::CWD, path, rustix::fs::AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).doing(|| format!("remove {}", path.display())),
    }
}

/// /sys/fs/resctrl, or the mount point in mountinfo.
fn mount_point() -> Result<Option<PathBuf>> {
    const USUAL: &str = "/sys/fs/resctrl";
    const MAGIC: i64 = 0x0765_5821;
    match rustix::fs::statfs(USUAL) {
        // ENOENT: the kernel has no resctrl; otherwise it creates the directory.
        Err(Errno::NOENT) => return Ok(None),
        Ok(stat) if stat.f_type == MAGIC => return Ok(Some(USUAL.into())),
        _ => {}
    }
    let text = std::fs::read_to_string("/proc/self/mountinfo").doing(|| "read /proc/self/mountinfo")?;
    // … mount point (5th field) … - type source options, proc_pid_mountinfo(5).
    let found = text.lines().find(|line| line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("resctrl ")));
    let path = found.map(|line| line.split(' ').nth(4).ok_or_else(|| Error::new("mountinfo has a short line")));
    Ok(path.transpose()?.map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the files of resctrl that are used here.
    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("firn-resctrl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("info")).unwrap();
        std::fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
        std::fs::write(root.join("schemata"), "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n").unwrap();
        root
    }

    fn plan(clos: Option<&str>, schemata: &[&str]) -> ResctrlPlan {
        let schemata = schemata.iter().map(|line| (*line).to_owned()).collect();
        ResctrlPlan { clos: clos.map(str::to_owned), schemata, monitoring: false }
    }

    #[test]
    fn a_group_of_its_own_is_made_and_removed() {
        let root = root("own");
        let plan = plan(None, &["L3:0=f"]);
        let groups = Groups::place_in(root.clone(), &plan, "web").unwrap();
        assert!(!root.join("web").exists());
        groups.make(&plan, &mut CreatedGroups::default()).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("web/schemata")).unwrap(), "L3:0=f\n");
        groups.add(Pid::from_raw(7).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("web/tasks")).unwrap(), "7");
        // In resctrl these files are removed with their group.
        for file in ["schemata", "tasks"] {
            std::fs::remove_file(root.join("web").join(file)).unwrap();
        }
        groups.remove().unwrap();
        assert!(!root.join("web").exists());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_group_that_has_a_name_stays() {
        let root = root("named");
        let shared = plan(Some("gold"), &["L3:0=f"]);
        let groups = Groups::place_in(root.clone(), &shared, "web").unwrap();
        let mut made = CreatedGroups::default();
        groups.make(&shared, &mut made).unwrap();
        groups.remove().unwrap();
        assert!(root.join("gold").exists());
        // The same schemata are accepted, others refused.
        Groups::place_in(root.clone(), &shared, "web").unwrap();
        let other = Groups::place_in(root.clone(), &plan(Some("gold"), &["L3:0=ff"]), "web").unwrap_err();
        assert!(other.chain().contains("L3:0=ff"), "{}", other.chain());
        std::fs::remove_file(root.join("gold/schemata")).unwrap();
        made.remove().unwrap();
        assert!(!root.join("gold").exists());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_group_without_schemata_must_be_there() {
        let root = root("absent");
        let error = Groups::place_in(root.clone(), &plan(Some("gold"), &[]), "web").unwrap_err();
        assert!(error.chain().contains("there is no group \"gold\""));
        let default = Groups::place_in(root.clone(), &plan(Some("/"), &[]), "web").unwrap();
        assert_eq!((default.control.as_path(), default.own), (root.as_path(), false));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_monitoring_group_ends_with_its_container() {
        let root = root("monitoring");
        std::fs::create_dir(root.join("mon_groups")).unwrap();
        let plan = ResctrlPlan { monitoring: true, ..plan(Some("/"), &[]) };
        let groups = Groups::place_in(root.clone(), &plan, "web").unwrap();
        groups.make(&plan, &mut CreatedGroups::default()).unwrap();
        assert!(root.join("mon_groups/web").exists());
        groups.remove().unwrap();
        assert!(!root.join("mon_groups/web").exists() && root.exists());
        std::fs::remove_dir_all(root).unwrap();
    }
}
