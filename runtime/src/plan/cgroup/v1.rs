//! Files of cgroup v1 (the kernel's cgroup-v1/*.rst).

use super::setting::{Missing, Setting, cpuset, hugetlb, rdma, set, shares, tasks};
use crate::bail;
use crate::error::Result;
use crate::spec::resources::{BlockIo, Cpu, HugepageLimit, Memory, Network, Resources, ThrottleDevice};

/// The settings in order. Errors: `unified`, which is for cgroup v2.
pub fn settings(resources: &Resources) -> Result<Vec<Setting>> {
    if !resources.unified.is_empty() {
        bail!("invalid configuration: linux.resources.unified needs cgroup v2, and this host has v1");
    }
    let mut list = Vec::new();
    if let Some(limits) = &resources.memory {
        memory(limits, &mut list);
    }
    if let Some(limits) = &resources.cpu {
        cpu(limits, &mut list);
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        set(&mut list, "pids", "pids.max", tasks(limit));
    }
    if let Some(limits) = &resources.block_io {
        io(limits, &mut list);
    }
    for HugepageLimit { page_size, limit } in &resources.hugepage_limits {
        hugetlb(&mut list, page_size, "limit_in_bytes", *limit)?;
    }
    if let Some(Network { class_id, priorities }) = &resources.network {
        if let Some(class) = class_id {
            set(&mut list, "net_cls", "net_cls.classid", class);
        }
        for interface in priorities {
            if interface.name.is_empty() {
                bail!("linux.resources.network.priorities has an interface without a name");
            }
            set(&mut list, "net_prio", "net_prio.ifpriomap", format!("{} {}", interface.name, interface.priority));
        }
    }
    rdma(resources, &mut list)?;
    Ok(list)
}

fn memory(memory: &Memory, list: &mut Vec<Setting>) {
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
    // Zero means "not set", as engines write it. The kernel requires memory <= memory+swap at
    // every step; a new cgroup has no limits, so memory is written first.
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

fn cpu(cpu: &Cpu, list: &mut Vec<Setting>) {
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

/// Linux 5.0 removed CFQ; BFQ has weights.
fn weighted(list: &mut Vec<Setting>, file: &str, bfq: &'static str, value: String) {
    let missing = Missing::Instead(bfq, value.clone());
    list.push(Setting { controller: "blkio", file: file.into(), value, missing });
}

fn io(io: &BlockIo, list: &mut Vec<Setting>) {
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
