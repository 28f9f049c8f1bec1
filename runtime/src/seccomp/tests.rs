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
    run(program, &Call { arch, number, args: all }).action
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

/// podman's own: rules whose first comparison is the same, one going on where
/// it holds and the other where it fails.
#[test]
fn sockets_of_podmans_profile() {
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": [
                { "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }, { "index": 2, "value": 9, "op": "SCMP_CMP_EQ" }] },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 2, "value": 9, "op": "SCMP_CMP_NE" }] },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 16, "op": "SCMP_CMP_NE" }] }
        ]
    }));
    for (arch, number) in [(X86_64, 41), (X86_64, arch::X32_BIT | 41), (arch::AUDIT_I386, 359)] {
        assert_eq!(verdict(&program, arch, number, &[16, 3, 9]), profile::ERRNO | 22);
        assert_eq!(verdict(&program, arch, number, &[16, 3, 0]), ALLOW);
        assert_eq!(verdict(&program, arch, number, &[2, 1, 9]), ALLOW);
    } // socketcall(2): what a rule says of the first argument is not looked at.
    assert_eq!(verdict(&program, arch::AUDIT_I386, 102, &[1, 0, 9]), profile::ERRNO | 22);
    assert_eq!(verdict(&program, arch::AUDIT_I386, 102, &[1, 0, 8]), ALLOW);
    assert_eq!(verdict(&program, arch::AUDIT_I386, 102, &[2, 0, 8]), profile::ERRNO | 38);
}
