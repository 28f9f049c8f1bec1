//! Filters: what firn compiles against what runc and libseccomp make of the
//! same profile, call by call, and against what the kernel was really given.

mod compare;
mod installed;
mod naive;
mod profiles;

use compare::{Difference, compare};
use firn::internals::sys::seccomp::Instruction;
use firn::log::Log;
use firn::spec::seccomp::Seccomp;
use firn_conformance::harness::place::{binary, program};
use firn_conformance::harness::{Bundle, Runtime, Scratch, wait_until};
use serde_json::{Value, json};

pub const AUDIT_X86_64: u32 = 0xc000_003e;
pub const AUDIT_I386: u32 = 0x4000_0003;
pub const X32_BIT: u32 = 0x4000_0000;

const DEFAULT_CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn compiled(profile: &Value) -> Result<Vec<Instruction>, String> {
    let spec: Seccomp = serde_json::from_value(profile.clone()).expect("a profile");
    firn::internals::seccomp::compile(&spec, &Log::quiet()).map(|filter| filter.program).map_err(|error| error.chain())
}

/// A container that sleeps, in which a runtime installs one filter or another.
struct Sleeper {
    runtime: Runtime,
    bundle: Bundle,
    _scratch: Scratch,
}

impl Sleeper {
    fn new(test: &str, path: std::path::PathBuf) -> Self {
        let scratch = Scratch::new(test);
        let mut bundle = Bundle::new(&scratch).args(&["sleep", "1000"]);
        bundle.config["process"]["noNewPrivileges"] = json!(false);
        Sleeper { runtime: Runtime::new(path, &scratch), bundle, _scratch: scratch }
    }

    /// The filter that the container's process has, or why there is none.
    fn installed(&mut self, profile: &Value) -> Result<Vec<Instruction>, String> {
        let mut config = self.bundle.config.clone();
        config["linux"]["seccomp"] = profile.clone();
        let bundle = Bundle { path: self.bundle.path.clone(), config }.write();
        let created = self.runtime.create(&bundle);
        if created.code != 0 {
            self.runtime.call(&["delete", "--force", self.runtime.id()]);
            return Err(created.stderr);
        }
        let pid = self.runtime.state()["pid"].as_i64().expect("a pid") as i32;
        if !filtered(pid) {
            self.runtime.start().succeeds();
        }
        wait_until("the filter is installed", || filtered(pid));
        let program = installed::filter_of(pid).expect("read the filter");
        self.runtime.call(&["delete", "--force", self.runtime.id()]).succeeds();
        Ok(program)
    }
}

fn filtered(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("read the process's status");
    status.lines().any(|line| line == "Seccomp:\t2")
}

fn runc(test: &str) -> Sleeper {
    Sleeper::new(test, program("runc", "runc"))
}

#[test]
fn podmans_profile_has_runcs_verdict_for_every_call() {
    let mut runc = runc("podman");
    let every = ["CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT"];
    for capabilities in [&DEFAULT_CAPABILITIES[..], &[], &every] {
        let profile = profiles::podman(capabilities);
        let theirs = runc.installed(&profile).expect("runc takes podman's profile");
        let ours = compiled(&profile).expect("firn takes podman's profile");
        let compared = compare(&profile, &ours, &theirs, 1);
        println!("{} probes, {} instructions against runc's {}", compared.probes, ours.len(), theirs.len());
        assert!(compared.differences.is_empty(), "{:x?}", compared.differences.first());
        assert!(ours.len() * 3 < theirs.len());
    }
}

#[test]
fn random_profiles_have_runcs_verdicts() {
    let mut runc = runc("random");
    let (mut probes, mut calls, mut refused, mut defective) = (0, 0, 0, 0);
    for seed in 1..=60 {
        let profile = profiles::random(seed, seed % 3 == 0);
        let theirs = match runc.installed(&profile) {
            Ok(theirs) => theirs,
            Err(error) => {
                // For rules that conflict, and for some that only seem to.
                assert!(error.contains("file exists"), "profile {seed}: {error}");
                refused += 1;
                continue;
            }
        };
        let ours = compiled(&profile).unwrap_or_else(|error| panic!("profile {seed}: {error}\n{profile}"));
        let compared = compare(&profile, &ours, &theirs, seed);
        probes += compared.probes;
        calls += compared.by_arguments;
        for differences in compared.differences.chunk_by(|a, b| a.is_of_the_same_call(b)) {
            defective += 1;
            explained(&profile, differences).unwrap_or_else(|why| panic!("profile {seed}: {why}\n{profile}"));
        }
    }
    println!("{probes} probes of {calls} calls decided by arguments, {refused} profiles refused by runc");
    println!("{defective} calls for which libseccomp's verdict follows from no rule");
}

/// libseccomp (2.5 and 2.6) keeps the rules of a call as a tree of comparisons
/// of 32 bits. A comparison that is reached in several ways may find another
/// argument loaded than its own, and rules that share a comparison of high
/// halves share, or lose, what comes after it: `a0 >= 1` beside `a0 <= 2 and
/// a3 == 255` fails for a0 = 1. So it has verdicts that no rule gives. Nothing
/// else may differ: where all of its verdicts come from rules, they are ours too.
fn explained(profile: &Value, differences: &[Difference]) -> Result<(), String> {
    let mut lost = false;
    for Difference { call, ours, theirs } in differences {
        let allowed = naive::verdicts(profile, call);
        if !allowed.contains(ours) {
            return Err(format!("{call:x?}: {ours:x} is none of {allowed:x?}"));
        }
        lost |= !allowed.contains(theirs);
    }
    let Difference { call, ours, theirs } = &differences[0];
    if lost { Ok(()) } else { Err(format!("{call:x?}: {ours:x}, runc {theirs:x}")) }
}

#[test]
fn the_kernel_gets_what_was_compiled() {
    let mut firn = Sleeper::new("installed", binary("firn"));
    for profile in [profiles::podman(&DEFAULT_CAPABILITIES), profiles::random(1, false), profiles::random(2, false)] {
        let theirs = firn.installed(&profile).expect("firn takes the profile");
        assert_eq!(theirs, compiled(&profile).expect("firn takes the profile"));
    }
}
