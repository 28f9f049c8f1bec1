//! Memory and wake-ups of processes, by proc(5).

use crate::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For wake-ups.
const IDLE: Duration = Duration::from_secs(5);

/// Of several processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub processes: u64,
    /// Their share of what is in memory, in KiB.
    pub pss: u64,
    /// What only one process has, in KiB.
    pub private: u64,
    /// Voluntary context switches within [`IDLE`].
    pub wakeups: u64,
}

impl Usage {
    /// Of all processes of which `is_meant` is true, by their program and their arguments.
    pub fn measure(is_meant: impl Fn(&Path, &str) -> bool) -> Result<Self> {
        let directories = processes(is_meant)?;
        let before: u64 = directories.iter().map(|process| switches(process)).sum();
        std::thread::sleep(IDLE);
        let after: u64 = directories.iter().map(|process| switches(process)).sum();
        let mut usage =
            Usage { processes: directories.len() as u64, wakeups: after.saturating_sub(before), ..Usage::default() };
        for process in &directories {
            let text = std::fs::read_to_string(process.join("smaps_rollup"))?;
            usage.pss += kib(&text, "Pss:");
            usage.private += kib(&text, "Private_Clean:") + kib(&text, "Private_Dirty:");
        }
        Ok(usage)
    }

    pub fn json(&self) -> Value {
        let Usage { processes, pss, private, wakeups } = self;
        json!({"processes": processes, "pss_kib": pss, "private_kib": private, "wakeups": wakeups})
    }

    pub fn from_json(value: &Value) -> Self {
        let number = |name: &str| value[name].as_u64().unwrap_or(0);
        let (pss, private) = (number("pss_kib"), number("private_kib"));
        Usage { processes: number("processes"), pss, private, wakeups: number("wakeups") }
    }
}

fn processes(is_meant: impl Fn(&Path, &str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        // Others end meanwhile, and threads of the kernel have no program.
        let Ok(program) = std::fs::read_link(path.join("exe")) else { continue };
        let words = std::fs::read(path.join("cmdline")).unwrap_or_default();
        if is_meant(&program, &String::from_utf8_lossy(&words).replace('\0', " ")) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Of all threads.
fn switches(process: &Path) -> u64 {
    let threads = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let of_thread = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        kib(&text, "voluntary_ctxt_switches:")
    };
    threads.map(of_thread).sum()
}

fn kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
