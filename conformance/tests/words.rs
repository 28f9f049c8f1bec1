//! What scripts look for in a runtime's answers: runc's words and forms.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, binary, command};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn running(scratch: &Scratch) -> Runtime {
    let firn = Runtime::firn(scratch);
    firn.create(&Bundle::new(scratch).shell("sleep 1000").write()).succeeds();
    firn.start().succeeds();
    firn
}

#[test]
fn events_begin_with_type_and_id() {
    let scratch = Scratch::new("wordevents");
    let firn = running(&scratch);
    let line = firn.call(&["events", "--stats", firn.id()]).succeeds().stdout;
    assert!(line.starts_with(&format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{", firn.id())), "{line}");
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
}

/// `--debug` says what is being done, in the log and nowhere else.
#[test]
fn debugging_is_logged() {
    let scratch = Scratch::new("worddebug");
    let bundle = Bundle::new(&scratch).args(&["true"]).write();
    let firn = Runtime::firn(&scratch);
    let moments = ["nsexec container setup", "child process in init()", "init: closing the pipe to signal completion"];
    let run = ["run", "--bundle", bundle.path.to_str().unwrap(), firn.id()];
    let told = firn.call(&[&["--debug"], &run[..]].concat()).succeeds().stderr;
    assert!(moments.iter().all(|moment| told.contains(moment)) && told.contains("level=debug"), "{told}");
    assert_eq!(firn.call(&run).succeeds().stderr, "");
    let log = scratch.join("log");
    let globals = ["--debug", "--log", log.to_str().unwrap(), "--log-format", "json"];
    assert_eq!(firn.call(&[&globals, &run[..]].concat()).succeeds().stderr, "");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line["level"] == "debug"), "{text}");
    let other = Scratch::new("worddebugexec");
    let firn = running(&other);
    let told = firn.call(&["--debug", "exec", firn.id(), "true"]).succeeds().stderr;
    assert!(told.contains("setns_init: about to exec"), "{told}");
    assert!(moments.iter().all(|moment| told.contains(moment)), "{told}");
}

#[test]
fn an_unknown_command_has_no_help() {
    let scratch = Scratch::new("wordhelp");
    let firn = Runtime::firn(&scratch);
    for line in [&["crate"][..], &["crate", "-h"]] {
        let output = firn.call(line).fails(3);
        assert!(output.stderr.contains("No help topic for 'crate'"), "{output:?}");
    }
    assert!(firn.call(&["crate"]).stderr.contains("'create'"), "what was meant is said");
    for line in ["-v", "-V", "--version"] {
        let output = firn.call(&[line]).succeeds();
        assert!(output.stdout.contains("spec: 1.3.0"), "{output:?}");
    }
}

/// A process or resources from a shell's `<(…)`.
#[test]
fn files_may_be_pipes() {
    let scratch = Scratch::new("wordpipe");
    let firn = running(&scratch);
    let script = "exec 3< <(printf '{\"args\": [\"/bin/echo\", \"from a pipe\"], \"cwd\": \"/\"}'); \
                  \"$0\" --root \"$1\" exec --process /dev/fd/3 \"$2\"";
    let line = firn.command(&["exec"]);
    let program = line.get_program().to_owned();
    let mut shell = Command::new("bash");
    shell.args(["-c", script]).arg(program).arg(firn.root()).arg(firn.id());
    assert_eq!(command(&mut shell).succeeds().stdout, "from a pipe\n");
}

#[test]
fn a_cgroup_below_is_named_in_runcs_words() {
    let scratch = Scratch::new("wordcgroup");
    let firn = running(&scratch);
    for (cgroup, says) in [
        ("..", " .. is not a sub cgroup path"),
        ("nonexistent", "/nonexistent/cgroup.procs: no such file or directory"),
        ("whaaat:/", "unknown controller whaaat"),
    ] {
        let output = firn.call(&["exec", "--cgroup", cgroup, firn.id(), "true"]).fails(255);
        assert!(output.stderr.contains(says), "{output:?}");
    }
    firn.call(&["exec", "--cgroup", "/", firn.id(), "true"]).succeeds();
}

/// Where a rule kills what a hook of the container does, that is said.
#[test]
fn a_hook_that_a_signal_ends_is_named_with_it() {
    let scratch = Scratch::new("wordhook");
    let bundle = Bundle::new(&scratch)
        .args(&["true"])
        .set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW",
              "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL"}]}),
        )
        .set("/hooks", json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "mkdir /dev/shm/x"]}]}))
        .write();
    let output = Runtime::firn(&scratch).run(&bundle).fails(1);
    for says in ["error running startContainer hook #0: ", "error running hook", "bad system call"] {
        assert!(output.stderr.contains(says), "{output:?}");
    }
}

/// A script whose interpreter is missing is known only when it is run: bare, among
/// what programs say; and in the log where there is one.
#[test]
fn a_program_that_can_not_be_run_is_told_bare() {
    let scratch = Scratch::new("wordexecve");
    let bundle = Bundle::new(&scratch).args(&["/run.sh"]).write();
    let script = bundle.root().join("run.sh");
    std::fs::write(&script, "#!/missing\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let expected = "exec /run.sh: no such file or directory\n";
    for runtime in [Runtime::firn(&scratch), Runtime::new(program("runc", "runc"), &scratch)] {
        assert_eq!(runtime.run(&bundle).fails(1).stderr, expected, "{runtime:?}");
    }
    let firn = Runtime::firn(&scratch);
    let log = scratch.join("log");
    let run = ["--log", log.to_str().unwrap(), "run", "--bundle", bundle.path.to_str().unwrap(), firn.id()];
    assert_eq!(firn.call(&run).fails(1).stderr, expected);
    assert!(std::fs::read_to_string(&log).unwrap().contains(expected.trim()));
    let other = Scratch::new("wordexecvejoin");
    let firn = running(&other);
    std::fs::copy(&script, other.join("bundle/rootfs/run.sh")).unwrap();
    assert_eq!(firn.exec(&["/run.sh"]).fails(255).stderr, expected);
}

#[test]
fn a_root_that_is_named_must_be_there_to_be_listed() {
    let scratch = Scratch::new("wordroot");
    let list = |root: &str| command(Command::new(binary("firn")).args(["--root", root, "list", "--quiet"]));
    let missing = scratch.join("missing");
    let error = list(missing.to_str().unwrap()).fails(1).stderr;
    assert!(error.contains("missing: no such file or directory"), "{error}");
    assert_eq!(list(scratch.path().to_str().unwrap()).succeeds().stdout, "");
}
