//! What is written into one file of a cgroup, and what both versions have in common.

use crate::bail;
use crate::error::Result;
use crate::spec::resources::{Cpu, Resources};

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

/// Adds a write that has to succeed.
pub fn set(list: &mut Vec<Setting>, controller: &'static str, file: impl Into<String>, value: impl ToString) {
    list.push(Setting { controller, file: file.into(), value: value.to_string(), missing: Missing::Refuse });
}

pub fn max_of(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".into() }
}

/// What is used, and what is reserved, which kernels before 5.7 don't count.
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

/// Those of an idle cgroup are fixed, and the kernel refuses others.
pub fn shares(cpu: &Cpu) -> Option<u64> {
    cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1))
}

pub fn cpuset(cpu: &Cpu, list: &mut Vec<Setting>) {
    if !cpu.cpus.is_empty() {
        set(list, "cpuset", "cpuset.cpus", &cpu.cpus);
    }
    if !cpu.mems.is_empty() {
        set(list, "cpuset", "cpuset.mems", &cpu.mems);
    }
}

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

/// None is a limit of its own. systemd knows no less than one task, and the
/// kernel's pids.max of 0 comes to the same: what is in the cgroup stays there.
pub fn tasks(limit: i64) -> String {
    if limit == 0 { "1".into() } else { max_of(limit) }
}
