//! Whatever system call fails, or is the last before a process of the runtime's is
//! killed: nothing stays that `delete --force` would not remove, and nothing hangs.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, binary, command};
use std::collections::BTreeMap;
use std::process::Command;

/// Which one of its kind in its process a call is: the first ones, and some in the
/// middle.
const TURNS: [u32; 4] = [1, 2, 6, 15];
/// Runs until a fault is seen.
const TRIES: usize = 10;

/// A container that is run again and again, each time with another fault.
struct Fixture {
    scratch: Scratch,
    bundle: Bundle,
    firn: Runtime,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let bundle = Bundle::new(&scratch).args(&["true"]).write();
        let firn = Runtime::firn(&scratch);
        Fixture { scratch, bundle, firn }
    }

    /// Runs the container under strace, and clears up as an engine would. Returns what
    /// strace wrote.
    fn run(&self, what: &str, options: &[&str]) -> String {
        let trace = self.scratch.join("trace");
        let mut run = Command::new(program("timeout", "coreutils"));
        run.arg("60").arg(program("strace", "strace")).args(["-f", "-o"]).arg(&trace).args(options);
        run.arg(binary("firn")).arg("--root").arg(self.firn.root());
        run.args(["run", "--bundle"]).arg(&self.bundle.path).arg(self.firn.id());
        let output = command(&mut run);
        assert_ne!(output.code, 124, "{what}: hung: {output:?}");
        self.firn.call(&["delete", "--force", self.firn.id()]).succeeds();
        self.firn.left_nothing();
        std::fs::read_to_string(trace).unwrap()
    }

    /// Runs the container with a fault in `call` until strace's output has `seen`. Whether a run makes
    /// each call hangs on which process is quicker: nobody waits for one that has ended already.
    fn inject(&self, call: &str, fault: &str, seen: &str) -> bool {
        let options = ["-e", &format!("trace={call}"), "-e", &format!("inject={fault}")];
        (0..TRIES).any(|_| self.run(fault, &options).contains(seen))
    }

    /// Every system call of a run, and how many of it the process makes that makes most.
    fn calls(&self) -> BTreeMap<String, u32> {
        // The first run makes the directory of all containers.
        self.run("no fault", &[]);
        let trace = self.run("no fault", &[]);
        let mut of_process: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for line in trace.lines() {
            let Some((pid, rest)) = line.split_once(' ') else { continue };
            // Not the second half of a call ("<... read resumed>"), and no signal or end.
            let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
            if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
                *of_process.entry((pid, name)).or_default() += 1;
            }
        }
        let mut most = BTreeMap::new();
        for ((_, name), count) in of_process {
            let entry: &mut u32 = most.entry(name.to_owned()).or_default();
            *entry = count.max(*entry);
        }
        most
    }
}

/// Puts the fault into every call that a run makes, and sees each in strace's output.
fn all(name: &str, fault: &str, seen: &str) {
    let fixture = Fixture::new(name);
    let calls = fixture.calls();
    for call in ["clone3", "mkdirat", "move_mount", "openat2", "write", "execve"] {
        assert!(calls.contains_key(call), "the run makes no {call}: {calls:?}");
    }
    let (mut injected, mut unreached) = (0, 0);
    for (call, count) in &calls {
        for turn in TURNS {
            if turn > *count {
                unreached += 1;
                continue;
            }
            let fault = format!("{call}:{fault}:when={turn}");
            assert!(fixture.inject(call, &fault, seen), "{fault}: in {TRIES} runs it was not injected");
            injected += 1;
        }
    }
    println!("{injected} faults in {} calls; {unreached} beyond the last call of their kind", calls.len());
}

#[test]
fn a_call_that_fails_leaves_nothing() {
    all("faulteio", "error=EIO", "(INJECTED)");
}

#[test]
fn a_kill_in_any_call_leaves_nothing() {
    all("faultkill", "signal=KILL", "+++ killed by SIGKILL");
}
