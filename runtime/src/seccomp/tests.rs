//! Tests of the compiler by the interpreter.

use super::interpret::{Call, run};
use super::*;
use serde_json::{Value, json};

const X86_64: u32 = abi::AUDIT_X86_64;
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

fn error(value: Value) -> String {
    compile(&spec(value), &Log::quiet()).unwrap_err().chain()
}

fn rule(action: &str, name: &str, args: Value) -> Value {
    json!({ "names": [name], "action": action, "args": args })
}

/// A profile for x86-64 with default EPERM.
fn profile(rules: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules })
}

#[test]
fn every_action_and_its_data() {
    for (action, errno, expected) in [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", Some(5), 0x8000_0000),
        ("SCMP_ACT_TRAP", Some(5), 0x0003_0000),
        ("SCMP_ACT_ERRNO", None, 0x0005_0001),
        ("SCMP_ACT_ERRNO", Some(0), 0x0005_0000),
        ("SCMP_ACT_ERRNO", Some(38), 0x0005_0026),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
        ("SCMP_ACT_TRACE", Some(0xffff), 0x7ff0_ffff),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_ALLOW", None, 0x7fff_0000),
    ] {
        let as_rule = program(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 7,
            "syscalls": [{ "names": ["read"], "action": action, "errnoRet": errno }, rule("SCMP_ACT_ALLOW", "close", json!([]))]
        }));
        assert_eq!(verdict(&as_rule, X86_64, 0, &[]), expected, "{action}");
        assert_eq!(verdict(&as_rule, X86_64, 1, &[]), profile::ERRNO | 7, "{action}");
        let as_default = program(json!({ "defaultAction": action, "defaultErrnoRet": errno }));
        assert_eq!(verdict(&as_default, X86_64, 0, &[]), expected, "{action}");
    }
}

#[test]
fn every_operator_compares_64_bits() {
    const BIG: u64 = 1 << 32 | 5;
    for (op, holds, fails) in [
        ("SCMP_CMP_EQ", &[BIG][..], &[5, 1 << 32, BIG + 1][..]),
        ("SCMP_CMP_NE", &[5, 1 << 32, BIG + (1 << 32)], &[BIG]),
        ("SCMP_CMP_LT", &[0, 6, u32::MAX as u64, BIG - 1], &[BIG, BIG + 1, 2 << 32, u64::MAX]),
        ("SCMP_CMP_LE", &[0, 6, BIG - 1, BIG], &[BIG + 1, 2 << 32, u64::MAX]),
        ("SCMP_CMP_GT", &[BIG + 1, 2 << 32, u64::MAX], &[0, 6, u32::MAX as u64, BIG]),
        ("SCMP_CMP_GE", &[BIG, BIG + 1, 2 << 32, u64::MAX], &[0, 6, u32::MAX as u64, BIG - 1]),
    ] {
        let program =
            program(profile(json!([rule("SCMP_ACT_ALLOW", "read", json!([{ "index": 2, "value": BIG, "op": op }]))])));
        for value in holds {
            assert_eq!(verdict(&program, X86_64, 0, &[0, 0, *value]), ALLOW, "{value:#x} {op}");
        }
        for value in fails {
            assert_eq!(verdict(&program, X86_64, 0, &[0, 0, *value]), EPERM, "{value:#x} {op}");
        }
    }
}

#[test]
fn masks() {
    for (mask, value, holds, fails) in [
        // docker's rule for clone: no new namespaces
        (0x7e02_0000u64, 0u64, &[0u64, 0x11, 1 << 40][..], &[0x0002_0000u64, 0x1000_0000][..]),
        (0xff << 32, 5 << 32, &[5 << 32, 5 << 32 | 77], &[0, 5, 6 << 32]),
        (u64::MAX, 9, &[9], &[8, 1 << 32 | 9]),
        // bits outside of the mask don't count
        (0xf, 0xff, &[0xf, 0x1f], &[0xe]),
        (0, 1, &[0, 1, u64::MAX], &[]),
    ] {
        let arg = json!([{ "index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" }]);
        let program = program(profile(json!([rule("SCMP_ACT_ALLOW", "clone", arg)])));
        for given in holds {
            assert_eq!(verdict(&program, X86_64, 56, &[*given]), ALLOW, "{given:#x} & {mask:#x} == {value:#x}");
        }
        for given in fails {
            assert_eq!(verdict(&program, X86_64, 56, &[*given]), EPERM, "{given:#x} & {mask:#x} == {value:#x}");
        }
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives_and_on_several_are_not() {
    let eq = |index: u32, value: u64| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    let program = program(profile(json!([
        rule("SCMP_ACT_ALLOW", "read", json!([eq(0, 1), eq(1, 2)])),
        rule("SCMP_ACT_ALLOW", "write", json!([eq(0, 1), eq(0, 2), eq(3, 4)])),
    ])));
    for (args, read, write) in [
        ([1, 2, 0, 0], ALLOW, ALLOW),
        ([1, 3, 0, 0], EPERM, ALLOW),
        ([2, 2, 0, 0], EPERM, ALLOW),
        ([3, 2, 0, 4], EPERM, ALLOW),
        ([3, 2, 0, 0], EPERM, EPERM),
    ] {
        assert_eq!(verdict(&program, X86_64, 0, &args), read, "{args:?}");
        assert_eq!(verdict(&program, X86_64, 1, &args), write, "{args:?}");
    }
}

#[test]
fn which_of_several_rules_decides() {
    let arg = |index: u32, op: &str, value: u64| json!([{ "index": index, "value": value, "op": op }]);
    let (allow, trap, log) = ("SCMP_ACT_ALLOW", "SCMP_ACT_TRAP", "SCMP_ACT_LOG");
    let decides = |rules: [Value; 2], args: &[u64]| verdict(&program(profile(json!(rules))), X86_64, 0, args);
    let both = |a: &Value, b: &Value, args: &[u64]| {
        let result = decides([a.clone(), b.clone()], args);
        assert_eq!(result, decides([b.clone(), a.clone()], args), "the order of the profile mattered");
        result
    };
    const TRAP: u32 = 0x0003_0000;
    // without conditions before with conditions, the first of those without
    assert_eq!(both(&rule(trap, "read", json!([])), &rule(allow, "read", arg(0, "SCMP_CMP_EQ", 1)), &[1]), TRAP);
    assert_eq!(decides([rule(trap, "read", json!([])), rule(log, "read", json!([]))], &[]), TRAP);
    // a later argument before an earlier one
    let (first, second) = (arg(0, "SCMP_CMP_EQ", 1), arg(1, "SCMP_CMP_EQ", 1));
    assert_eq!(both(&rule(allow, "read", first), &rule(trap, "read", second), &[1, 1]), TRAP);
    // equality before order, below before above
    let (eq, lt, gt) = (arg(0, "SCMP_CMP_EQ", 5), arg(0, "SCMP_CMP_LT", 9), arg(0, "SCMP_CMP_GT", 2));
    assert_eq!(both(&rule(allow, "read", lt.clone()), &rule(trap, "read", eq), &[5]), TRAP);
    assert_eq!(both(&rule(allow, "read", gt.clone()), &rule(trap, "read", lt), &[5]), TRAP);
    // the narrower of two bounds
    assert_eq!(both(&rule(allow, "read", gt), &rule(trap, "read", arg(0, "SCMP_CMP_GT", 4)), &[5]), TRAP);
    let (wide, narrow) = (arg(0, "SCMP_CMP_LE", 9), arg(0, "SCMP_CMP_LE", 7));
    assert_eq!(both(&rule(allow, "read", wide), &rule(trap, "read", narrow), &[5]), TRAP);
}

#[test]
fn the_same_conditions_with_different_actions_are_an_error() {
    let arg = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]);
    let rules = json!([rule("SCMP_ACT_ALLOW", "read", arg.clone()), rule("SCMP_ACT_LOG", "read", arg.clone())]);
    assert_eq!(error(profile(rules)), "system call 0: rules with the same conditions have different actions");
    let rules = json!([rule("SCMP_ACT_LOG", "read", arg.clone()), rule("SCMP_ACT_LOG", "read", arg)]);
    assert_eq!(verdict(&program(profile(rules)), X86_64, 0, &[1]), profile::LOG);
}

#[test]
fn numbers_without_a_rule() {
    const ENOSYS: u32 = 0x0005_0026;
    const X32: u32 = abi::X32_BIT;
    let with = |archs: &[&str], default: &str| {
        program(json!({
            "defaultAction": default, "architectures": archs,
            "syscalls": [rule("SCMP_ACT_TRAP", "openat2", json!([])), rule(default, "getcpu", json!([]))]
        }))
    };
    let native = with(&[], "SCMP_ACT_ERRNO");
    let all = with(&["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "SCMP_ACT_ERRNO");
    for (number, expected_native, expected_all) in [
        (436, EPERM, EPERM),
        (437, 0x0003_0000, 0x0003_0000),
        (438, ENOSYS, ENOSYS),
        (X32 - 1, ENOSYS, ENOSYS),
        (X32, 0, EPERM),
        (X32 | 437, 0, 0x0003_0000),
        (X32 | 438, 0, ENOSYS),
        (2 * X32 - 1, 0, ENOSYS),
        (2 * X32, ENOSYS, ENOSYS),
        (3 * X32, 0, ENOSYS),
        (u32::MAX - 1, 0, ENOSYS),
        (u32::MAX, EPERM, ENOSYS),
    ] {
        assert_eq!(verdict(&native, X86_64, number, &[]), expected_native, "{number:#x}");
        assert_eq!(verdict(&all, X86_64, number, &[]), expected_all, "{number:#x}");
    }
    assert_eq!(verdict(&native, abi::AUDIT_I386, 437, &[]), 0);
    assert_eq!(verdict(&all, abi::AUDIT_I386, 437, &[]), 0x0003_0000);
    assert_eq!(verdict(&all, abi::AUDIT_I386, 438, &[]), ENOSYS);
    assert_eq!(verdict(&all, 0xc000_00b7, 437, &[]), 0);
    for (default, expected) in
        [("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_LOG", profile::LOG), ("SCMP_ACT_TRACE", 0x7ff0_0001)]
    {
        assert_eq!(verdict(&with(&[], default), X86_64, 438, &[]), expected, "{default}");
    }
}

#[test]
fn long_programs_jump_far() {
    let names = ["read", "write", "open", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap"];
    let of = |name: usize, value: usize| {
        rule("SCMP_ACT_ALLOW", names[name], json!([{ "index": 5, "value": value * 30 + name, "op": "SCMP_CMP_EQ" }]))
    };
    let rules: Vec<Value> = (0..700).map(|n| of(n / 70, n % 70)).collect();
    let long = program(profile(json!(rules)));
    assert!(long.len() > 2000);
    for number in 0..10 {
        for value in 0..2200 {
            let expected = if value % 30 == u64::from(number) && value < 2100 { ALLOW } else { EPERM };
            assert_eq!(verdict(&long, X86_64, number, &[0, 0, 0, 0, 0, value]), expected, "{number} {value}");
        }
    }
    let mut doubled = profile(json!(rules));
    doubled["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert!(error(doubled).ends_with("instructions, the kernel takes 4096"));
}

#[test]
fn listeners() {
    let notify = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"],
        "syscalls": [rule("SCMP_ACT_NOTIFY", "mkdir", json!([]))]
    });
    assert_eq!(error(notify.clone()), "seccomp listenerPath is not set");
    let mut with_path = notify;
    with_path["listenerPath"] = json!("/run/agent");
    let filter = compile(&spec(with_path), &Log::quiet()).unwrap();
    assert_eq!(filter.listener, Some(Listener { path: "/run/agent".into(), metadata: String::new() }));
    assert_eq!(filter.flags, 1 << 3 | 1 << 5);
    assert_eq!(verdict(&filter.program, X86_64, 83, &[]), NOTIFY);
    assert_eq!(
        error(json!({ "defaultAction": "SCMP_ACT_NOTIFY" })),
        "SCMP_ACT_NOTIFY cannot be used as default action"
    );
    assert_eq!(
        error(profile(json!([rule("SCMP_ACT_NOTIFY", "write", json!([]))]))),
        "SCMP_ACT_NOTIFY cannot be used for the write syscall"
    );
}

#[test]
fn flags() {
    let with =
        |flags: Value| compile(&spec(json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": flags })), &Log::quiet());
    assert_eq!(with(Value::Null).unwrap().flags, 4);
    assert_eq!(with(json!([])).unwrap().flags, 0);
    let all = json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    assert_eq!(with(all).unwrap().flags, 2 | 4);
    assert!(with(json!(["SECCOMP_FILTER_FLAG_X"])).is_err());
    assert!(with(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])).is_err());
}

#[test]
fn mistakes() {
    let arg =
        |index: u32, op: &str| profile(json!([rule("SCMP_ACT_ALLOW", "read", json!([{ "index": index, "op": op }]))]));
    for (value, expected) in [
        (json!({ "defaultAction": "SCMP_ACT_X" }), "unknown action \"SCMP_ACT_X\""),
        (profile(json!([rule("", "read", json!([]))])), "unknown action \"\""),
        (arg(0, "SCMP_CMP_X"), "unknown operator \"SCMP_CMP_X\""),
        (arg(6, "SCMP_CMP_EQ"), "a system call has no argument 6"),
        (profile(json!([rule("SCMP_ACT_ALLOW", "", json!([]))])), "a rule has an empty name"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"] }),
            "unknown architecture \"SCMP_ARCH_VAX\"",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 65536 }),
            "errnoRet of SCMP_ACT_ERRNO is larger than 65535",
        ),
    ] {
        assert_eq!(error(value), expected);
    }
}

#[test]
fn unknown_names_and_empty_profiles() {
    let program = program(profile(json!([
        rule("SCMP_ACT_ALLOW", "no_such_call", json!([])),
        rule("SCMP_ACT_ALLOW", "read", json!([]))
    ])));
    assert_eq!(verdict(&program, X86_64, 0, &[]), ALLOW);
    let spec = spec(profile(json!([
        rule("SCMP_ACT_ALLOW", "no_such_call", json!([])),
        rule("SCMP_ACT_ALLOW", "cacheflush", json!([]))
    ])));
    assert_eq!(Profile::parse(&spec).unwrap().unknown, ["no_such_call"]);
    let nothing = super::compile(&Seccomp::default(), &Log::quiet()).unwrap();
    assert_eq!(verdict(&nothing.program, X86_64, 0, &[]), ALLOW);
}

#[test]
fn features_come_from_the_tables() {
    let features = features();
    for (list, name) in [
        ("actions", "SCMP_ACT_KILL_PROCESS"),
        ("operators", "SCMP_CMP_MASKED_EQ"),
        ("archs", "SCMP_ARCH_X32"),
        ("knownFlags", "SECCOMP_FILTER_FLAG_LOG"),
        ("supportedFlags", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    ] {
        assert!(features[list].as_array().unwrap().contains(&json!(name)), "{list}");
    }
}

/// podman's rules for socket(2): the same first comparison, which one rule needs to hold and the
/// other to fail.
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
    for (arch, number) in [(X86_64, 41), (X86_64, abi::X32_BIT | 41), (abi::AUDIT_I386, 359)] {
        assert_eq!(verdict(&program, arch, number, &[16, 3, 9]), profile::ERRNO | 22);
        assert_eq!(verdict(&program, arch, number, &[16, 3, 0]), ALLOW);
        assert_eq!(verdict(&program, arch, number, &[2, 1, 9]), ALLOW);
    } // socketcall(2): what a rule says of the first argument is not looked at.
    assert_eq!(verdict(&program, abi::AUDIT_I386, 102, &[1, 0, 9]), profile::ERRNO | 22);
    assert_eq!(verdict(&program, abi::AUDIT_I386, 102, &[1, 0, 8]), ALLOW);
    assert_eq!(verdict(&program, abi::AUDIT_I386, 102, &[2, 0, 8]), profile::ERRNO | 38);
}
