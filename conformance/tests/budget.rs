//! What each command costs in system calls and instructions: nobody slows the
//! way to a container unnoticed.

use firn_bench::counts;
use firn_bench::engine::Stand;
use firn_conformance::harness::{Scratch, binary, skip};
use rustix::thread::CpuSet;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::process::Stdio;

/// Set, it makes the test record what it measures and a little more.
const RECORD: &str = "FIRN_RECORD_CEILINGS";

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ceilings.json");
const CEILINGS: &str = include_str!("../ceilings.json");

#[test]
fn commands_stay_below_their_ceilings() {
    let scratch = Scratch::new("budget");
    let stand = Stand::make(scratch.path(), &binary("firn"), &binary("firn-floor")).unwrap();
    let (firn, counter) = (binary("firn"), binary("firn-bench"));
    let subject = counts::Subject { program: &firn, stand: &stand, counter: &counter };
    let ours = rustix::thread::sched_getaffinity(None).unwrap();
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|number| ours.is_set(*number)).collect();
    let call = |turn: usize, words: &[&OsStr]| {
        // The counter stays on the processor on which it starts.
        let mut set = CpuSet::new();
        set.set(processors[turn % processors.len()]);
        rustix::thread::sched_setaffinity(None, &set)?;
        let null = Stdio::null;
        Ok(counts::VIEW.command("", words).stdin(null()).stdout(null()).status()?.success())
    };
    let counts = subject.count_on_two(&call).unwrap();
    if std::env::var_os(RECORD).is_some() {
        // A C library that asks another processor for its caches takes some more.
        const OF_MACHINE: u64 = 30_000;
        let more = |number: u64| number + number * 3 / 100;
        let ceiling = |count: &counts::Count| {
            let (calls, instructions) = (count.calls.map(more), count.instructions.map(|n| more(n) + OF_MACHINE));
            (count.command.to_owned(), json!({"calls": calls, "instructions": instructions}))
        };
        let ceilings = Value::Object(counts.iter().map(ceiling).collect());
        std::fs::write(FILE, format!("{ceilings:#}\n")).unwrap();
        skip("the ceilings were recorded and not held against anything");
        return;
    }
    let ceilings: Value = serde_json::from_str(CEILINGS).unwrap();
    let mut grown = Vec::new();
    for count in counts {
        println!("firn {}: {:?} system calls, {:?} instructions", count.command, count.calls, count.instructions);
        for (what, number) in [("system calls", count.calls), ("instructions", count.instructions)] {
            let number = number.unwrap_or_else(|| panic!("firn {} failed", count.command));
            let ceiling = ceilings[count.command][what.split(' ').next_back().unwrap()].as_u64().unwrap_or(0);
            if number > ceiling {
                grown.push(format!("firn {}: {number} {what}, more than {ceiling}", count.command));
            }
        }
    }
    assert!(
        grown.is_empty(),
        "{}\nWhere this is meant, record new ceilings: {RECORD}=1 cargo test -p firn-conformance --test budget",
        grown.join("\n")
    );
}
