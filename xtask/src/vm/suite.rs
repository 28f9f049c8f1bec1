//! The tests that run in guests: firn's own, and those that only a machine with
//! systemd and cgroup v2 can show.

use super::files::{ENVIRONMENT, output_directory, programs};
use super::guest::Guest;
use super::job::Job;

use crate::Result;
use crate::build::{run, test_programs};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Left out under emulation: what asks nothing of the kernel, what takes minutes
/// and asks of it what the machine itself has answered, and what races or
/// measures time.
const LEFT_OUT: [&str; 46] = [
    "attacks::joining::a_working_directory_",
    "attacks::keyrings::",
    "attacks::links::links_in_the_image_",
    "attacks::pods::who_",
    "attacks::races::",
    "attacks::records::",
    "attacks::spoken::",
    "attacks::streams::",
    "attacks::traced::",
    "attacks::waiting::",
    "budget::",
    "cgroup_view::",
    "config_errors::",
    "console::",
    "cri::",
    "definitions::access::",
    "definitions::analyze::",
    "definitions::answers::",
    "definitions::documents::",
    "definitions::events::what_",
    "definitions::extra_container::",
    "definitions::firewall::",
    "definitions::flake::",
    "definitions::leftovers::",
    "definitions::life::firnctl_may_be_killed_",
    "definitions::names::",
    "definitions::native::",
    "definitions::network::bridges_",
    "definitions::network::interfaces_",
    "definitions::network::macvlans_",
    "definitions::nix::a_system_",
    "definitions::nix::definitions_",
    "definitions::nix::mistakes_",
    "definitions::nix::what_",
    "definitions::nixos_container::",
    "definitions::ordinary::",
    "definitions::rootless",
    "definitions::ssh::",
    "faults::",
    "floor::",
    "hooks::",
    "machine::units::units_",
    "mount_options::",
    "outputs::",
    "podman::",
    "seccomp::",
];

/// One test, at most; the emulation is some twenty times slower than the machine.
const TEST_LIMIT: u32 = 300;
/// An emulated processor can stop at a breakpoint with which another one changes
/// the kernel's code, when that is over ("Oops: int3" in the scheduler, Linux 6.12
/// and 7.2). criu's breakpoints in its processes make the kernel change its
/// scheduler each time; an event that is counted all along leaves it changed.
/// perf_event_open(2): a software event, the task's clock, of this process.
const KEEP_COUNTING: &str = "python3 -c 'import ctypes, struct, time
ctypes.CDLL(None).syscall(298, struct.pack(\"IIQ\", 1, 128, 1) + bytes(112), 0, -1, -1, 0)
time.sleep(1e9)' &";
/// The same of the first cpuset, and the last, that come and go with containers: it changes how memory is
/// allocated (a soft lockup in ___slab_alloc, Linux 6.1). One that stays, where cgroup v1 has them.
const KEEP_A_CPUSET: &str = "mkdir /sys/fs/cgroup/cpuset/kept 2>/dev/null";
/// All of a guest's, with another guest beside it.
const GUEST_LIMIT: Duration = Duration::from_secs(25 * 60);

/// What every guest gets, built: programs, helpers and tests. Copies, so that all
/// guests get the same when somebody builds meanwhile.
pub fn files() -> Result<Vec<(PathBuf, String)>> {
    let mut files = programs()?;
    files.extend(
        test_programs(&["--package", "firn-conformance", "--test", "*"])?
            .into_iter()
            .map(|(name, program)| (program, format!("{TESTS}{name}"))),
    );
    let directory = output_directory().join("files");
    let copy = |(from, name): (PathBuf, String)| {
        let to = directory.join(&name);
        std::fs::create_dir_all(to.parent().ok_or("a file without a directory")?)?;
        // The guest reads all of it from an emulated disk: without what is for debuggers.
        run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&to).arg(&from))?;
        Ok((to, name))
    };
    files.into_iter().map(copy).collect()
}

const TESTS: &str = "tests/";

/// A job that runs the guest's tests, or those whose names begin with `only`.
pub fn job(guest: &Guest, only: Option<&str>, files: &[(PathBuf, String)]) -> Job {
    let names: Vec<&str> = files.iter().map(|(_, name)| name.as_str()).filter(|name| name.starts_with(TESTS)).collect();
    let options =
        |option: &str, list: &[&str]| list.iter().map(|word| format!(" {option} '{word}'")).collect::<String>();
    let choice = match only {
        Some(prefix) => options("--only", &[prefix]),
        None => options("--only", &guest.tests.concat()) + &options("--except", &LEFT_OUT),
    };
    let script = format!(
        "{ENVIRONMENT}\nuname -sr\nexport FIRN_TEST_RUNTIME=$FIRN_BIN/firn\nstty raw -echo\nnix-store --init 2>/dev/null\n{KEEP_COUNTING}\n{KEEP_A_CPUSET}\nexec firn-suite --events /dev/virtio-ports/firn.events --jobs 2 --twice --limit {TEST_LIMIT}{choice} {}",
        names.join(" ")
    );
    Job { files: files.to_vec(), script, limit: GUEST_LIMIT, memory: 4096, cpus: 2 }
}
