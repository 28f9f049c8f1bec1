//! Whatever system call fails, or is the last before the runtime is killed:
//! nothing stays that `delete --force` would not remove, and nothing hangs.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, binary, command};
use std::process::Command;

/// The calls that make, enter, change or take away something.
#[rustfmt::skip]
const CALLS: [&str; 34] = [
    "mkdirat", "openat2", "openat", "open", "fsopen", "fsconfig", "fsmount", "move_mount", "open_tree", "mount_setattr",
    "write", "renameat", "clone3", "sendto", "recvfrom", "unshare", "pivot_root", "umount2", "mknodat", "symlinkat",
    "prctl", "capset", "setresuid", "setgroups", "execve", "close_range", "flock", "read", "fstat", "socketpair",
    "unlinkat", "waitid", "keyctl", "fchdir",
];
/// Which one of its kind it is: the first ones, and some in the middle.
const TURNS: [u32; 4] = [1, 2, 6, 15];

/// Runs a container with a fault in it, and clears up as an engine would.
fn run_with(fault: &str) {
    let scratch = Scratch::new("fault");
    let bundle = Bundle::new(&scratch).args(&["true"]).write();
    let firn = Runtime::firn(&scratch);
    let mut run = Command::new(program("timeout", "coreutils"));
    run.args(["20", "strace", "-f", "-o", "/dev/null", "-e"]).arg(format!("inject={fault}")).arg(binary("firn"));
    run.arg("--root").arg(firn.root()).args(["run", "--bundle"]).arg(&bundle.path).arg(firn.id());
    let output = command(&mut run);
    assert_ne!(output.code, 124, "{fault}: hung: {output:?}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

fn all(what: &str) {
    program("strace", "strace");
    for call in CALLS {
        for turn in TURNS {
            run_with(&format!("{call}:{what}:when={turn}"));
        }
    }
}

#[test]
fn a_call_that_fails_leaves_nothing() {
    all("error=EIO");
}

#[test]
fn a_kill_in_any_call_leaves_nothing() {
    all("signal=KILL");
}
