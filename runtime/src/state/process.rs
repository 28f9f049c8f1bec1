//! Finds a process again by pid and start time: a pid alone may have been reused.

use crate::error::{Context, Result};
use crate::sys;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Fields of /proc/PID/stat, proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    state: char,
    threads: u64,
    /// starttime, in clock ticks since boot.
    pub start: u64,
}

/// Reads /proc/PID/stat. None if there is no such process.
pub fn stat(pid: i32) -> Option<Stat> {
    let path = format!("/proc/{pid}/stat");
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()?;
    let mut buffer = [0u8; 1024];
    let length = rustix::io::read(&file, &mut buffer).ok()?;
    parse(&String::from_utf8_lossy(&buffer[..length]))
}

/// comm may contain spaces and parentheses: fields are counted from the last `)`.
fn parse(stat: &str) -> Option<Stat> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    let threads = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, threads, start: fields.nth(1)?.parse().ok()? })
}

/// Whether the process that started at `start` (clock ticks since boot) is alive. A zombie
/// is not, unless only its thread group leader has ended.
pub fn is_alive(pid: i32, start: u64) -> bool {
    pid > 0 && stat(pid).is_some_and(|stat| stat.start == start && stat.lives())
}

/// The processes in the pid namespace of this one, without those of namespaces below. For display only: a pid may be
/// reused at any time.
#[expect(clippy::disallowed_methods, reason = "procfs of the host, whose numbers are shown to the caller")]
pub fn in_pid_namespace_of(init: i32) -> Vec<i32> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(init) else { return Vec::new() };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut pids: Vec<i32> = pids.filter(|pid| namespace(*pid).as_ref() == Some(&own)).collect();
    pids.sort_unstable();
    pids
}

impl Stat {
    fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X') || self.threads > 1
    }
}

/// A pidfd of the process that started at `start`. None if it has ended.
pub fn open(pid: i32, start: u64) -> Result<Option<OwnedFd>> {
    let Some(raw) = Pid::from_raw(pid) else { return Ok(None) };
    let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        result => result.doing(|| format!("open process {pid}"))?,
    };
    // Checked after pidfd_open: the pid can no longer be reused unnoticed.
    Ok(is_alive(pid, start).then_some(pidfd))
}

/// Reads /proc/PID/`file` of the process behind `pidfd`. None if it has ended: the pid, and
/// so the text, may be another process's.
pub fn read(pidfd: impl AsFd, pid: i32, file: &str) -> Result<Option<String>> {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(&path);
    // Checked after reading. A process that has not been reaped keeps its pid.
    if sys::signal::pidfd_send_signal(pidfd.as_fd(), 0) == Err(Errno::SRCH) {
        return Ok(None);
    }
    text.map(Some).doing(|| format!("read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_in_comm_do_not_shift_the_fields() {
        let line = "7 (a) Z 1 (b)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 10 20";
        assert_eq!(parse(line), Some(Stat { state: 'S', threads: 1, start: 4242 }));
        assert_eq!(parse("garbage"), None);
        let zombie = line.replace("S 1", "Z 1");
        assert!(!parse(&zombie).unwrap().lives());
        assert!(parse(&zombie.replace("20 0 1", "20 0 2")).unwrap().lives(), "its first thread alone has ended");
    }

    #[test]
    fn nothing_is_read_of_a_process_that_has_ended() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id() as i32;
        let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        // Its number is our own's by now, as far as the file goes.
        assert_eq!(read(&pidfd, std::process::id() as i32, "cgroup").unwrap(), None);
    }

    #[test]
    fn this_process_lives_and_another_start_time_does_not() {
        let pid = std::process::id() as i32;
        let start = stat(pid).unwrap().start;
        assert!(is_alive(pid, start));
        assert!(!is_alive(pid, start + 1));
        let pidfd = open(pid, start).unwrap().unwrap();
        assert!(read(&pidfd, pid, "cgroup").unwrap().is_some());
    }
}
