//! Files of cgroup v2 (the kernel's cgroup-v2.rst).

use super::setting::{Missing, Setting, cpuset, hugetlb, max_of, rdma, set, shares, tasks};
use crate::bail;
use crate::error::Result;
use crate::spec::resources::{BlockIo, Cpu, HugepageLimit, Memory, Resources, ThrottleDevice};

/// The settings in order, `unified` last. Errors: a resource that cgroup v2 does not have; a
/// malformed key of `unified`.
pub fn settings(resources: &Resources) -> Result<Vec<Setting>> {
    let mut list = Vec::new();
    if let Some(limits) = &resources.memory {
        memory(limits, &mut list)?;
    }
    if let Some(limits) = &resources.cpu {
        cpu(limits, &mut list)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        set(&mut list, "pids", "pids.max", tasks(limit));
    }
    if let Some(limits) = &resources.block_io {
        io(limits, &mut list);
    }
    for HugepageLimit { page_size, limit } in &resources.hugepage_limits {
        hugetlb(&mut list, page_size, "max", *limit)?;
    }
    rdma(resources, &mut list)?;
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

fn memory(memory: &Memory, list: &mut Vec<Setting>) -> Result<()> {
    if let Some(swap) = swap(memory.limit, memory.swap)? {
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

/// v1 limits memory + swap, v2 swap alone.
fn swap(limit: Option<i64>, swap: Option<i64>) -> Result<Option<String>> {
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

fn cpu(cpu: &Cpu, list: &mut Vec<Setting>) -> Result<()> {
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

fn io(io: &BlockIo, list: &mut Vec<Setting>) {
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        // io.bfq.weight, or the kernel's io.weight: 10 to 1000 converted to 1 to 10000, as by
        // runc.
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

/// From cpu.shares (2 to 262144, default 1024) to cpu.weight (1 to 10000, default 100), by a
/// quadratic function of the logarithm through these three points, as runc and crun since 2025.
pub fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144) as f64;
    let l = shares.log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent)).ceil().clamp(1.0, 10_000.0) as u64
}
