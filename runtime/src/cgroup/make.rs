//! Creates the container's cgroup and writes its limits.

use super::dir::{Dir, read, write};
use super::group::Cgroup;
use super::handle::{self, CgroupHandle};
use super::{devices, kill, settings, systemd, v1, v2};
use crate::compat;
use crate::error::{Context, Result};
use crate::host;
use crate::host::cgroup_layout::{self, Hierarchy, Layout};
use crate::plan::cgroup::CgroupPlan;
use crate::plan::cgroup::unit::Unit;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::Pid;
use std::path::{Path, PathBuf};

impl Cgroup {
    /// Determines the directories; creates nothing. Errors: systemd's user instance is asked
    /// for its cgroup.
    pub fn place(layout: &Layout, plan: &CgroupPlan) -> Result<Self> {
        let path = match &plan.unit {
            None => plan.path.clone(),
            Some(unit) if unit.of_user => systemd::user_manager_cgroup()? + "/" + &unit.path()?,
            Some(unit) => "/".to_owned() + &unit.path()?,
        };
        let dir = |h: &Hierarchy| Dir { hierarchy: h.name.clone(), path: place(h, &path, layout.pure_v2) };
        let dirs = layout.hierarchies.iter().map(dir).collect();
        Ok(Cgroup { pure_v2: layout.pure_v2, dirs, unit: plan.unit.clone() })
    }

    /// Has systemd start the unit with `pid` in it, which creates the cgroup. After an error
    /// nothing is removed: a unit of that name may belong to another container.
    pub fn start_unit(&self, plan: &CgroupPlan, unit: &Unit, id: &str, pid: Pid) -> Result<()> {
        let mut properties = systemd::properties::of_settings(&plan.settings);
        if !unit.of_user {
            properties.extend(systemd::properties::of_devices(&plan.devices));
        }
        properties.extend(plan.properties.iter().cloned());
        systemd::start(unit, pid.as_raw_nonzero().get(), &properties, &format!("firn container {id}"))
    }

    /// Creates the directories that systemd did not, writes the limits, and moves `pid`. On
    /// cgroup v1 systemd moves a process only in hierarchies of controllers that it manages.
    pub fn complete_unit(&mut self, plan: &CgroupPlan, pid: Pid) -> Result<()> {
        let pid = pid.as_raw_nonzero().get();
        self.make(plan, &mut Vec::new(), |_| Ok(()))?;
        for dir in self.dirs.iter().filter(|dir| !dir.is_v2()) {
            write(&dir.path, "cgroup.procs", &pid.to_string())
                .doing(|| format!("move process {pid} into cgroup {}", dir.path.display()))?;
        }
        Ok(())
    }

    /// Refuses a cgroup that has processes or is frozen: it belongs to others, who would be
    /// killed with the container, or the container would never start. Checked before the
    /// record is written, so that `delete` never takes it for the container's.
    pub fn refuse_foreign(&self) -> Result<()> {
        let asked: Vec<&Path> = match &self.unit {
            // systemd takes over existing cgroups, in all hierarchies.
            Some(_) => self.dirs.iter().map(|dir| dir.path.as_path()).collect(),
            // The others are checked when they are created.
            None => self.procs_dir().into_iter().chain(self.v2().map(|dir| dir.path.as_path())).collect(),
        };
        asked.into_iter().try_for_each(refuse_occupied)?;
        self.refuse_frozen()
    }

    fn refuse_frozen(&self) -> Result<()> {
        if self.is_frozen() {
            crate::bail!("container's cgroup unexpectedly frozen: a process in it would never run");
        }
        Ok(())
    }

    /// Creates the directories and writes the limits. Hierarchies that are not mounted are
    /// removed from `self`; each directory that was created is added to `made` at once.
    /// Errors: a cgroup with processes, or a frozen one; a limit that the kernel refuses.
    pub fn create(&mut self, plan: &CgroupPlan, made: &mut Vec<Dir>) -> Result<()> {
        self.make(plan, made, refuse_occupied)
    }

    fn make(&mut self, plan: &CgroupPlan, made: &mut Vec<Dir>, check: impl Fn(&Path) -> Result<()>) -> Result<()> {
        let mut present = Vec::with_capacity(self.dirs.len());
        let mut old = false;
        for dir in self.dirs.drain(..) {
            let found = make_dirs(&dir.path, &mount_point(&dir.path, self.pure_v2), plan.is_named)?;
            match found {
                Found::Unmounted => continue,
                Found::New => made.push(dir.clone()),
                Found::Existing => {
                    check(&dir.path)?;
                    old = true;
                }
            }
            match dir.is_v2() {
                true => v2::prepare(&dir, plan)?,
                false => v1::prepare(&dir, found == Found::New)?,
            }
            present.push(dir);
        }
        self.dirs = present;
        if self.dirs.is_empty() && (plan.is_named || !host::is_rootless()) {
            crate::bail!(
                "{}: no cgroup hierarchy is mounted in {}: mount one, or use --cgroup-manager disabled",
                compat::NO_CGROUP,
                cgroup_layout::MOUNT
            );
        }
        if old {
            self.refuse_frozen()?;
        }
        settings::apply(self, &plan.settings)?;
        devices::apply(self, &plan.devices)
    }

    /// Opens the descriptors by which a process enters the cgroup.
    pub fn open(&self) -> Result<CgroupHandle> {
        let v2 = match self.v2() {
            None => None,
            Some(dir) => Some(handle::open_dir(&dir.path)?),
        };
        let v1 = self.dirs.iter().filter(|dir| !dir.is_v2());
        Ok(CgroupHandle { v2, tasks: v1.map(v1::open_tasks).collect::<Result<_>>()? })
    }
}

fn place(hierarchy: &Hierarchy, path: &str, pure_v2: bool) -> PathBuf {
    let below = |text: &str| text.trim_matches('/').to_owned();
    if path.starts_with('/') {
        return hierarchy.mount.join(below(path));
    }
    // "No internal processes" (cgroups(7)): the caller's cgroup can't have child cgroups
    // with controllers, so the new one is created as its sibling, as by runc.
    let own = Path::new(&hierarchy.own);
    let base = if pure_v2 { own.parent().unwrap_or(own) } else { own };
    hierarchy.mount.join(below(&base.to_string_lossy())).join(below(path))
}

/// Whether a directory existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The hierarchy is not mounted, or an unprivileged user may create nothing in it.
    Unmounted,
    /// It did not exist and was created.
    New,
    Existing,
}

fn refuse_occupied(path: &Path) -> Result<()> {
    // Including child cgroups: a container whose systemd has made units is empty at its
    // top.
    let count = |dir: &PathBuf| read(dir, "cgroup.procs").unwrap_or_default().lines().count();
    let processes: usize = kill::tree(path).iter().map(count).sum();
    if processes > 0 {
        crate::bail!("container's cgroup is not empty: {processes} process(es) found in {}", path.display());
    }
    Ok(())
}

/// The mount point of the hierarchy of `path`.
fn mount_point(path: &Path, pure_v2: bool) -> PathBuf {
    let top = Path::new(cgroup_layout::MOUNT);
    let hierarchy = path.strip_prefix(top).ok().and_then(|below| below.components().next());
    hierarchy.filter(|_| !pure_v2).map_or_else(|| top.to_owned(), |name| top.join(name))
}

/// Creates `path` and missing parents below the mount point `top`.
fn make_dirs(path: &Path, top: &Path, is_named: bool) -> Result<Found> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(Found::New),
        Err(Errno::EXIST) => Ok(Found::Existing),
        Err(Errno::NOENT) => match path.parent() {
            Some(above) if above != top && make_dirs(above, top, is_named)? != Found::Unmounted => {
                make_dirs(path, top, is_named)
            }
            _ => Ok(Found::Unmounted),
        },
        // An unprivileged user without a delegated cgroup: the container stays in the
        // caller's, unless the config names its cgroup or sets a limit, as under runc.
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if !is_named && host::is_rootless() => Ok(Found::Unmounted),
        Err(errno) => Err(errno).doing(|| format!("{}: create {}", compat::NO_CGROUP, path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_at_a_mount_point_or_above() {
        assert_eq!(mount_point(Path::new("/sys/fs/cgroup/pids/a/b"), false), Path::new("/sys/fs/cgroup/pids"));
        assert_eq!(mount_point(Path::new("/sys/fs/cgroup/a/b"), true), Path::new("/sys/fs/cgroup"));
    }

    fn hierarchy(name: &str, own: &str) -> Hierarchy {
        Hierarchy { name: name.into(), mount: "/cg".into(), own: own.into() }
    }

    #[test]
    fn absolute_paths_start_at_the_mount_and_relative_ones_at_the_caller() {
        assert_eq!(place(&hierarchy("cpu", "/a/b"), "/x/y/", false), Path::new("/cg/x/y"));
        assert_eq!(place(&hierarchy("cpu", "/a/b"), "x", false), Path::new("/cg/a/b/x"));
        assert_eq!(place(&hierarchy("", "/a/b"), "x", true), Path::new("/cg/a/x"));
        assert_eq!(place(&hierarchy("", "/"), "x", true), Path::new("/cg/x"));
    }

    /// Checked in every hierarchy before systemd starts its unit: it would take over an
    /// existing cgroup, and remove it when the unit stops.
    #[test]
    fn what_is_in_a_units_place_is_refused_before_the_unit_is_made() {
        let top = std::env::temp_dir().join(format!("firn-unit-{}", std::process::id()));
        let names = ["pids", "memory", "freezer"];
        let dirs = names.map(|name| Dir { hierarchy: name.into(), path: top.join(name) }).to_vec();
        let unit = Unit::new("", "c", false).unwrap();
        let cgroup = Cgroup { pure_v2: false, dirs, unit: Some(unit) };
        let refused = |file: &str, text: &str| {
            for dir in &cgroup.dirs {
                std::fs::create_dir_all(&dir.path).unwrap();
            }
            std::fs::write(top.join(file), text).unwrap();
            let result = cgroup.refuse_foreign().map_err(|error| error.chain());
            std::fs::remove_dir_all(&top).unwrap();
            result.err().unwrap_or_default()
        };
        assert_eq!(refused("memory/cgroup.procs", ""), "");
        assert!(refused("memory/cgroup.procs", "5\n7\n").contains("container's cgroup is not empty: 2 process(es)"));
        assert!(refused("freezer/freezer.self_freezing", "1\n").contains("unexpectedly frozen"));
        assert_eq!(refused("freezer/freezer.self_freezing", "0\n"), "");
    }
}
