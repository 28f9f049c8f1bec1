//! `cargo xtask vm`: Debian machines with systemd under qemu's emulation, in
//! which what this machine can't show is tested.

mod boot;
mod files;
mod guest;
mod image;
mod initrd;
mod job;
mod report;
mod suite;

use crate::{Result, packages};
use files::{ENVIRONMENT, output_directory, programs};
use guest::Guest;
use job::Job;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HELP: &str = "\
usage: cargo xtask vm [GUEST...] [--only PREFIX]
                                           run firn's tests in all guests, or these;
                                           PREFIX as in machine::podman::
       cargo xtask vm build [GUEST...]     make their disks, if the recipe changed
       cargo xtask vm run [--limit SECONDS] GUEST COMMAND
                                           a shell command in a guest, as root; it
                                           is ended after half an hour, or the limit
       cargo xtask vm shell GUEST          a prompt; leave it to end the guest
       cargo xtask vm list                 the guests

Guests find firn's programs in their PATH, a Debian root and busybox.tar in
/srv, and a user called `user`; a shell sees this repository, read-only, at
/host. What they write is gone when they end.
Logs and reports are in target/vm.
";

pub fn run(words: &[&str]) -> Result<()> {
    match words {
        ["help" | "--help" | "-h"] => print!("{HELP}"),
        ["list"] => guest::GUESTS.iter().for_each(|guest| println!("{:12} {}", guest.name, guest.about)),
        ["build", names @ ..] => build(&guest::choose(names)?)?,
        ["run", "--limit", seconds, name, command @ ..] if !command.is_empty() => {
            let limit = Duration::from_secs(seconds.parse().map_err(|_| format!("--limit {seconds:?} is no number"))?);
            return command_in(guest::find(name)?, &command.join(" "), limit);
        }
        ["run", name, command @ ..] if !command.is_empty() => {
            return command_in(guest::find(name)?, &command.join(" "), Duration::from_secs(30 * 60));
        }
        ["shell", name] => return shell(guest::find(name)?),
        ["run" | "shell", ..] => return Err(HELP.into()),
        [names @ .., "--only", prefix] => return test(&guest::choose(names)?, Some(prefix)),
        names => return test(&guest::choose(names)?, None),
    }
    Ok(())
}

/// One: processors of guests that wait for each other while the machine runs
/// another guest make both several times slower.
const AT_ONCE: usize = 1;

/// The tests, in guests side by side, of programs that are all built beforehand.
fn test(guests: &[&'static Guest], only: Option<&str>) -> Result<()> {
    let roots = prepare()?;
    let files = suite::files()?;
    guests.iter().try_for_each(|guest| image::of_suite(guest.suite).map(drop))?;
    let next = AtomicUsize::new(0);
    let runs = Mutex::new(Vec::new());
    let work = || {
        while let Some(guest) = guests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let job = suite::job(guest, only, &files);
            let outcome = boot::run(guest, &job, &roots, &output_directory().join(guest.name));
            let run = outcome.map(|outcome| report::Run::read(guest.name, &outcome)).map_err(|error| error.to_string());
            runs.lock().expect("no panics").push(run);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    let runs: Vec<_> = runs.into_inner().expect("no panics").into_iter().collect::<std::result::Result<_, String>>()?;
    report::write(&runs, &output_directory())
}

pub fn test_all() -> Result<()> {
    test(&guest::choose(&[])?, None)
}

fn build(guests: &[&Guest]) -> Result<()> {
    prepare()?;
    guests.iter().try_for_each(|guest| image::of_suite(guest.suite).map(drop))
}

fn command_in(guest: &Guest, command: &str, limit: Duration) -> Result<()> {
    let roots = prepare()?;
    let script = format!("{ENVIRONMENT}\nstty raw -echo\n{command}");
    let job = Job { files: programs()?, script, limit, memory: 4096, cpus: 2 };
    let outcome = boot::run(guest, &job, &roots, &directory(guest))?;
    match outcome.end {
        boot::End::Finished(0) => Ok(std::fs::remove_dir_all(&outcome.directory)?),
        end => Err(format!(
            "{}: {end}; its console's log: {}",
            guest.name,
            outcome.directory.join("console.log").display()
        )
        .into()),
    }
}

fn shell(guest: &Guest) -> Result<()> {
    let roots = prepare()?;
    let size = std::process::Command::new("stty").arg("size").stdin(std::process::Stdio::inherit()).output()?;
    let size = String::from_utf8_lossy(&size.stdout).trim().replace(' ', " columns ");
    let size = if size.is_empty() { String::new() } else { format!("stty rows {size}") };
    let script = format!(
        "{ENVIRONMENT}\n{size}\nmkdir /host && mount -t 9p -o ro,trans=virtio,version=9p2000.L host /host\ncd /root\nexec bash"
    );
    let job = Job { files: programs()?, script, limit: Duration::MAX, memory: 4096, cpus: 2 };
    println!("{}: booting; ends with the shell", guest.name);
    let directory = directory(guest);
    boot::terminal(guest, &job, &roots, &directory)?;
    Ok(std::fs::remove_dir_all(&directory)?)
}

/// What all need: qemu, and the disk of container roots.
fn prepare() -> Result<PathBuf> {
    packages::install(&packages::GUESTS)?;
    image::roots(&crate::debian::root_with_systemd()?)
}

/// Of a run by hand: several may be on at once.
fn directory(guest: &Guest) -> PathBuf {
    output_directory().join(format!("{}-{}", guest.name, std::process::id()))
}
