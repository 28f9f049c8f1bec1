//! What a careless or hostile caller hands down across execve(2): ignored and
//! blocked signals, closed standard streams, numbers of descriptors.

use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, binary, command};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

/// Runs `line` with every signal ignored and blocked. One that waits for a child
/// whose status the kernel has thrown away is cut off.
fn deaf(line: &Command) -> Output {
    let mut env = Command::new("timeout");
    env.args(["--signal", "KILL", "30", "env", "--ignore-signal", "--block-signal"]);
    command(env.arg(line.get_program()).args(line.get_args()))
}

/// Where SIGCHLD is ignored there is no status to wait for, and a child's pid can
/// be another process's at once (wait(2)).
#[test]
fn a_caller_that_ignores_sigchld_changes_nothing() {
    let scratch = Scratch::new("sigchld");
    let firn = Runtime::firn(&scratch);
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 0"]}]);
    let bundle = Bundle::new(&scratch)
        .shell("exit 7")
        .set("/hooks", json!({"createRuntime": hook, "poststart": hook, "poststop": hook}))
        .write();
    deaf(&firn.command(&["run", "--bundle", bundle.path.to_str().unwrap(), firn.id()])).fails(7);
    firn.left_nothing();
    let bundle = bundle.shell("sleep 1000").write();
    let line = ["run", "--detach", "--bundle", bundle.path.to_str().unwrap(), firn.id()];
    let mut quiet = Command::new("sh");
    quiet.args(["-c", "exec \"$@\" >/dev/null 2>&1", "sh"]);
    let run = firn.command(&line);
    deaf(quiet.arg(run.get_program()).args(run.get_args())).succeeds();
    deaf(&firn.command(&["exec", firn.id(), "sh", "-c", "exit 8"])).fails(8);
    deaf(&firn.command(&["delete", "--force", firn.id()])).succeeds();
    firn.left_nothing();
}

/// A program that ignores SIGTERM without knowing can't be stopped, and a shell
/// can't trap a signal that it was started to ignore.
#[test]
fn a_program_inherits_no_signal_settings() {
    let scratch = Scratch::new("sigign");
    let firn = Runtime::firn(&scratch);
    let settings = |status: &str| -> Vec<u64> {
        let lines = ["SigBlk:", "SigIgn:"].map(|name| status.lines().find_map(|line| line.strip_prefix(name)));
        lines.iter().map(|mask| u64::from_str_radix(mask.unwrap_or("1").trim(), 16).unwrap()).collect()
    };
    let bundle = Bundle::new(&scratch).args(&["grep", "^Sig", "/proc/self/status"]).write();
    let output = deaf(&firn.command(&["run", "--bundle", bundle.path.to_str().unwrap(), firn.id()])).succeeds();
    assert_eq!(settings(&output.stdout), [0, 0], "{output:?}");
    let bundle = bundle.shell("exec sleep 1000").write();
    let create = firn.command(&["create", "--bundle", bundle.path.to_str().unwrap(), firn.id()]);
    let mut quiet = Command::new("sh");
    quiet.args(["-c", "exec \"$@\" >/dev/null 2>&1", "sh"]).arg(create.get_program()).args(create.get_args());
    deaf(&quiet).succeeds();
    firn.start().succeeds();
    let status = std::fs::read_to_string(format!("/proc/{}/status", firn.state()["pid"])).unwrap();
    assert_eq!(settings(&status), [0, 0], "{status}");
    let output = deaf(&firn.command(&["exec", firn.id(), "grep", "^Sig", "/proc/self/status"])).succeeds();
    assert_eq!(settings(&output.stdout), [0, 0], "{output:?}");
}

/// The other programs of ours that have children.
#[test]
fn making_a_bundle_hears_of_its_children() {
    let scratch = Scratch::new("sigimage");
    let bin = scratch.directory("bin");
    let nix = scratch.write("bin/nix-store", "#!/bin/sh\necho error: said by the store >&2\nexit 3\n");
    std::fs::set_permissions(&nix, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut line = Command::new("env");
    line.arg(format!("PATH={}:/usr/bin:/bin", bin.display())).arg(binary("firn-image"));
    line.args(["bundle", "--closure", "/nix/store/00000000000000000000000000000000-none", "--output"])
        .arg(scratch.join("out"))
        .args(["--", "/bin/sh"]);
    let output = deaf(&line);
    assert!(output.stderr.contains("said by the store"), "{output:?}");
}

/// A number that the caller has closed would be one of ours: a directory of the
/// host, in the container.
#[test]
fn only_descriptors_that_the_caller_opened_are_preserved() {
    let scratch = Scratch::new("preserve");
    let firn = Runtime::firn(&scratch);
    let file = scratch.write("kept", "kept words\n");
    let list = "ls /proc/$$/fd; cat <&9";
    let bundle = Bundle::new(&scratch).shell(list).write();
    let opened = |number: &str, line: &Command| {
        // As `podman run --preserve-fd=9,40` calls: with a hole before, and one after.
        let script = format!("exec 9<{} 40</dev/null; exec \"$@\"", file.display());
        let mut bash = Command::new("bash");
        bash.args(["-c", &script, "bash"]).arg(line.get_program());
        bash.args(line.get_args().map(|word| if word == "NUMBER" { number.as_ref() } else { word }));
        command(&mut bash)
    };
    let run = ["run", "--preserve-fds", "NUMBER", "--bundle", bundle.path.to_str().unwrap(), firn.id()];
    let check = |output: Output, numbers: &[&str]| {
        let mut lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines.pop(), Some("kept words"), "{output:?}");
        // 10 is the shell's own; far above may be what the test itself inherited.
        lines.retain(|line| !["0", "1", "2", "10"].contains(line) && line.len() < 3);
        lines.sort_by_key(|line| line.parse::<u32>().unwrap());
        assert_eq!(lines, numbers, "{output:?}");
    };
    for (number, numbers) in [("7", &["9"][..]), ("38", &["9", "40"]), ("1000", &["9", "40"])] {
        check(opened(number, &firn.command(&run)).succeeds(), numbers);
    }
    // Sums and conversions of these wrap around.
    let large = ["2147483644", "2147483645", "2147483647", "4294967292", "4294967293", "4294967295"];
    for number in large {
        check(opened(number, &firn.command(&run)).succeeds(), &["9", "40"]);
    }
    let bundle = bundle.shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let exec = ["exec", "--preserve-fds", "NUMBER", firn.id(), "sh", "-c", list];
    for number in ["38"].iter().chain(&large) {
        check(opened(number, &firn.command(&exec)).succeeds(), &["9", "40"]);
    }
}

/// With a standard stream closed, the next file that is opened has its number: it
/// would be the container's, and belong to its user.
#[test]
fn closed_standard_streams_are_nobody_elses() {
    let scratch = Scratch::new("closed");
    let firn = Runtime::firn(&scratch);
    let list = "ls -l /proc/self/fd | grep ' [012] -> /dev/null' | wc -l > /out/lines";
    let out = scratch.directory("out");
    std::os::unix::fs::chown(&out, Some(1000), Some(1000)).unwrap();
    let bundle = Bundle::new(&scratch)
        .shell(list)
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .mount(json!({"destination": "/out", "type": "bind", "source": out, "options": ["bind"]}))
        .write();
    let closed = |line: Command| {
        let mut sh = Command::new("sh");
        sh.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]).arg(line.get_program()).args(line.get_args());
        command(&mut sh).succeeds();
        assert_eq!(std::fs::read_to_string(out.join("lines")).unwrap(), "2\n");
        std::fs::remove_file(out.join("lines")).unwrap();
    };
    std::fs::create_dir_all(firn.root()).unwrap();
    closed(firn.command(&["run", "--bundle", bundle.path.to_str().unwrap(), firn.id()]));
    let bundle = bundle.shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    closed(firn.command(&["exec", firn.id(), "sh", "-c", list]));
    for dir in [firn.root().to_owned(), firn.root().join(firn.id())] {
        assert_eq!(std::fs::metadata(&dir).unwrap().uid(), 0, "{}", dir.display());
    }
}
