//! What a start costs, in system calls: nobody slows it unnoticed.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, binary, command};
use std::process::Command;

/// The whole life of a static true with `firn spec`'s config, all processes
/// counted. What a runtime can't do without is 275; crun makes 1,000.
const RUN: u32 = 450;
/// One state query.
const STATE: u32 = 60;

fn calls(scratch: &Scratch, args: &[&str]) -> u32 {
    let counts = scratch.join("counts");
    let mut strace = Command::new(program("strace", "strace"));
    strace.args(["-f", "-c", "-o"]).arg(&counts).arg(binary("firn")).args(args);
    command(&mut strace).succeeds();
    let text = std::fs::read_to_string(&counts).unwrap();
    let total = text.lines().last().unwrap();
    total.split_whitespace().nth(3).unwrap().parse().unwrap_or_else(|_| panic!("{total}"))
}

#[test]
fn run_and_state_stay_within_their_system_calls() {
    let scratch = Scratch::new("budget");
    let bundle = Bundle::new(&scratch).args(&["true"]).write();
    let firn = Runtime::firn(&scratch);
    let root = firn.root().to_string_lossy().into_owned();
    let run = calls(&scratch, &["--root", &root, "run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    println!("firn run: {run} system calls");
    assert!(run <= RUN, "firn run makes {run} system calls, more than {RUN}");
    firn.create(&bundle).succeeds();
    let state = calls(&scratch, &["--root", &root, "state", firn.id()]);
    println!("firn state: {state} system calls");
    assert!(state <= STATE, "firn state makes {state} system calls, more than {STATE}");
}
