//! Single tests of test programs.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use std::io::{Error, Read, Result, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One test of a program.
#[derive(Debug)]
pub struct Case {
    program: PathBuf,
    /// As the program knows it.
    path: String,
    /// The program's name and the test's: `lifecycle::kill_sends_signals`.
    pub name: String,
}

/// How it went.
#[derive(Debug)]
pub struct Verdict {
    /// None: it was cut off at its limit.
    passed: Option<bool>,
    pub seconds: f64,
    pub output: String,
}

/// The tests of a program.
pub fn cases(program: &Path) -> Result<Vec<Case>> {
    let list = Command::new(program).args(["--list", "--format", "terse"]).output()?;
    if !list.status.success() {
        return Err(Error::other(format!("{} --list: {}", program.display(), list.status)));
    }
    let file = program.file_name().unwrap_or_default().to_string_lossy();
    // As cargo names it: with a hash.
    let stem = match file.rsplit_once('-') {
        Some((stem, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => stem,
        _ => &file,
    };
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    let paths = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(paths
        .map(|path| Case { program: program.to_owned(), path: path.into(), name: format!("{stem}::{path}") })
        .collect())
}

impl Case {
    /// Runs it in a process group of its own, which ends with it.
    pub fn run(&self, limit: Duration) -> Verdict {
        let begin = Instant::now();
        match self.try_run(limit) {
            Ok((passed, output)) => Verdict { passed, seconds: begin.elapsed().as_secs_f64(), output },
            Err(error) => Verdict { passed: Some(false), seconds: 0.0, output: format!("can't be run: {error}") },
        }
    }

    fn try_run(&self, limit: Duration) -> Result<(Option<bool>, String)> {
        // A file: what a container still holds of it keeps nobody waiting.
        let mut output = tempfile()?;
        let mut test = Command::new(&self.program);
        test.args([&self.path, "--exact", "--nocapture", "--test-threads=1"]).stdin(Stdio::null());
        test.stdout(output.try_clone()?).stderr(output.try_clone()?).process_group(0);
        let mut child = test.spawn()?;
        let passed = wait(&mut child, limit)?;
        let processes = if passed.is_none() { processes() } else { String::new() };
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        if passed.is_none() {
            child.wait()?;
        }
        let mut bytes = Vec::new();
        output.rewind()?;
        output.read_to_end(&mut bytes)?;
        Ok((passed, String::from_utf8_lossy(&bytes).into_owned() + &processes))
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<bool>> {
    let end = pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())?;
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    match poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&limit))? {
        0 => Ok(None),
        _ => Ok(Some(child.wait()?.success())),
    }
}

/// What runs, and where the kernel has it wait: what a test that hangs waits for.
fn processes() -> String {
    let columns = "pid,ppid,stat,etimes,wchan:20,args";
    match Command::new("ps")
        .args(["--ppid", "2", "-p", "2", "--deselect", "--forest", "--cols", "200", "-o", columns])
        .output()
    {
        Ok(output) => format!("\nprocesses when the time was over:\n{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => format!("\nps: {error}\n"),
    }
}

fn tempfile() -> Result<std::fs::File> {
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    Ok(rustix::fs::open(std::env::temp_dir(), flags, mode)?.into())
}

impl Verdict {
    /// `ok`, `skipped`, `failed` or `hung`.
    pub fn word(&self) -> &'static str {
        match self.passed {
            None => "hung",
            Some(false) => "failed",
            Some(true) if self.skips().next().is_some() => "skipped",
            Some(true) => "ok",
        }
    }

    /// Why it was not run, or not all of it. The first line that a test prints
    /// stands behind its name.
    pub fn skips(&self) -> impl Iterator<Item = &str> {
        let reason = |line: &'_ str| line.find("skipped: ").filter(|at| *at == 0 || line[..*at].ends_with("... "));
        self.output.lines().filter_map(move |line| reason(line).map(|at| &line[at..]))
    }
}
