//! What each command of a runtime costs in system calls and instructions. Unlike
//! times these hardly change from run to run, so they can be held to a ceiling.

use crate::engine::Stand;
use crate::view::View;
use std::ffi::OsStr;
use std::io::{Error, Result};
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub struct Count {
    pub command: &'static str,
    /// Of all processes until the command has ended, but not of the container's
    /// program. None where the command failed.
    pub calls: Option<u64>,
    /// Outside the kernel, where they were counted too: each is a stop.
    pub instructions: Option<u64>,
}

pub const COMMANDS: [&str; 9] = ["features", "run", "create", "state", "list", "start", "exec", "kill", "delete"];
/// Where the number of hierarchies makes no difference.
pub const VIEW: View = View::V2;

/// Runs a command in the view, and says whether it succeeded.
pub type Call<'a> = dyn FnMut(&[&OsStr]) -> Result<bool> + 'a;

/// Counts with `counter`, which is firn-bench; commands are run by `call`.
/// Podman's config.
pub fn of(
    program: &Path,
    stand: &Stand,
    counter: &Path,
    instructions: bool,
    call: &mut Call<'_>,
) -> Result<Vec<Count>> {
    let calls = all(program, stand, counter, "calls", call)?;
    let steps = if instructions { all(program, stand, counter, "instructions", call)? } else { Vec::new() };
    let count =
        |at: usize| Count { command: COMMANDS[at], calls: calls[at], instructions: steps.get(at).copied().flatten() };
    Ok((0..COMMANDS.len()).map(count).collect())
}

/// The counts of one kind, of a container's whole life.
fn all(program: &Path, stand: &Stand, counter: &Path, kind: &str, call: &mut Call<'_>) -> Result<Vec<Option<u64>>> {
    let id = format!("bench-count-{}", std::process::id());
    let config = |args: &[&str]| Stand::config(&stand.podman, VIEW, &id, args);
    let ends = stand.bundle("count-ends", &config(&["/bin/true"]))?;
    let stays = stand.bundle("count-stays", &config(&["/bin/sleep"]))?;
    let (ends, stays) = (ends.to_string_lossy(), stays.to_string_lossy());
    let (file, pid_file, state) = (stand.file("count"), stand.file("count.pid"), stand.file("count.state"));
    let pid_path = pid_file.to_string_lossy().into_owned();
    let mut counts = Vec::new();
    let mut made = true;
    for command in COMMANDS {
        let words = match command {
            "features" | "list" => vec![command],
            "run" => vec!["run", "--bundle", &ends, &id],
            "create" => vec!["create", "--bundle", &stays, "--pid-file", &pid_path, &id],
            "exec" => vec!["exec", &id, "/bin/true"],
            "kill" => vec!["kill", &id, "KILL"],
            command => vec![command, &id],
        };
        let start = [counter.as_os_str(), "count".as_ref(), kind.as_ref(), file.as_os_str(), "--".as_ref()];
        let line = [program.as_os_str(), "--root".as_ref(), state.as_os_str()];
        let line: Vec<&OsStr> = start.into_iter().chain(line).chain(words.iter().map(OsStr::new)).collect();
        let counted = made && call(&line)?;
        // Without its container no later command means anything.
        made &= counted || command == "features";
        let text = if counted { std::fs::read_to_string(&file)? } else { String::new() };
        counts.push(text.trim().parse().ok());
        if command == "kill" && counted {
            wait_for_end(&pid_file)?;
        }
    }
    if !made {
        let words = ["delete", "--force", &id].map(OsStr::new);
        let line = [program.as_os_str(), "--root".as_ref(), state.as_os_str()];
        call(&[line, words].concat())?;
    }
    // The next runtime would list what this one keeps there.
    std::fs::remove_dir_all(&state)?;
    Ok(counts)
}

/// Waits until the process whose number is in the file has ended; who takes its
/// status does not matter.
pub fn wait_for_end(pid_file: &Path) -> Result<()> {
    let path = format!("/proc/{}/stat", std::fs::read_to_string(pid_file)?.trim());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        let stat = std::fs::read_to_string(&path).unwrap_or_default();
        // proc_pid_stat(5): the state follows the name in parentheses.
        match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
            None | Some('Z' | 'X') => return Ok(()),
            _ => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    Err(Error::other("the container doesn't end"))
}
