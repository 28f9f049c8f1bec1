//! A write to a file of a cgroup, and settings of both versions.

use crate::bail;
use crate::error::Result;
use crate::spec::resources::{Cpu, Resources};

/// A write of `value` to `file` of the cgroup in the hierarchy of `controller`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub controller: &'static str,
    pub file: String,
    pub value: String,
    pub missing: Missing,
}

/// What to do if the file does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    Refuse,
    PassOver,
    /// Write to another file.
    Instead(&'static str, String),
}

/// Adds a write that must succeed.
pub fn set(list: &mut Vec<Setting>, controller: &'static str, file: impl Into<String>, value: impl ToString) {
    list.push(Setting { controller, file: file.into(), value: value.to_string(), missing: Missing::Refuse });
}

/// A limit as text; negative: `max`.
pub fn max_of(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".into() }
}

/// The limits of usage and of reservation (`rsvd`, since Linux 5.7). Errors: a malformed pageSize.
pub fn hugetlb(list: &mut Vec<Setting>, page_size: &str, end: &str, limit: u64) -> Result<()> {
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

/// cpu.shares; None for an idle cgroup, of which the kernel refuses to change them.
pub fn shares(cpu: &Cpu) -> Option<u64> {
    cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1))
}

/// cpuset.cpus and cpuset.mems.
pub fn cpuset(cpu: &Cpu, list: &mut Vec<Setting>) {
    if !cpu.cpus.is_empty() {
        set(list, "cpuset", "cpuset.cpus", &cpu.cpus);
    }
    if !cpu.mems.is_empty() {
        set(list, "cpuset", "cpuset.mems", &cpu.mems);
    }
}

/// rdma.max, a line for each device.
pub fn rdma(resources: &Resources, list: &mut Vec<Setting>) -> Result<()> {
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

/// pids.max. 0 is a limit: written as 1, the least that systemd takes; the kernel treats both
/// alike, because the processes in the cgroup stay.
pub fn tasks(limit: i64) -> String {
    if limit == 0 { "1".into() } else { max_of(limit) }
}
