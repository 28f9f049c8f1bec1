//! Resources: from config.json to files of either cgroup version. The order is significant where
//! the kernel checks one file against another. Sources: runtime-spec, config-linux.md, "Control
//! groups"; the kernel's cgroup-v1/*.rst and cgroup-v2.rst.

pub mod devices;
pub mod property;
pub mod setting;
pub mod unit;
pub mod v1;
pub mod v2;

use crate::bail;
use crate::error::Result;
use crate::spec::resources::Resources;
use devices::Rule;
use property::Property;
use setting::Setting;
use unit::Unit;

/// The path of the container's cgroup, and what is written to its files.
#[derive(Debug, Clone)]
pub struct CgroupPlan {
    /// `linux.cgroupsPath` or the container's id: absolute, from the mount point of the
    /// hierarchy; or relative to the runtime's cgroup.
    pub path: String,
    /// The config or systemd's cgroup manager determines the path: failing to create it is then
    /// an error.
    pub is_named: bool,
    /// No cgroup is created; the container stays in the caller's.
    pub is_disabled: bool,
    /// With systemd as the cgroup manager.
    pub unit: Option<Unit>,
    /// Properties of the unit, in addition to those of the settings.
    pub properties: Vec<Property>,
    /// For the version that has the host's controllers.
    pub settings: Vec<Setting>,
    pub devices: Vec<Rule>,
}

/// The settings for `resources`. `pure_v2`: cgroup v2 only; otherwise the controllers are in v1.
pub fn settings(resources: &Resources, pure_v2: bool) -> Result<Vec<Setting>> {
    if pure_v2 { v2::settings(resources) } else { v1::settings(resources) }
}

/// `unit`: the unit, if systemd creates the cgroup. Errors: a path with `..`; the root cgroup; a
/// resource that the version does not have.
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
        is_disabled: false,
        unit,
        properties: Vec::new(),
        settings: settings(resources, pure_v2)?,
        devices: devices::rules(&resources.devices)?,
    })
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
