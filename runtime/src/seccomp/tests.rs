//! The compiler against the interpreter.

use super::interpret::{Call, run};
use super::*;
use serde_json::{Value, json};

const X86_64: u32 = arch::AUDIT_X86_64;
const EPERM: u32 = 0x0005_0001;
const ALLOW: u32 = profile::ALLOW;

fn spec(value: Value) -> Seccomp {
    serde_json::from_value(value).unwrap()
}

fn program(value: Value) -> Vec<Instruction> {
    compile(&spec(value), &Log::quiet()).unwrap().program
}

fn verdict(program: &[Instruction], arch: u32, number: u32, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    run(program, &Call { arch, number, args: all })
}

#[test]
fn a_rule_without_arguments() {
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["read", "getpid"], "action": "SCMP_ACT_ALLOW" }]
    }));
    assert_eq!(verdict(&program, X86_64, 0, &[]), ALLOW);
    assert_eq!(verdict(&program, X86_64, 1, &[]), EPERM);
    assert_eq!(verdict(&program, X86_64, 39, &[]), ALLOW);
}
