//! One start of a guest: a job goes in, its output streams out, and it ends by
//! itself or by the time limit.

use super::guest::Guest;
use super::image::{self, Image};
use super::job::Job;
use crate::Result;
use crate::build::workspace;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Until the job's first line; an idle machine needs half a minute.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// The emulation of a processor is no faultless one.
const BOOTS: u32 = 3;

/// How a guest ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The job's exit status.
    Finished(i32),
    /// No line of the job came.
    NotBooted,
    /// It was cut off at the job's limit.
    Hung,
    /// The guest went away before its job had ended.
    Died,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Finished(0) => write!(f, "finished"),
            End::Finished(status) => write!(f, "the job's exit status was {status}"),
            End::NotBooted => write!(f, "the guest did not come up within {} s, {BOOTS} times", BOOT_LIMIT.as_secs()),
            End::Hung => write!(f, "cut off at its time limit"),
            End::Died => write!(f, "the guest went away before its job had ended"),
        }
    }
}

/// The directory of a guest's run, with what came out of it.
#[derive(Debug)]
pub struct Outcome {
    pub end: End,
    pub directory: PathBuf,
}

impl Outcome {
    pub fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    pub fn events(&self) -> PathBuf {
        self.directory.join("events.jsonl")
    }
}

/// Boots the guest with the job; its output goes to stdout, each line after the
/// guest's name, and into output.log. One that does not come up is started again,
/// and its console's log kept.
pub fn run(guest: &Guest, job: &Job, roots: &Path, directory: &Path) -> Result<Outcome> {
    for boot in 1..BOOTS {
        let outcome = once(guest, job, roots, directory)?;
        if outcome.end != End::NotBooted {
            return Ok(outcome);
        }
        let log = directory.join(format!("console-of-boot-{boot}.log"));
        std::fs::rename(outcome.console(), &log)?;
        println!("{}: not up after {} s, starting it again; see {}", guest.name, BOOT_LIMIT.as_secs(), log.display());
    }
    once(guest, job, roots, directory)
}

fn once(guest: &Guest, job: &Job, roots: &Path, directory: &Path) -> Result<Outcome> {
    let mut machine = machine(guest, job, roots, directory)?;
    machine.args(["-chardev", "stdio,id=job,signal=off"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = machine.spawn().map_err(|e| format!("qemu-system-x86_64: {e}"))?;
    let lines = lines_of(&mut child);
    let log = std::fs::File::create(directory.join("output.log"))?;
    let end = follow(guest, job, &lines, log);
    // It may be hung; all that it wrote is in files by now.
    if end.is_some() {
        let _ = child.kill();
    }
    child.wait()?;
    let end = match end {
        Some(end) => end,
        None => job.read_results(directory)?.map_or(End::Died, End::Finished),
    };
    Ok(Outcome { end, directory: directory.to_owned() })
}

/// Boots the guest with the job on this terminal.
pub fn terminal(guest: &Guest, job: &Job, roots: &Path, directory: &Path) -> Result<()> {
    let mut machine = machine(guest, job, roots, directory)?;
    machine.args(["-chardev", "stdio,id=job,signal=off"]);
    let share = format!("local,path={},mount_tag=host,security_model=none,readonly=on", workspace().display());
    machine.args(["-virtfs", &share]);
    crate::build::run(&mut machine)
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = channel();
    let output = child.stdout.take().expect("stdout is piped");
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(std::io::Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

/// Passes lines on until the guest has ended (None) or has to be ended.
fn follow(guest: &Guest, job: &Job, lines: &Receiver<String>, mut log: std::fs::File) -> Option<End> {
    let begin = Instant::now();
    let mut limit = BOOT_LIMIT;
    let mut booted = false;
    loop {
        match lines.recv_timeout(limit.saturating_sub(begin.elapsed())) {
            Ok(line) => {
                if !booted {
                    println!("{}: up after {:.0} s", guest.name, begin.elapsed().as_secs_f32());
                    booted = true;
                    limit = begin.elapsed() + job.limit;
                }
                println!("{}: {line}", guest.name);
                let _ = writeln!(log, "{line}");
            }
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => return Some(if booted { End::Hung } else { End::NotBooted }),
        }
    }
}

/// qemu with everything but the job's console.
fn machine(guest: &Guest, job: &Job, roots: &Path, directory: &Path) -> Result<Command> {
    let Image { root, kernel, initrd } = image::of_suite(guest.suite)?;
    std::fs::create_dir_all(directory)?;
    let (input, output) = job.disks(directory)?;
    let line = format!(
        "console=ttyS0 panic=1 tsc=reliable mitigations=off audit=0 net.ifnames=0 swapaccount=1 {}",
        guest.kernel_line
    );
    // If this process is killed, so is the guest. What newer processors have, such
    // as SMAP and states for XSAVE, makes the emulation a quarter slower.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none"]);
    qemu.args(["-M", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "qemu64,-svm"]);
    qemu.args(["-m", &job.memory.to_string(), "-smp", &job.cpus.to_string()]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).args(["-append", &line]);
    // In the order of /dev/vda to /dev/vdd.
    for (file, mode) in
        [(&root, "snapshot=on"), (&roots.to_owned(), "readonly=on"), (&input, "readonly=on"), (&output, "cache=unsafe")]
    {
        qemu.arg("-drive").arg(format!("file={},if=virtio,format=raw,{mode}", file.display()));
    }
    let file = |name: &str| directory.join(name).display().to_string();
    qemu.args(["-serial", &format!("file:{}", file("console.log"))]);
    qemu.args(["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=job"]);
    qemu.args(["-chardev", &format!("file,id=events,path={}", file("events.jsonl"))]);
    qemu.args(["-device", "virtserialport,chardev=events,name=firn.events"]);
    qemu.args(["-device", "virtio-rng-pci"]);
    Ok(qemu)
}
