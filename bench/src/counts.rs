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

/// Who is counted, and how: with `counter`, which is firn-bench, in containers of
/// podman's config.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub program: &'a Path,
    pub stand: &'a Stand,
    pub counter: &'a Path,
}

impl Subject<'_> {
    /// Counts every command; each is run by `call`.
    pub fn count(self, instructions: bool, call: &mut Call<'_>) -> Result<Vec<Count>> {
        let calls = self.fewest_calls(call)?;
        let steps = if instructions { self.life("instructions", &COMMANDS, call)? } else { Vec::new() };
        Ok(join(&calls, &steps))
    }

    /// The same with a processor for each half of the commands, for each instruction
    /// is a stop. `call` is told which half a command belongs to.
    pub fn count_on_two(self, call: &(dyn Fn(usize, &[&OsStr]) -> Result<bool> + Sync)) -> Result<Vec<Count>> {
        let calls = self.fewest_calls(&mut |words| call(0, words))?;
        let half = |number: usize| self.life("instructions", HALVES[number], &mut |words| call(number, words));
        let steps = std::thread::scope(|scope| {
            let other = scope.spawn(|| half(1));
            let steps = half(0)?;
            let other = other.join().map_err(|_| Error::other("a counting thread panicked"))??;
            Ok::<_, Error>([steps, other].concat())
        })?;
        Ok(join(&calls, &steps))
    }

    /// The fewest system calls of three lives: which of two processes is ahead adds some, such as
    /// a second poll(2).
    fn fewest_calls(self, call: &mut Call<'_>) -> Result<Numbers> {
        let mut fewest = self.life("calls", &COMMANDS, call)?;
        for _ in 0..2 {
            let again = self.life("calls", &COMMANDS, call)?;
            for ((_, few), (_, number)) in fewest.iter_mut().zip(again) {
                *few = (*few).min(number);
            }
        }
        Ok(fewest)
    }

    /// A container's whole life, of which `counted` are counted. A command has no
    /// count where it failed.
    fn life(self, kind: &str, counted: &[&'static str], call: &mut Call<'_>) -> Result<Numbers> {
        let Subject { program, stand, counter } = self;
        let name = format!("count-{}", counted[0]);
        let id = format!("bench-{name}-{}", std::process::id());
        let config = |args: &[&str]| Stand::config(&stand.podman, VIEW, &id, args);
        let ends = stand.bundle(&format!("{name}-ends"), &config(&["/bin/true"]))?;
        let stays = stand.bundle(&format!("{name}-stays"), &config(&["/bin/sleep"]))?;
        let (ends, stays) = (ends.to_string_lossy(), stays.to_string_lossy());
        let file = |end: &str| stand.file(&format!("{name}{end}"));
        let (file, pid_file, state) = (file(""), file(".pid"), file(".state"));
        let pid_path = pid_file.to_string_lossy().into_owned();
        let start = [counter.as_os_str(), "count".as_ref(), kind.as_ref(), file.as_os_str(), "--".as_ref()];
        let line = [program.as_os_str(), "--root".as_ref(), state.as_os_str()];
        let mut numbers = Vec::new();
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
            let is_counted = counted.contains(&command);
            let start = if is_counted { start.as_slice() } else { &[] };
            let line: Vec<&OsStr> = start.iter().chain(&line).copied().chain(words.iter().map(OsStr::new)).collect();
            let succeeded = made && call(&line)?;
            // Without its container no later command means anything.
            made &= succeeded || command == "features";
            if is_counted {
                let text = if succeeded { std::fs::read_to_string(&file)? } else { String::new() };
                numbers.push((command, text.trim().parse().ok()));
            }
            if command == "kill" && succeeded {
                wait_for_end(&pid_file)?;
            }
        }
        if !made {
            let words = ["delete", "--force", &id].map(OsStr::new);
            call(&[line, words].concat())?;
        }
        // The next runtime would list what this one keeps there.
        std::fs::remove_dir_all(&state)?;
        Ok(numbers)
    }
}

/// Each about as many instructions.
const HALVES: [&[&str]; 2] = [&["features", "run", "list", "exec"], &["create", "state", "start", "kill", "delete"]];

type Numbers = Vec<(&'static str, Option<u64>)>;

fn join(calls: &Numbers, steps: &Numbers) -> Vec<Count> {
    let of = |numbers: &Numbers, command| numbers.iter().find(|(name, _)| *name == command).and_then(|(_, n)| *n);
    COMMANDS.map(|command| Count { command, calls: of(calls, command), instructions: of(steps, command) }).to_vec()
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
