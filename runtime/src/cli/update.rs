//! `firn update`: changes limits of an existing container.

use super::context::Context;
use crate::bail;
use crate::error::{Context as _, Error, Result};
use crate::lifecycle::update::{Changes, update};
use crate::spec::resources::Resources;
use crate::spec::{self, keys};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is not named stays as it is; -1 takes a limit away.\n\nExamples:\n  firn update --memory 256m --pids-limit 100 web\n  echo '{\"cpu\": {\"quota\": 50000}}' | firn update --resources - web"
)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    /// File with linux.resources as in config.json; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Block I/O weight, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// CPU quota period, in microseconds
    #[arg(long, value_name = "US")]
    cpu_period: Option<u64>,
    /// CPU quota per period, in microseconds
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// CPU time that may be accumulated beyond the quota, in microseconds
    #[arg(long, value_name = "US")]
    cpu_burst: Option<u64>,
    /// CPU shares, relative to other containers
    #[arg(long, alias = "cpu-shares", value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Real-time CPU period (cgroup v1)
    #[arg(long, value_name = "US")]
    cpu_rt_period: Option<u64>,
    /// Real-time CPU runtime (cgroup v1)
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// 1: SCHED_IDLE for the cgroup, run only when nothing else does
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,
    /// CPUs, such as 0-3,8
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes, such as 0-1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory limit, in bytes or such as 512m
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory reservation (soft limit)
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Limit of memory + swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Limit of processes and threads
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Accepted for compatibility with runc; kernels no longer have this limit
    #[arg(long, hide = true, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Accepted for compatibility with runc; kernels no longer have this limit
    #[arg(long, hide = true, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// L3 cache schema of Intel RDT
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Memory bandwidth schema of Intel RDT
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<u8> {
    let resources = match &args.resources {
        Some(path) => file(path)?,
        None => args.options()?,
    };
    let schemata = [&args.l3_cache_schema, &args.mem_bw_schema].into_iter().flatten().cloned().collect();
    update(&context.root, &args.id, Changes { resources, schemata })?;
    Ok(0)
}

fn file(path: &std::path::Path) -> Result<Map<String, Value>> {
    let text = if path.as_os_str() == "-" {
        let mut text = Vec::new();
        // Bounded: stdin may be a device without end.
        let mut stdin = std::io::stdin().take(spec::LIMIT as u64 + 1);
        stdin.read_to_end(&mut text).doing(|| "read resources from stdin")?;
        if text.len() > spec::LIMIT {
            crate::bail!("resources from stdin are longer than {} bytes", spec::LIMIT);
        }
        text
    } else {
        spec::read_file(path)?
    };
    let what = || format!("parse resources from {}", path.display());
    // Types are checked here, so that a mistake is not reported as one of the config.
    let resources: Resources = keys::from_slice(&text).doing(what)?;
    match serde_json::to_value(resources).doing(what)? {
        Value::Object(fields) => Ok(fields),
        _ => bail!("{}: it is no object", what()),
    }
}

impl Args {
    /// The options as fields of `linux.resources`.
    fn options(&self) -> Result<Map<String, Value>> {
        let memory_limit = size(self.memory.as_deref(), "--memory")?;
        let mut swap = size(self.memory_swap.as_deref(), "--memory-swap")?;
        if memory_limit == Some(-1) && swap.is_none() {
            // Unlimited memory implies unlimited memory + swap.
            swap = Some(-1);
        }
        let groups = [
            ("memory", "limit", json!(memory_limit)),
            ("memory", "swap", json!(swap)),
            ("memory", "reservation", json!(size(self.memory_reservation.as_deref(), "--memory-reservation")?)),
            ("cpu", "shares", json!(self.cpu_share)),
            ("cpu", "quota", json!(self.cpu_quota)),
            ("cpu", "period", json!(self.cpu_period)),
            ("cpu", "burst", json!(self.cpu_burst)),
            ("cpu", "realtimePeriod", json!(self.cpu_rt_period)),
            ("cpu", "realtimeRuntime", json!(self.cpu_rt_runtime)),
            ("cpu", "idle", json!(self.cpu_idle)),
            ("cpu", "cpus", json!(self.cpuset_cpus)),
            ("cpu", "mems", json!(self.cpuset_mems)),
            ("pids", "limit", json!(self.pids_limit)),
            ("blockIO", "weight", json!(self.blkio_weight)),
        ];
        let mut resources = Map::new();
        for (group, name, value) in groups {
            if !value.is_null() {
                resources.entry(group).or_insert_with(|| json!({}))[name] = value;
            }
        }
        Ok(resources)
    }
}

/// Bytes, or with a binary unit as engines write it: 512m, 1.5g, 64KiB; -1 is unlimited.
fn size(text: Option<&str>, option: &str) -> Result<Option<i64>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text == "-1" {
        return Ok(Some(-1));
    }
    let wrong = || Error::new(format!("{option} {text:?} is not a size: bytes, or as in 512m"));
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = text[end..].trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    Ok(Some((number * (1u64 << shift) as f64) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_engines_write_them() {
        let read = |text| size(Some(text), "--memory");
        assert_eq!(read("512m").unwrap(), Some(512 << 20));
        assert_eq!(read("1.5G").unwrap(), Some(3 << 29));
        assert_eq!(read("64KiB").unwrap(), Some(64 << 10));
        assert_eq!(read("1234").unwrap(), Some(1234));
        assert_eq!(read("-1").unwrap(), Some(-1));
        for wrong in ["m", "5x", "-5", "1.2.3m"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
