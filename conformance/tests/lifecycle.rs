//! Create, start, state, kill, delete, run, exec, list, ps: what engines and
//! people do all day.

use firn_conformance::harness::{Bundle, Runtime, Scratch, command, skip, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn a_container_goes_from_created_to_stopped_and_leaves_nothing() {
    let scratch = Scratch::new("life");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    let pid_file = scratch.join("pid");
    firn.create_with(&bundle, &["--pid-file", &pid_file.to_string_lossy()]).succeeds();
    let state = firn.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], firn.id());
    assert_eq!(state["bundle"], bundle.path.to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.root().to_str().unwrap());
    assert_eq!(state["owner"], "root");
    assert_eq!(state["pid"].to_string(), std::fs::read_to_string(&pid_file).unwrap());
    firn.start().succeeds();
    assert_eq!(firn.status(), "running");
    assert!(firn.start().fails(1).stderr.contains("cannot start an already running container"));
    let refused = firn.call(&["delete", firn.id()]).fails(1);
    assert!(refused.stderr.contains(&format!("cannot delete container {} that is not stopped: running", firn.id())));
    firn.call(&["kill", firn.id(), "KILL"]).succeeds();
    firn.wait_for("stopped");
    assert_eq!(firn.state()["pid"], 0);
    assert!(firn.call(&["kill", firn.id()]).fails(1).stderr.contains("container not running"));
    firn.call(&["kill", "--all", firn.id(), "KILL"]).succeeds();
    assert!(firn.start().fails(1).stderr.contains("cannot start a container that has stopped"));
    assert!(firn.exec(&["true"]).fails(255).stderr.contains("cannot exec in a stopped container"));
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn an_absent_container_is_named_as_such() {
    let scratch = Scratch::new("absent");
    let firn = Runtime::firn(&scratch);
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
        let output = firn.call(&[verb, "nobody"]).fails(1);
        assert!(output.stderr.contains("container does not exist"), "{verb}: {output:?}");
    }
    assert!(firn.call(&["exec", "nobody", "true"]).fails(255).stderr.contains("container does not exist"));
    firn.call(&["delete", "--force", "nobody"]).succeeds();
}

#[test]
fn delete_force_ends_what_runs() {
    let scratch = Scratch::new("force");
    let bundle = Bundle::new(&scratch).shell("trap '' TERM; sleep 1000 & wait").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn a_created_container_can_be_deleted_without_force() {
    let scratch = Scratch::new("uncreate");
    let bundle = Bundle::new(&scratch).shell("true").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    assert!(firn.create(&bundle).fails(1).stderr.contains("container with given ID already exists"));
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn run_gives_the_programs_status() {
    let scratch = Scratch::new("status");
    let firn = Runtime::firn(&scratch);
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 133", 133), ("kill -9 $$; exit 1", 1)] {
        firn.run(&Bundle::bare_with(&scratch, script)).fails(code);
        firn.left_nothing();
    }
    // Init can't kill itself; a child that is killed shows as 128 and the signal.
    firn.run(&Bundle::bare_with(&scratch, "sh -c 'kill -TERM $$'; exit $?")).fails(143);
    firn.left_nothing();
}

trait BareWith {
    fn bare_with(scratch: &Scratch, script: &str) -> Bundle;
}

impl BareWith for Bundle {
    /// One bundle, written anew with another script.
    fn bare_with(scratch: &Scratch, script: &str) -> Bundle {
        let _ = std::fs::remove_dir_all(scratch.join("bundle"));
        Bundle::new(scratch).shell(script).write()
    }
}

#[test]
fn run_passes_signals_on_and_output_through() {
    let scratch = Scratch::new("signal");
    let bundle =
        Bundle::new(&scratch).shell("trap 'echo got it; exit 5' TERM; echo up; while :; do sleep 0.05; done").write();
    let firn = Runtime::firn(&scratch);
    let run = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let mut child = { run }.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("run firn");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.expect("read its output"));
    assert_eq!(lines.next().as_deref(), Some("up"));
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("send TERM");
    assert_eq!(lines.collect::<Vec<_>>(), ["got it"]);
    assert_eq!(child.wait().expect("wait for firn").code(), Some(5));
    firn.left_nothing();
}

#[test]
fn exec_joins_and_gives_the_programs_status() {
    let scratch = Scratch::new("exec");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    firn.exec(&["sh", "-c", "exit 9"]).fails(9);
    firn.exec(&["sh", "-c", "kill -TERM $$"]).fails(143);
    assert_eq!(firn.exec(&["hostname"]).succeeds().stdout, "firn\n");
    assert!(firn.exec(&["nosuch"]).fails(255).stderr.contains("executable file not found in $PATH"));
    assert!(firn.exec(&["/etc/passwd"]).fails(255).stderr.contains("permission denied"));
    assert!(firn.exec(&["/nosuch"]).fails(255).stderr.contains("no such file or directory"));
    let with = |options: &[&str], command: &[&str]| {
        firn.call(&[&["exec"], options, &[firn.id()], command].concat()).succeeds().stdout
    };
    assert_eq!(with(&["--user", "1000:1001", "-g", "7"], &["id"]), "uid=1000(app) gid=1001 groups=7\n");
    assert_eq!(with(&["--env", "A=b c"], &["sh", "-c", "echo $A"]), "b c\n");
    assert_eq!(with(&["--cwd", "/bin"], &["pwd"]), "/bin\n");
    // Options stand before or after the id.
    let after = firn.call(&["exec", firn.id(), "ls", "-d", "/bin"]).succeeds();
    assert_eq!(after.stdout, "/bin\n");
    // The namespaces and the cgroup are those of init.
    let namespaces = "for n in pid mnt net ipc uts cgroup; do readlink /proc/$1/ns/$n; done";
    let of = |pid: &str| firn.exec(&["sh", "-c", namespaces, "sh", pid]).succeeds().stdout;
    assert_eq!(of("self"), of("1"));
    assert_eq!(with(&[], &["cat", "/proc/self/cgroup"]), with(&[], &["cat", "/proc/1/cgroup"]));
}

#[test]
fn exec_takes_a_process_from_a_file_and_detaches() {
    let scratch = Scratch::new("execfile");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").set("/root/readonly", json!(false)).write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let process = json!({"args": ["sh", "-c", "echo $A > /tmp/out; sleep 1000"], "env": ["A=x", "PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    let file = scratch.write("process.json", &process.to_string());
    let pid_file = scratch.join("exec.pid");
    let mut exec = firn.command(&[
        "exec",
        "--detach",
        "--process",
        &file.to_string_lossy(),
        "--pid-file",
        &pid_file.to_string_lossy(),
        firn.id(),
    ]);
    let status = exec.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("exec");
    assert!(status.success());
    let out = || std::fs::read_to_string(bundle.root().join("tmp/out")).unwrap_or_default();
    wait_until("the program has written x", || out() == "x\n");
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().parse().expect("a pid");
    let pids: Value =
        serde_json::from_str(&firn.call(&["ps", "--format", "json", firn.id()]).succeeds().stdout).unwrap();
    assert!(pids.as_array().unwrap().contains(&json!(pid)), "{pid} in {pids}");
}

#[test]
fn list_and_ps_show_what_runs() {
    let scratch = Scratch::new("list");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    std::fs::create_dir(scratch.join("state-firn")).unwrap();
    assert_eq!(firn.call(&["list", "-f", "json"]).succeeds().stdout, "[]\n");
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let table = firn.call(&["list"]).succeeds().stdout;
    assert!(table.starts_with("ID ") && table.contains("running") && table.contains(firn.id()), "{table}");
    assert_eq!(firn.call(&["list", "--quiet"]).succeeds().stdout, format!("{}\n", firn.id()));
    let list: Value = serde_json::from_str(&firn.call(&["list", "-f", "json"]).succeeds().stdout).unwrap();
    assert_eq!(list[0]["id"], firn.id());
    let ps = firn.call(&["ps", firn.id()]).succeeds().stdout;
    assert!(ps.lines().count() == 2 && ps.contains("sleep 1000"), "{ps}");
    let ps = firn.call(&["ps", firn.id(), "-e", "-o", "pid,comm"]).succeeds().stdout;
    assert!(ps.lines().count() == 2, "{ps}");
}

#[test]
fn pause_stops_every_process_and_resume_lets_them_go_on() {
    let scratch = Scratch::new("pause");
    let bundle = Bundle::new(&scratch)
        .shell("n=0; while :; do n=$((n+1)); echo $n > /tmp/t; mv /tmp/t /tmp/tick; sleep 0.01; done");
    let bundle = bundle
        .mount(
            json!({"destination": "/tmp", "type": "bind", "source": scratch.directory("shared"), "options": ["rbind"]}),
        )
        .write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let tick = || std::fs::read_to_string(scratch.join("shared/tick")).unwrap_or_default();
    wait_until("the container ticks", || !tick().is_empty());
    firn.call(&["pause", firn.id()]).succeeds();
    assert_eq!(firn.status(), "paused");
    let before = tick();
    // Some twenty ticks would be.
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(tick(), before);
    assert!(firn.exec(&["true"]).fails(255).stderr.contains("paused"));
    firn.call(&["resume", firn.id()]).succeeds();
    assert_eq!(firn.status(), "running");
    wait_until("the container ticks again", || tick() != before);
    // Ending works from the frozen state too.
    firn.call(&["pause", firn.id()]).succeeds();
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

#[test]
fn preserved_descriptors_reach_the_program_and_no_others() {
    let scratch = Scratch::new("fds");
    let bundle = Bundle::new(&scratch).shell("ls -l /proc/self/fd; cat <&3").write();
    let firn = Runtime::firn(&scratch);
    let file = scratch.write("kept", "kept words\n");
    let line = format!(
        "exec 3<{} 4</ 5</etc 9</; exec {} --root {} run --preserve-fds 1 --bundle {} {}",
        file.display(),
        firn_conformance::harness::binary("firn").display(),
        firn.root().display(),
        bundle.path.display(),
        firn.id()
    );
    let output = command(std::process::Command::new("bash").args(["-c", &line])).succeeds();
    assert!(output.stdout.ends_with("kept words\n"), "{output:?}");
    assert!(
        output.stdout.contains("3 -> ") && !output.stdout.contains("4 -> /\n") && !output.stdout.contains("9 -> "),
        "{output:?}"
    );
}

/// At whatever moment `create` or `run` is killed, `delete --force` clears up.
#[test]
fn a_killed_create_leaves_nothing_that_delete_would_not_remove() {
    let scratch = Scratch::new("killed");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    let bundle = bundle.path.to_string_lossy().into_owned();
    for step in 0..40u32 {
        let verb: &[&str] = if step % 2 == 0 { &["create"] } else { &["run", "--detach"] };
        let mut create = firn.command(&[verb, &["--bundle", &bundle, firn.id()]].concat());
        let mut child =
            create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("create");
        std::thread::sleep(std::time::Duration::from_micros(u64::from(step) * 250));
        child.kill().expect("kill create");
        child.wait().expect("wait for create");
        firn.call(&["delete", "--force", firn.id()]).succeeds();
        firn.left_nothing();
    }
}

#[test]
fn errors_go_to_the_log_as_engines_read_them() {
    let scratch = Scratch::new("log");
    let firn = Runtime::firn(&scratch);
    let log = scratch.join("log.json");
    let line = ["--log", &log.to_string_lossy(), "--log-format=json", "state", "nobody"];
    let output = firn.call(&line).fails(1);
    let entry: Value = serde_json::from_str(std::fs::read_to_string(&log).unwrap().trim()).expect("one JSON object");
    assert_eq!(entry["level"], "error");
    assert_eq!(entry["msg"].as_str().unwrap(), output.stderr.trim());
    assert!(entry["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_mistyped_word_says_what_was_meant() {
    let scratch = Scratch::new("typo");
    let firn = Runtime::firn(&scratch);
    assert!(firn.call(&["crate", "x"]).fails(3).stderr.contains("create"));
    assert!(firn.call(&["create", "--bundel", "x", "y"]).fails(1).stderr.contains("--bundle"));
}

#[test]
fn a_paused_container_is_paused_whatever_it_was_and_can_always_be_ended() {
    let scratch = Scratch::new("frozen");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.call(&["pause", firn.id()]).succeeds();
    assert_eq!(firn.status(), "paused");
    assert!(firn.start().fails(1).stderr.contains("paused"));
    assert!(firn.call(&["delete", firn.id()]).fails(1).stderr.contains("not stopped: paused"));
    firn.call(&["resume", firn.id()]).succeeds();
    assert_eq!(firn.status(), "created");
    firn.start().succeeds();
    firn.call(&["pause", firn.id()]).succeeds();
    firn.call(&["kill", "--all", firn.id(), "KILL"]).succeeds();
    firn.wait_for("stopped");
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

/// Somebody's frozen cgroup would stop init for ever.
#[test]
fn a_frozen_cgroup_is_refused() {
    let scratch = Scratch::new("ice");
    let bundle = Bundle::new(&scratch).shell("true").write();
    let firn = Runtime::firn(&scratch);
    let (v1, v2) = ("/sys/fs/cgroup/freezer", "/sys/fs/cgroup");
    let (dir, file, ice) = match std::path::Path::new(v1).is_dir() {
        true => (std::path::Path::new(v1).join(firn.id()), "freezer.state", "FROZEN"),
        false => (std::path::Path::new(v2).join(firn.id()), "cgroup.freeze", "1"),
    };
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join(file), ice).unwrap();
    let output = firn.run(&bundle);
    std::fs::remove_dir(&dir).unwrap();
    assert!(output.fails(1).stderr.contains("container's cgroup unexpectedly frozen"));
    firn.left_nothing();
}

#[test]
fn a_root_may_be_named_by_a_link() {
    let scratch = Scratch::new("linked");
    let bundle = Bundle::new(&scratch).shell("echo here").set("/root/path", json!("link")).write();
    std::os::unix::fs::symlink("rootfs", bundle.path.join("link")).unwrap();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "here\n");
    firn.left_nothing();
}

/// crun's way to name many at once.
#[test]
fn containers_are_found_by_a_regular_expression() {
    let scratch = Scratch::new("regex");
    let firn = Runtime::firn(&scratch);
    let mut bundle = Bundle::new(&scratch).shell("sleep 1000");
    for (number, name) in ["one-1", "one-2", "two-1"].iter().enumerate() {
        let name = format!("{}-{name}", firn.id());
        bundle = bundle.set("/linux/cgroupsPath", json!(format!("/{}-{number}", scratch.id()))).write();
        let path = bundle.path.to_str().unwrap();
        let mut line = firn.command(&["run", "--detach", "--bundle", path, &name]);
        line.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(line.status().unwrap().success());
    }
    let left = || firn.call(&["list", "--quiet"]).succeeds().stdout.lines().count();
    assert!(firn.call(&["delete", "--force", "--regex", "("]).fails(1).stderr.contains("not a regular expression"));
    firn.call(&["kill", "--regex", "one-[0-9]$", "KILL"]).succeeds();
    firn.call(&["delete", "--force", "--regex", "nothing"]).succeeds();
    assert_eq!(left(), 3);
    firn.call(&["delete", "--force", "--regex", "one-[0-9]$"]).succeeds();
    assert_eq!(left(), 1);
    firn.call(&["delete", "--force", "-r", "."]).succeeds();
    firn.left_nothing();
}

/// One that can't die must not keep `delete` for ever.
#[test]
fn a_container_that_somebody_else_has_frozen_is_told() {
    let freezer = std::path::Path::new("/sys/fs/cgroup/freezer");
    if !freezer.exists() {
        skip("this machine has no freezer of cgroup v1");
        return;
    }
    let scratch = Scratch::new("otherfreezer");
    let firn = Runtime::firn(&scratch);
    firn.create(&Bundle::new(&scratch).shell("sleep 1000").write()).succeeds();
    firn.start().succeeds();
    let other = freezer.join(format!("{}-other", scratch.id()));
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("cgroup.procs"), firn.state()["pid"].to_string()).unwrap();
    std::fs::write(other.join("freezer.state"), "FROZEN").unwrap();
    let output = firn.call(&["delete", "--force", firn.id()]).fails(1);
    assert!(output.stderr.contains("container init still running"), "{output:?}");
    std::fs::write(other.join("freezer.state"), "THAWED").unwrap();
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    std::fs::remove_dir(&other).unwrap();
}

/// Process 1 is spared signals that it does not handle, but what was only created
/// ends by those that end what runs.
#[test]
fn a_container_that_waits_ends_by_a_signal() {
    let scratch = Scratch::new("endwait");
    let firn = Runtime::firn(&scratch);
    firn.create(&Bundle::new(&scratch).shell("sleep 1000").write()).succeeds();
    firn.call(&["kill", firn.id(), "TERM"]).succeeds();
    firn.wait_for("stopped");
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

/// Without a pid namespace of its own nobody else does.
#[test]
fn a_kill_ends_all_that_shares_a_pid_namespace() {
    let scratch = Scratch::new("killshared");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).without_namespace("pid").shell("sleep 1000 & sleep 1000 & wait").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let processes = || firn.call(&["ps", "--format", "json", firn.id()]).stdout.matches(',').count();
    wait_until("its processes run", || processes() >= 2);
    let pid: i32 = firn.state()["pid"].as_i64().unwrap() as i32;
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    firn.wait_for("stopped");
    // The others are there, and go.
    firn.call(&["kill", firn.id(), "KILL"]).succeeds();
    let kill = || firn.call(&["kill", firn.id(), "KILL"]);
    wait_until("nothing of it runs", || kill().stderr.contains("container not running"));
    kill().fails(1);
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}

/// A `start` whose init is held up keeps its lock; `delete --force` does not wait
/// for that.
#[test]
fn a_container_is_deleted_while_another_command_waits_for_it() {
    let scratch = Scratch::new("heldup");
    let firn = Runtime::firn(&scratch);
    firn.create(&Bundle::new(&scratch).args(&["true"]).write()).succeeds();
    let pid = firn.state()["pid"].as_i64().unwrap().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let mut start = firn.command(&["start", firn.id()]);
    let mut start = start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // With the lock, it takes the socket away, and waits.
    let socket = firn.root().join(firn.id()).join("start.sock");
    wait_until("start has begun", || !socket.exists());
    assert!(start.try_wait().unwrap().is_none(), "start waits for its init");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    start.wait().unwrap();
    firn.left_nothing();
}
