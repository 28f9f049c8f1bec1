//! Resources: from the numbers of config.json to the files of either cgroup
//! version. Order matters where the kernel checks one file against another.
//! Sources: config-linux.md "Control groups"; the kernel's cgroup-v1/*.rst and
//! cgroup-v2.rst.

use crate::bail;
use crate::cgroup::systemd::{Property, Unit};
use crate::error::Result;
use crate::spec::resources::{BlockIo, Cpu, DeviceRule, HugepageLimit, Memory, Network, Resources, ThrottleDevice};

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
    if pure_v2 { v2(resources) } else { v1(resources) }
}

/// `unit` is that of systemd's cgroup manager, if it is to make the cgroup.
pub fn plan(path: &str, id: &str, resources: &Resources, pure_v2: bool, unit: Option<Unit>) -> Result<CgroupPlan> {
    let path = if path.is_empty() { id } else { path };
    if path.contains('\0') || path.split('/').any(|part| part == "..") {
        bail!("linux.cgroupsPath {path:?} has a NUL byte or a \"..\"");
    }
    if path.chars().all(|c| c == '/') {
        bail!("linux.cgroupsPath {path:?} is the root of the hierarchy");
    }
    Ok(CgroupPlan {
        path: path.to_owned(),
        unit,
        properties: Vec::new(),
        settings: settings(resources, pure_v2)?,
        devices: devices(&resources.devices)?,
    })
}

fn v1(resources: &Resources) -> Result<Vec<Setting>> {
    if !resources.unified.is_empty() {
        bail!("invalid configuration: linux.resources.unified needs cgroup v2, and this host has v1");
    }
    let mut list = Vec::new();
    if let Some(memory) = &resources.memory {
        memory_v1(memory, &mut list);
    }
    if let Some(cpu) = &resources.cpu {
        cpu_v1(cpu, &mut list);
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        set(&mut list, "pids", "pids.max", tasks(limit));
    }
    if let Some(io) = &resources.block_io {
        io_v1(io, &mut list);
    }
    for HugepageLimit { page_size, limit } in &resources.hugepage_limits {
        hugetlb(&mut list, page_size, "limit_in_bytes", *limit);
    }
    if let Some(Network { class_id, priorities }) = &resources.network {
        if let Some(class) = class_id {
            set(&mut list, "net_cls", "net_cls.classid", class);
        }
        for interface in priorities {
            set(&mut list, "net_prio", "net_prio.ifpriomap", format!("{} {}", interface.name, interface.priority));
        }
    }
    rdma(resources, &mut list);
    Ok(list)
}

/// What is used, and what is reserved, which kernels before 5.7 don't count.
fn hugetlb(list: &mut Vec<Setting>, page_size: &str, end: &str, limit: u64) {
    set(list, "hugetlb", format!("hugetlb.{page_size}.{end}"), limit);
    let (file, value) = (format!("hugetlb.{page_size}.rsvd.{end}"), limit.to_string());
    list.push(Setting { controller: "hugetlb", file, value, missing: Missing::PassOver });
}

fn memory_v1(memory: &Memory, list: &mut Vec<Setting>) {
    let limit = |list: &mut Vec<Setting>| {
        if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
            set(list, "memory", "memory.limit_in_bytes", limit);
        }
    };
    let swap = |list: &mut Vec<Setting>| {
        if let Some(swap) = memory.swap.filter(|swap| *swap != 0) {
            set(list, "memory", "memory.memsw.limit_in_bytes", swap);
        }
    };
    // Zero means "not set", as engines write it.
    // The kernel keeps memory ≤ memory+swap at every step; a new cgroup has
    // both unlimited, so memory comes first.
    limit(list);
    swap(list);
    if let Some(reservation) = memory.reservation.filter(|low| *low != 0) {
        set(list, "memory", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(swappiness) = memory.swappiness {
        set(list, "memory", "memory.swappiness", swappiness);
    }
    if memory.disable_oom_killer == Some(true) {
        set(list, "memory", "memory.oom_control", 1);
    }
}

/// Those of an idle cgroup are fixed, and the kernel refuses others.
fn shares(cpu: &Cpu) -> Option<u64> {
    cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1))
}

fn cpu_v1(cpu: &Cpu, list: &mut Vec<Setting>) {
    if let Some(shares) = shares(cpu) {
        set(list, "cpu", "cpu.shares", shares);
    }
    if let Some(period) = cpu.period.filter(|period| *period != 0) {
        set(list, "cpu", "cpu.cfs_period_us", period);
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        set(list, "cpu", "cpu.cfs_quota_us", quota);
    }
    if let Some(burst) = cpu.burst {
        set(list, "cpu", "cpu.cfs_burst_us", burst);
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        set(list, "cpu", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        set(list, "cpu", "cpu.rt_runtime_us", runtime);
    }
    if let Some(idle) = cpu.idle {
        set(list, "cpu", "cpu.idle", idle);
    }
    cpuset(cpu, list);
}

fn cpuset(cpu: &Cpu, list: &mut Vec<Setting>) {
    if !cpu.cpus.is_empty() {
        set(list, "cpuset", "cpuset.cpus", &cpu.cpus);
    }
    if !cpu.mems.is_empty() {
        set(list, "cpuset", "cpuset.mems", &cpu.mems);
    }
}

/// Since Linux 5.0, which has no CFQ, weights are those of BFQ.
fn weighted(list: &mut Vec<Setting>, file: &str, bfq: &'static str, value: String) {
    let missing = Missing::Instead(bfq, value.clone());
    list.push(Setting { controller: "blkio", file: file.into(), value, missing });
}

fn io_v1(io: &BlockIo, list: &mut Vec<Setting>) {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        weighted(list, "blkio.weight", "blkio.bfq.weight", weight.to_string());
    }
    if let Some(weight) = io.leaf_weight.filter(|weight| *weight != 0) {
        set(list, "blkio", "blkio.leaf_weight", weight);
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            weighted(list, "blkio.weight_device", "blkio.bfq.weight_device", value);
        }
        if let Some(weight) = device.leaf_weight {
            set(list, "blkio", "blkio.leaf_weight_device", format!("{}:{} {weight}", device.major, device.minor));
        }
    }
    for (file, devices) in [
        ("read_bps", &io.throttle_read_bps_device),
        ("write_bps", &io.throttle_write_bps_device),
        ("read_iops", &io.throttle_read_iops_device),
        ("write_iops", &io.throttle_write_iops_device),
    ] {
        for ThrottleDevice { major, minor, rate } in devices {
            set(list, "blkio", format!("blkio.throttle.{file}_device"), format!("{major}:{minor} {rate}"));
        }
    }
}

fn v2(resources: &Resources) -> Result<Vec<Setting>> {
    let mut list = Vec::new();
    if let Some(memory) = &resources.memory {
        memory_v2(memory, &mut list)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_v2(cpu, &mut list)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        set(&mut list, "pids", "pids.max", tasks(limit));
    }
    if let Some(io) = &resources.block_io {
        io_v2(io, &mut list);
    }
    for HugepageLimit { page_size, limit } in &resources.hugepage_limits {
        hugetlb(&mut list, page_size, "max", *limit);
    }
    rdma(resources, &mut list);
    for (file, value) in &resources.unified {
        let controller = match file.split('.').next() {
            _ if file.contains('/') || file.contains('\0') => {
                bail!("linux.resources.unified: {file:?} is not a file name")
            }
            Some("memory") => "memory",
            Some("cpu") => "cpu",
            Some("cpuset") => "cpuset",
            Some("pids") => "pids",
            Some("io") => "io",
            Some("hugetlb") => "hugetlb",
            Some("rdma") => "rdma",
            Some("misc") => "misc",
            Some("cgroup") => "",
            Some(name) if name != file => {
                bail!("linux.resources.unified: {file:?}: the requested cgroup controller `{name}` is not available")
            }
            _ => bail!("linux.resources.unified: the specified key has not the form CONTROLLER.VALUE `{file}`"),
        };
        for line in value.lines() {
            set(&mut list, controller, file, line);
        }
    }
    Ok(list)
}

fn memory_v2(memory: &Memory, list: &mut Vec<Setting>) -> Result<()> {
    if let Some(swap) = swap_v2(memory.limit, memory.swap)? {
        set(list, "memory", "memory.swap.max", swap);
    }
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        set(list, "memory", "memory.max", max_of(limit));
    }
    if let Some(low) = memory.reservation.filter(|low| *low != 0) {
        set(list, "memory", "memory.low", max_of(low));
    }
    Ok(())
}

/// v1 counts memory and swap together, v2 swap alone.
fn swap_v2(limit: Option<i64>, swap: Option<i64>) -> Result<Option<String>> {
    let limit = limit.filter(|limit| *limit != 0);
    match (limit, swap.filter(|swap| *swap != 0)) {
        (Some(-1), None) => Ok(Some("max".into())),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some("max".into())),
        (None, Some(_)) => bail!("linux.resources.memory.swap needs memory.limit"),
        (Some(limit), Some(swap)) if swap < limit => {
            bail!("linux.resources.memory.swap {swap} is less than memory.limit {limit}")
        }
        (Some(limit), Some(swap)) => Ok(Some((swap - limit).to_string())),
    }
}

fn cpu_v2(cpu: &Cpu, list: &mut Vec<Setting>) -> Result<()> {
    if cpu.realtime_period.is_some_and(|n| n != 0) || cpu.realtime_runtime.is_some_and(|n| n != 0) {
        bail!("linux.resources.cpu: real-time limits do not exist on cgroup v2");
    }
    if let Some(idle) = cpu.idle {
        set(list, "cpu", "cpu.idle", idle);
    }
    if let Some(shares) = shares(cpu) {
        set(list, "cpu", "cpu.weight", weight_of_shares(shares));
    }
    let (quota, period) = (cpu.quota.filter(|q| *q != 0), cpu.period.filter(|p| *p != 0));
    match (quota, period) {
        (None, None) => {}
        (None, Some(period)) => set(list, "cpu", "cpu.max", format!("max {period}")),
        (Some(quota), period) => {
            let quota = if quota > 0 { quota.to_string() } else { "max".into() };
            let period = period.map(|period| format!(" {period}")).unwrap_or_default();
            set(list, "cpu", "cpu.max", quota + &period);
        }
    }
    if let Some(burst) = cpu.burst {
        set(list, "cpu", "cpu.max.burst", burst);
    }
    cpuset(cpu, list);
    Ok(())
}

fn io_v2(io: &BlockIo, list: &mut Vec<Setting>) {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        // The scheduler that has weights of its own, or the kernel's: 10 to 1000
        // against 1 to 10000, as runc converts them.
        let of_kernel = 1 + u64::from(weight).saturating_sub(10) * 9999 / 990;
        let missing = Missing::Instead("io.weight", of_kernel.to_string());
        let (file, value) = ("io.bfq.weight".to_owned(), weight.to_string());
        list.push(Setting { controller: "io", file, value, missing });
    }
    for device in &io.weight_device {
        if let Some(weight) = device.weight {
            set(list, "io", "io.bfq.weight", format!("{}:{} {weight}", device.major, device.minor));
        }
    }
    for (key, devices) in [
        ("rbps", &io.throttle_read_bps_device),
        ("wbps", &io.throttle_write_bps_device),
        ("riops", &io.throttle_read_iops_device),
        ("wiops", &io.throttle_write_iops_device),
    ] {
        for ThrottleDevice { major, minor, rate } in devices {
            let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
            set(list, "io", "io.max", format!("{major}:{minor} {key}={rate}"));
        }
    }
}

fn rdma(resources: &Resources, list: &mut Vec<Setting>) {
    for (device, limits) in &resources.rdma {
        let part = |name: &str, value: Option<u32>| value.map(|n| format!(" {name}={n}")).unwrap_or_default();
        let value = device.clone() + &part("hca_handle", limits.hca_handles) + &part("hca_object", limits.hca_objects);
        set(list, "rdma", "rdma.max", value);
    }
}

fn max_of(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".into() }
}

/// None is a limit of its own. systemd knows no less than one task, and the
/// kernel's pids.max of 0 comes to the same: what is in the cgroup stays there.
fn tasks(limit: i64) -> String {
    if limit == 0 { "1".into() } else { max_of(limit) }
}

/// From 2…262144 with 1024 as the default to 1…10000 with 100 as the default,
/// through all three points, as runc and crun convert since 2025: a quadratic
/// in the logarithm.
pub fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144) as f64;
    let l = shares.log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent)).ceil().clamp(1.0, 10_000.0) as u64
}

/// A checked device rule. None stands for any number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    /// 'a' for every device, else 'c' or 'b'.
    pub kind: char,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

impl Rule {
    const fn allow(kind: char, major: Option<u32>, minor: Option<u32>) -> Self {
        Rule { allow: true, kind, major, minor, read: true, write: true, mknod: true }
    }

    /// As the devices controller of cgroup v1 takes it.
    pub fn text(&self) -> String {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let mut text = format!("{} {}:{} ", self.kind, number(self.major), number(self.minor));
        for (on, letter) in [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')] {
            if on {
                text.push(letter);
            }
        }
        text
    }
}

/// What a container may always use: making nodes, which gives no access, and
/// the default devices with its pseudo-terminals.
fn default_rules() -> impl Iterator<Item = Rule> {
    let mknod = |kind| Rule { read: false, write: false, ..Rule::allow(kind, None, None) };
    let node = |major, minor| Rule::allow('c', Some(major), minor);
    [
        mknod('c'),
        mknod('b'),
        node(1, Some(3)),
        node(1, Some(5)),
        node(1, Some(7)),
        node(1, Some(8)),
        node(1, Some(9)),
        node(5, Some(0)),
        node(5, Some(2)),
        node(136, None),
        // /dev/net/tun, as under runc: VPNs in containers rely on it. To use it takes
        // CAP_NET_ADMIN in the network namespace.
        node(10, Some(200)),
    ]
    .into_iter()
}

fn devices(rules: &[DeviceRule]) -> Result<Vec<Rule>> {
    // A new cgroup of v1 has the rights of the one above: it begins with none.
    let none = Rule { allow: false, ..Rule::allow('a', None, None) };
    let mut checked = vec![none];
    for rule in rules {
        let kind = match rule.kind.as_str() {
            "" | "a" => 'a',
            "c" | "u" => 'c',
            "b" => 'b',
            other => bail!("linux.resources.devices: type {other:?} is not one of a, c, b"),
        };
        let number = |n: Option<i64>| match n {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n).map(Some),
        };
        let (Ok(major), Ok(minor)) = (number(rule.major), number(rule.minor)) else {
            bail!("linux.resources.devices: a number is out of range in {rule:?}");
        };
        // An "a" says nothing, as under runc.
        if !rule.access.chars().all(|c| "rwma".contains(c)) {
            bail!("linux.resources.devices: access {:?} has letters other than r, w and m", rule.access);
        }
        let has = |letter| rule.access.is_empty() || rule.access.contains(letter);
        checked.push(Rule { allow: rule.allow, kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') });
    }
    checked.extend(default_rules());
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> Resources {
        serde_json::from_str(json).unwrap()
    }

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn memory_and_swap_are_counted_apart_on_v2() {
        let r = resources(r#"{"memory":{"limit":1000,"swap":3000,"reservation":500}}"#);
        assert_eq!(lines(&v2(&r).unwrap()), ["memory.swap.max=2000", "memory.max=1000", "memory.low=500"]);
        assert_eq!(lines(&v1(&r).unwrap())[..2], ["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=3000"]);
        assert!(v2(&resources(r#"{"memory":{"limit":1000,"swap":3}}"#)).is_err());
    }

    #[test]
    fn shares_keep_their_minimum_default_and_maximum() {
        assert_eq!(weight_of_shares(2), 1);
        assert_eq!(weight_of_shares(1024), 100);
        assert_eq!(weight_of_shares(262_144), 10_000);
    }

    #[test]
    fn cpu_quota_and_period_share_a_file_on_v2() {
        let of = |json| lines(&v2(&resources(json)).unwrap());
        assert_eq!(of(r#"{"cpu":{"quota":5000}}"#), ["cpu.max=5000"]);
        assert_eq!(of(r#"{"cpu":{"quota":-1,"period":100}}"#), ["cpu.max=max 100"]);
        assert_eq!(of(r#"{"cpu":{"period":100,"cpus":"0-1"}}"#), ["cpu.max=max 100", "cpuset.cpus=0-1"]);
    }

    #[test]
    fn device_rules_keep_their_order_and_end_in_the_defaults() {
        let r = resources(
            r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}"#,
        );
        let rules = devices(&r.devices).unwrap();
        assert_eq!((rules[0].allow, rules[0].text()), (false, "a *:* rwm".to_owned()));
        assert_eq!(rules[2].text(), "c 10:229 rw");
        assert_eq!(rules.last().unwrap().text(), "c 10:200 rwm");
        assert!(devices(&[DeviceRule { access: "x".into(), ..DeviceRule::default() }]).is_err());
    }

    #[test]
    fn a_cgroup_path_can_not_lead_out() {
        assert!(plan("/a/../../b", "c", &Resources::default(), true, None).is_err());
        assert!(plan("/", "c", &Resources::default(), true, None).is_err());
        assert_eq!(plan("", "c", &Resources::default(), true, None).unwrap().path, "c");
    }
}
