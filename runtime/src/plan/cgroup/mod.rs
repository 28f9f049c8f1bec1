//! Resources: from the numbers of config.json to the files of either cgroup
//! version. Order matters where the kernel checks one file against another.
//! Sources: config-linux.md "Control groups"; the kernel's cgroup-v1/*.rst and
//! cgroup-v2.rst.

pub mod devices;
pub mod v1;
pub mod v2;

use crate::bail;
use crate::cgroup::systemd::{Property, Unit};
use crate::error::Result;
use crate::spec::resources::{Cpu, Resources};
use devices::Rule;

/// One write: `file` of the cgroup of `controller`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub controller: &'static str,
    pub file: String,
    pub value: String,
    pub missing: Missing,
}

/// What to do where the kernel has no such file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    Refuse,
    PassOver,
    /// Write another file.
    Instead(&'static str, String),
}

fn set(list: &mut Vec<Setting>, controller: &'static str, file: impl Into<String>, value: impl ToString) {
    list.push(Setting { controller, file: file.into(), value: value.to_string(), missing: Missing::Refuse });
}

/// Where the container's cgroup lies, and what is written into it.
#[derive(Debug, Clone)]
pub struct CgroupPlan {
    /// `linux.cgroupsPath` or the container's id: absolute from the mount
    /// point of the hierarchy, relative from the runtime's own cgroup.
    pub path: String,
    /// The config or systemd's cgroup manager says where it is: then the container runs
    /// in it or not at all.
    pub is_named: bool,
    /// With systemd's cgroup manager.
    pub unit: Option<Unit>,
    /// Of the unit, beside those of the settings.
    pub properties: Vec<Property>,
    /// For the version that the host's controllers have.
    pub settings: Vec<Setting>,
    pub devices: Vec<Rule>,
}

/// The writes that make up `resources`, on cgroup v2 alone or with controllers of v1.
pub fn settings(resources: &Resources, pure_v2: bool) -> Result<Vec<Setting>> {
    if pure_v2 { v2::settings(resources) } else { v1::settings(resources) }
}

/// `unit` is that of systemd's cgroup manager, if it is to make the cgroup.
pub fn plan(path: &str, id: &str, resources: &Resources, pure_v2: bool, unit: Option<Unit>) -> Result<CgroupPlan> {
    let is_named = !path.is_empty() || unit.is_some();
    let path = if path.is_empty() { id } else { path };
    if path.contains('\0') || path.split('/').any(|part| part == "..") {
        bail!("linux.cgroupsPath {path:?} has a NUL byte or a \"..\"");
    }
    if path.chars().all(|c| c == '/') {
        bail!("linux.cgroupsPath {path:?} is the root of the hierarchy");
    }
    Ok(CgroupPlan {
        path: path.to_owned(),
        is_named,
        unit,
        properties: Vec::new(),
        settings: settings(resources, pure_v2)?,
        devices: devices::rules(&resources.devices)?,
    })
}

/// What is used, and what is reserved, which kernels before 5.7 don't count.
fn hugetlb(list: &mut Vec<Setting>, page_size: &str, end: &str, limit: u64) -> Result<()> {
    // config-linux.md, "Huge page limits": the schema's pattern is ^[1-9][0-9]*[KMG]B$.
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| page_size.strip_suffix(unit)).unwrap_or_default();
    let is_number = !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        bail!("linux.resources.hugepageLimits: pageSize {page_size:?} is not a size as in \"2MB\"");
    }
    set(list, "hugetlb", format!("hugetlb.{page_size}.{end}"), limit);
    let (file, value) = (format!("hugetlb.{page_size}.rsvd.{end}"), limit.to_string());
    list.push(Setting { controller: "hugetlb", file, value, missing: Missing::PassOver });
    Ok(())
}

/// Those of an idle cgroup are fixed, and the kernel refuses others.
fn shares(cpu: &Cpu) -> Option<u64> {
    cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1))
}

fn cpuset(cpu: &Cpu, list: &mut Vec<Setting>) {
    if !cpu.cpus.is_empty() {
        set(list, "cpuset", "cpuset.cpus", &cpu.cpus);
    }
    if !cpu.mems.is_empty() {
        set(list, "cpuset", "cpuset.mems", &cpu.mems);
    }
}

fn rdma(resources: &Resources, list: &mut Vec<Setting>) -> Result<()> {
    for (device, limits) in &resources.rdma {
        if device.is_empty() {
            bail!("linux.resources.rdma has a device without a name");
        }
        let part = |name: &str, value: Option<u32>| value.map(|n| format!(" {name}={n}")).unwrap_or_default();
        let value = device.clone() + &part("hca_handle", limits.hca_handles) + &part("hca_object", limits.hca_objects);
        set(list, "rdma", "rdma.max", value);
    }
    Ok(())
}

/// None is a limit of its own. systemd knows no less than one task, and the
/// kernel's pids.max of 0 comes to the same: what is in the cgroup stays there.
fn tasks(limit: i64) -> String {
    if limit == 0 { "1".into() } else { v2::max_of(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::resources::DeviceRule;

    fn resources(json: &str) -> Resources {
        serde_json::from_str(json).unwrap()
    }

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn memory_and_swap_are_counted_apart_on_v2() {
        let r = resources(r#"{"memory":{"limit":1000,"swap":3000,"reservation":500}}"#);
        assert_eq!(lines(&v2::settings(&r).unwrap()), ["memory.swap.max=2000", "memory.max=1000", "memory.low=500"]);
        assert_eq!(
            lines(&v1::settings(&r).unwrap())[..2],
            ["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=3000"]
        );
        assert!(v2::settings(&resources(r#"{"memory":{"limit":1000,"swap":3}}"#)).is_err());
    }

    #[test]
    fn shares_keep_their_minimum_default_and_maximum() {
        assert_eq!(v2::weight_of_shares(2), 1);
        assert_eq!(v2::weight_of_shares(1024), 100);
        assert_eq!(v2::weight_of_shares(262_144), 10_000);
    }

    #[test]
    fn cpu_quota_and_period_share_a_file_on_v2() {
        let of = |json| lines(&v2::settings(&resources(json)).unwrap());
        assert_eq!(of(r#"{"cpu":{"quota":5000}}"#), ["cpu.max=5000"]);
        assert_eq!(of(r#"{"cpu":{"quota":-1,"period":100}}"#), ["cpu.max=max 100"]);
        assert_eq!(of(r#"{"cpu":{"period":100,"cpus":"0-1"}}"#), ["cpu.max=max 100", "cpuset.cpus=0-1"]);
    }

    #[test]
    fn device_rules_keep_their_order_and_end_in_the_defaults() {
        let r = resources(
            r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}"#,
        );
        let rules = devices::rules(&r.devices).unwrap();
        assert_eq!((rules[0].allow, rules[0].text()), (false, "a *:* rwm".to_owned()));
        assert_eq!(rules[2].text(), "c 10:229 rw");
        assert_eq!(rules.last().unwrap().text(), "c 10:200 rwm");
        assert!(devices::rules(&[DeviceRule { access: "x".into(), ..DeviceRule::default() }]).is_err());
    }

    #[test]
    fn a_limit_of_huge_pages_names_their_size() {
        let settings = |size: &str| {
            let r = resources(&format!(r#"{{"hugepageLimits":[{{{size}"limit":1}}]}}"#));
            v2::settings(&r).and_then(|_| v1::settings(&r)).map(|list| list[0].file.clone())
        };
        assert_eq!(settings(r#""pageSize":"64KB","#).unwrap(), "hugetlb.64KB.limit_in_bytes");
        for wrong in ["", r#""pageSize":"","#, r#""pageSize":"02MB","#, r#""pageSize":"2mb","#, r#""pageSize":"/2MB","#]
        {
            assert!(settings(wrong).unwrap_err().chain().contains("pageSize"), "{wrong}");
        }
    }

    #[test]
    fn a_cgroup_path_can_not_lead_out() {
        assert!(plan("/a/../../b", "c", &Resources::default(), true, None).is_err());
        assert!(plan("/", "c", &Resources::default(), true, None).is_err());
        assert_eq!(plan("", "c", &Resources::default(), true, None).unwrap().path, "c");
    }
}
