//! Every kind of mistake in a config.json gets runc's exit code, one line that
//! says what is wrong, and nothing is left behind.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, skip};
use serde_json::{Value, json};

struct Case {
    name: &'static str,
    /// JSON pointer and value; or the whole text for "".
    pointer: &'static str,
    value: Value,
    /// A part of the message.
    says: &'static str,
}

fn case(name: &'static str, pointer: &'static str, value: Value, says: &'static str) -> Case {
    Case { name, pointer, value, says }
}

fn cases() -> Vec<Case> {
    vec![
        case("not JSON", "", json!("hello"), "parse"),
        case("truncated", "", json!("{\"process\": {"), "EOF"),
        case("an array", "", json!("[]"), "expected struct Spec"),
        case("an array for a struct", "/process/user", json!([0, 0]), "expected struct User"),
        case("empty object", "", json!("{}"), "process is missing"),
        case("no process", "/process", json!(null), "process is missing"),
        case("no args", "/process/args", json!([]), "process.args must not be empty"),
        case("args a string", "/process/args", json!("sh"), "invalid type: string"),
        case("number among args", "/process/args", json!(["sh", 1]), "invalid type: integer"),
        case("no cwd", "/process/cwd", json!(""), "process.cwd must not be empty"),
        case("relative cwd", "/process/cwd", json!("tmp"), "absolute"),
        case("cwd a file", "/process/cwd", json!("/etc/passwd"), "not a directory"),
        case("uid a string", "/process/user/uid", json!("0"), "invalid type: string"),
        case("uid negative", "/process/user/uid", json!(-1), "invalid value"),
        case("uid too large", "/process/user/uid", json!(4_294_967_296u64), "invalid value"),
        case("uid -1", "/process/user/uid", json!(4_294_967_295u64), "is not an id"),
        case("env without =", "/process/env", json!(["FOO"]), "no '='"),
        case(
            "unknown rlimit",
            "/process/rlimits",
            json!([{"type": "RLIMIT_DREAMS", "hard": 1, "soft": 1}]),
            "RLIMIT_DREAMS",
        ),
        case(
            "soft above hard",
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "hard": 1, "soft": 2}]),
            "above the hard one",
        ),
        case("no such executable", "/process/args", json!(["/nosuch"]), "no such file or directory"),
        case("not in PATH", "/process/args", json!(["nosuch"]), "executable file not found in $PATH"),
        case("not executable", "/process/args", json!(["/etc/passwd"]), "permission denied"),
        case("a directory", "/process/args", json!(["/etc"]), "permission denied"),
        case("through a file", "/process/args", json!(["/etc/passwd/x"]), "not a directory"),
        case("closID a path", "/linux/intelRdt", json!({"closID": "a/b"}), "can't be the name of a group"),
        case("memBwSchema of a cache", "/linux/intelRdt", json!({"memBwSchema": "L3:0=f"}), "must begin with"),
        case("schemata of two lines", "/linux/intelRdt", json!({"schemata": ["a\nb"]}), "more than one line"),
        case("huge pages of no size", "/linux/resources", json!({"hugepageLimits": [{"limit": 1}]}), "pageSize \"\""),
        case("nice 50", "/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 50}), "nice 50 is not within"),
        case(
            "a deadline beyond its period",
            "/process/scheduler",
            json!({"policy": "SCHED_DEADLINE", "runtime": 100_000, "deadline": 300_000, "period": 200_000}),
            "runtime <= deadline <= period",
        ),
        case("no root", "/root", json!(null), "root is missing"),
        case("no root path", "/root/path", json!(""), "root.path is missing"),
        case("absent root", "/root/path", json!("nowhere"), "no such file or directory"),
        case("root a file", "/root/path", json!("config.json"), "not a directory"),
        case("readonly a string", "/root/readonly", json!("yes"), "invalid type: string"),
        case("mounts an object", "/mounts", json!({}), "invalid type: map"),
        case("mount without destination", "/mounts", json!([{"type": "tmpfs"}]), "destination is missing"),
        case(
            "mount over the root",
            "/mounts",
            json!([{"destination": "/", "type": "tmpfs", "source": "x"}]),
            "cover the root",
        ),
        case(
            "absent bind source",
            "/mounts",
            json!([{"destination": "/tmp", "type": "bind", "source": "/no/where", "options": ["bind"]}]),
            "/no/where: no such file or directory",
        ),
        case(
            "directory on a file",
            "/mounts",
            json!([{"destination": "/etc/passwd", "type": "bind", "source": "/tmp", "options": ["bind"]}]),
            "its target is a file",
        ),
        case(
            "unknown file system",
            "/mounts",
            json!([{"destination": "/tmp", "type": "dreamfs", "source": "x"}]),
            "dreamfs",
        ),
        case(
            "unknown mount option",
            "/mounts",
            json!([{"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["dream"]}]),
            "dream",
        ),
        case("unknown namespace", "/linux/namespaces/-", json!({"type": "dream"}), "does not exist"),
        case("namespace twice", "/linux/namespaces/-", json!({"type": "pid"}), "twice"),
        case(
            "absent namespace path",
            "/linux/namespaces/-",
            json!({"type": "user", "path": "/no/where"}),
            "no such file or directory",
        ),
        case("user namespace without maps", "/linux/namespaces/-", json!({"type": "user"}), "uidMappings"),
        case("hostname too long", "/hostname", json!("x".repeat(65)), "longer than 64"),
        case("foreign sysctl", "/linux/sysctl", json!({"kernel.core_pattern": "x"}), "not in a namespace"),
        case("unknown propagation", "/linux/rootfsPropagation", json!("dream"), "rootfsPropagation"),
        case("relative masked path", "/linux/maskedPaths", json!(["proc"]), "absolute"),
        case(
            "unknown device type",
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 1}]),
            "is not one of",
        ),
        case("unknown seccomp action", "/linux/seccomp", json!({"defaultAction": "SCMP_ACT_DREAM"}), "SCMP_ACT_DREAM"),
        case(
            "unknown seccomp operator",
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_DREAM"}]}]}),
            "SCMP_CMP_DREAM",
        ),
        case("hook with a relative path", "/hooks", json!({"prestart": [{"path": "true"}]}), "absolute"),
        case("limits a string", "/linux/resources/memory", json!({"limit": "1g"}), "invalid type: string"),
    ]
}

/// Where firn differs from Debian's runc on purpose: runc of 2023 does not look.
const STRICTER: [&str; 4] =
    ["hook with a relative path", "schemata of two lines", "nice 50", "a deadline beyond its period"];

#[test]
fn mistakes_are_told_in_one_line_with_runcs_exit_code() {
    let scratch = Scratch::new("mistakes");
    let firn = Runtime::firn(&scratch);
    let runc = Runtime::new(program("runc", "runc"), &scratch);
    let original = Bundle::new(&scratch).shell("true").write();
    for case in cases() {
        let _ = std::fs::remove_dir_all(scratch.join("bundle"));
        let bundle = Bundle::new(&scratch).shell("true");
        let bundle = match case.pointer {
            "" => {
                std::fs::write(bundle.path.join("config.json"), case.value.as_str().unwrap()).unwrap();
                bundle
            }
            pointer => bundle.set(pointer, case.value.clone()).write(),
        };
        let output = firn.run(&bundle);
        assert_eq!(output.code, 1, "{}: {output:?}", case.name);
        let errors: Vec<&str> = output.stderr.lines().filter(|line| line.contains("level=error")).collect();
        assert_eq!(errors.len(), 1, "{}: {output:?}", case.name);
        assert!(errors[0].contains(&case.says.replace('"', "\\\"")), "{}: {output:?}", case.name);
        firn.left_nothing();
        if !STRICTER.contains(&case.name) {
            assert_eq!(runc.run(&bundle).code, 1, "runc on {}", case.name);
        }
    }
    drop(original);
}

/// What is only unusual works as under runc, with a warning at most.
#[test]
fn what_is_only_unusual_works() {
    let scratch = Scratch::new("unusual");
    let firn = Runtime::firn(&scratch);
    let unusual = [
        ("unknown fields", "/vm", json!({"hypervisor": {"path": "/x"}})),
        ("nulls", "/annotations", json!(null)),
        ("unknown capability", "/process/capabilities/bounding", json!(["CAP_DREAM", "CAP_KILL"])),
        ("no ociVersion", "/ociVersion", json!("")),
        ("relative mount target", "/mounts/-", json!({"destination": "tmp", "type": "tmpfs", "source": "tmpfs"})),
        ("mount without source", "/mounts/-", json!({"destination": "/tmp", "type": "tmpfs"})),
        (
            "rprivate",
            "/mounts/-",
            json!({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["rprivate"]}),
        ),
        (
            "copy up",
            "/mounts/-",
            json!({"destination": "/etc", "type": "tmpfs", "source": "x", "options": ["tmpcopyup"]}),
        ),
        ("target with dots", "/mounts/-", json!({"destination": "/../../tmp", "type": "tmpfs", "source": "x"})),
        ("absent cwd", "/process/cwd", json!("/made/for/it")),
        ("no env", "/process/env", json!(null)),
    ];
    for (name, pointer, value) in unusual {
        let _ = std::fs::remove_dir_all(scratch.join("bundle"));
        let bundle = Bundle::new(&scratch).args(&["/bin/test", "-e", "/etc/passwd"]).set(pointer, value).write();
        let output = firn.run(&bundle);
        assert_eq!(output.code, 0, "{name}: {output:?}");
        assert_eq!(name == "unknown capability", output.stderr.contains("CAP_DREAM"), "{name}: {output:?}");
        firn.left_nothing();
    }
}

#[test]
fn a_missing_bundle_or_a_bad_name_is_told_before_anything_is_made() {
    let scratch = Scratch::new("nobundle");
    let firn = Runtime::firn(&scratch);
    let output = firn.call(&["run", "--bundle", "/no/where", firn.id()]).fails(1);
    assert!(output.stderr.contains("/no/where/config.json: no such file or directory"), "{output:?}");
    let bundle = Bundle::new(&scratch).shell("true").write();
    for id in ["..", "a/b", "a b", ""] {
        let output = firn.call(&["run", "--bundle", &bundle.path.to_string_lossy(), id]).fails(1);
        assert!(output.stderr.contains("invalid container ID format"), "{id}: {output:?}");
    }
    firn.left_nothing();
}

#[test]
fn caches_are_shared_only_where_resctrl_is() {
    if std::path::Path::new("/sys/fs/resctrl").exists() {
        skip("this machine has resctrl");
        return;
    }
    let scratch = Scratch::new("resctrl");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).args(&["true"]);
    let bundle = bundle.set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f"})).write();
    let error = firn.run(&bundle).fails(1).stderr;
    assert!(error.contains("needs a mounted resctrl file system, and this host has none"), "{error}");
    firn.left_nothing();
    let bundle = bundle.set("/linux/intelRdt", json!(null)).args(&["sleep", "1000"]).write();
    firn.create(&bundle).succeeds();
    let error = firn.call(&["update", "--l3-cache-schema", "L3:0=f", firn.id()]).fails(1).stderr;
    assert!(error.contains("no Intel RDT"), "{error}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}
