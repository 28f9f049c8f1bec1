//! `firn-bench monitors`: what the processes that stay with a container take while it runs: firn-shim's, conmon's
//! and containerd's, each with 1, 100 and 1,000 containers of the same runtime that sleep.
//!
//! Each has a process namespace of its own, a /run and a cgroup: whatever happens, nothing of it stays.

mod crowd;
mod usage;

use crate::Result;
use crate::contest::Scratch;
use crate::machine::Machine;
use crate::options::Options;
use crate::parts::{self, Part};
use crate::table;
use crowd::{Kind, grown};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use usage::Usage;

const TEXT: &str = "
`cargo xtask bench monitors` writes this part: so many containers of firn that sleep, under firn-shim, conmon and containerd's shim, one after the other in the same run. PSS and private memory (smaps_rollup) are those of all processes of the monitors, divided by the number of containers; firn-shim's process for notifications, and its keeper, which all monitors share, are counted. A wake-up is a voluntary context switch of one of them.
";

/// What stands in for a part of the machine: entered before anything is started.
const ENTER: &str = "\
set -e
cgroups=/sys/fs/cgroup
if [ -d $cgroups/unified ]; then cgroups=$cgroups/unified; fi
mkdir $cgroups/$1; echo $$ >$cgroups/$1/cgroup.procs; shift
exec unshare --cgroup --mount --pid --fork --kill-child --mount-proc --propagation private sh -c '
set -e
mount -t tmpfs tmpfs /run
mount -t cgroup2 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/own; echo 0 >/sys/fs/cgroup/own/cgroup.procs
exec \"$@\"' sh \"$@\"
";

/// Of one kind, with so many containers.
struct Point {
    kind: Kind,
    containers: usize,
    usage: Usage,
}

pub fn bench(options: &Options) -> Result<()> {
    let levels: &[usize] = if options.quick { &[1, 30] } else { &[1, 100, 1000] };
    let mut points = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_installed()) {
        println!("{} with {levels:?} containers", kind.name());
        let name = format!("bench-monitors-{}-{}", std::process::id(), kind.name());
        let scratch = Scratch(std::env::temp_dir().join(&name));
        std::fs::create_dir(&scratch.0)?;
        let answer = apart(kind, levels, &name, &scratch.0);
        clear_cgroup(&name);
        for (containers, usage) in levels.iter().zip(answer?) {
            points.push(Point { kind, containers: *containers, usage });
        }
    }
    let cells: Vec<Vec<String>> = points.iter().map(row).collect();
    let head = ["", "containers", "PSS of each", "of it private", "processes", "wake-ups in 5 s"];
    let table = table::table(&head, &cells);
    println!("{table}");
    if let Some(path) = &options.json {
        let all: Vec<Value> = points.iter().map(to_json).collect();
        std::fs::write(path, format!("{:#}\n", Value::Array(all)))?;
    }
    if let Some(docs) = &options.docs {
        let machine = Machine::here();
        let text = format!("{TEXT}\n{}: Linux {}, {}.\n\n{table}", machine.date, machine.kernel, versions());
        parts::write(Part::Monitors, &text, docs)?;
    }
    Ok(())
}

/// Runs [`inside`] in namespaces of its own, which end with it.
fn apart(kind: Kind, levels: &[usize], name: &str, scratch: &Path) -> Result<Vec<Usage>> {
    // They end with this process, too.
    let mut shell = Command::new("setpriv");
    shell.args(["--pdeathsig", "KILL", "sh", "-c", ENTER, "sh", name]).arg(std::env::current_exe()?);
    shell.args(["monitors", "inside", kind.name()]).arg(scratch).args(levels.iter().map(usize::to_string));
    let output = shell.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", kind.name(), output.status).into());
    }
    let lines = String::from_utf8(output.stdout)?;
    lines.lines().map(|line| Ok(Usage::from_json(&serde_json::from_str(line)?))).collect()
}

/// One kind: a line of JSON for each number of containers.
pub fn inside(words: &[String]) -> Result<()> {
    let [kind, scratch, levels @ ..] = words else { return Err("monitors inside KIND SCRATCH LEVEL…".into()) };
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or("no such kind")?;
    let levels = levels.iter().map(|level| level.parse()).collect::<std::result::Result<Vec<usize>, _>>()?;
    grown(kind, &PathBuf::from(scratch), &levels, |usage| println!("{}", usage.json()))
}

/// The cgroup in which one kind was, with those of its containers, all of them empty by now.
fn clear_cgroup(name: &str) {
    let tops = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(|top| Path::new(top).join(name));
    for top in tops.iter().filter(|top| top.is_dir()) {
        // Processes that were killed may be about to end.
        for _ in 0..100 {
            remove_tree(top);
            if !top.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

fn remove_tree(cgroup: &Path) {
    let entries = std::fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    let _ = std::fs::remove_dir(cgroup);
}

fn row(point: &Point) -> Vec<String> {
    let Point { kind, containers, usage } = point;
    let each = |kib: u64| format!("{:.2} MB", kib as f64 / 1000.0 * 1.024 / *containers as f64);
    let (processes, wakeups) = (usage.processes.to_string(), usage.wakeups.to_string());
    vec![kind.name().into(), containers.to_string(), each(usage.pss), each(usage.private), processes, wakeups]
}

fn to_json(point: &Point) -> Value {
    let Point { kind, containers, usage } = point;
    json!({"monitor": kind.name(), "containers": containers, "usage": usage.json()})
}

/// Of those that are installed.
fn versions() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(str::trim).map(str::to_owned)
    };
    ["conmon", "containerd"].into_iter().filter_map(version).collect::<Vec<_>>().join(", ")
}
