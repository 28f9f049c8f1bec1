//! The six kinds of hooks: when, where and with what they run, and what their
//! failure means. runtime.md "Lifecycle", config.md "POSIX-platform Hooks".

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A bundle whose hooks append what they see to files of a directory that has the
/// same name inside, so that hooks of the container can write there too.
struct Recorded {
    bundle: Bundle,
    dir: PathBuf,
}

impl Recorded {
    fn new(scratch: &Scratch) -> Self {
        let dir = scratch.directory("hooks");
        let mut bundle = Bundle::new(scratch).set("/hooks", json!({})).set("/root/readonly", json!(false));
        bundle = bundle
            .mount(json!({"destination": dir, "type": "bind", "source": dir, "options": ["rbind"]}))
            .set("/annotations", json!({"org.example.word": "said"}));
        Recorded { bundle, dir }
    }

    fn hook(mut self, kind: &str, script: &str) -> Self {
        let dir = self.dir.display();
        let args = json!(["/odd/sh", "-c", format!("cd {dir} && {script}"), "sh", kind]);
        let hooks = &mut self.bundle.config["hooks"];
        if hooks[kind].is_null() {
            hooks[kind] = json!([]);
        }
        let hook = json!({"path": "/bin/sh", "args": args, "env": ["WORD=a b", "PATH=/bin:/usr/bin"]});
        hooks[kind].as_array_mut().unwrap().push(hook);
        self
    }

    fn hooks(mut self, script: &str) -> Self {
        for kind in KINDS {
            self = self.hook(kind, script);
        }
        self
    }

    fn set(self, pointer: &str, value: Value) -> Self {
        Recorded { bundle: self.bundle.set(pointer, value), ..self }
    }

    fn shell(self, script: &str) -> Self {
        Recorded { bundle: self.bundle.shell(script), ..self }
    }

    fn write(self) -> Self {
        Recorded { bundle: self.bundle.write(), ..self }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn state_of(&self, kind: &str) -> Value {
        serde_json::from_str(&self.read(kind)).unwrap_or_else(|e| panic!("{kind}: {e}: {:?}", self.read(kind)))
    }
}

/// Order, and the state on standard input, as far as runc and we can agree.
fn life(runtime: &Runtime, recorded: &Recorded) -> (String, Vec<Value>) {
    std::fs::remove_file(recorded.dir.join("order")).ok();
    runtime.create(&recorded.bundle).succeeds();
    let pid = runtime.state()["pid"].as_i64().unwrap();
    runtime.start().succeeds();
    runtime.call(&["kill", runtime.id(), "KILL"]).succeeds();
    runtime.wait_for("stopped");
    runtime.call(&["delete", runtime.id()]).succeeds();
    runtime.left_nothing();
    let states = KINDS.map(|kind| {
        let mut state = recorded.state_of(kind);
        let outside = matches!(kind, "prestart" | "createRuntime" | "poststart");
        if outside {
            assert_eq!(state["pid"], pid, "{kind}");
        }
        // Inside, the container's own number for it; afterwards none.
        state.as_object_mut().unwrap().remove("pid");
        state.as_object_mut().unwrap().remove("ociVersion");
        state
    });
    (recorded.read("order"), states.into())
}

#[test]
fn hooks_run_in_order_with_the_state_on_their_input() {
    let scratch = Scratch::new("hookorder");
    let recorded = Recorded::new(&scratch)
        .hooks("cat > $1; echo $1 >> order")
        .hooks("echo $1 again >> order")
        .shell("sleep 1000")
        .write();
    let firn = Runtime::firn(&scratch);
    let (order, states) = life(&firn, &recorded);
    let expected: String = KINDS.iter().map(|kind| format!("{kind}\n{kind} again\n")).collect();
    assert_eq!(order, expected);
    for (kind, state) in KINDS.iter().zip(&states) {
        assert_eq!(state["id"], firn.id(), "{kind}");
        assert_eq!(state["bundle"], recorded.bundle.path.to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["org.example.word"], "said", "{kind}");
    }
    let statuses: Vec<&str> = states.iter().map(|state| state["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["creating", "creating", "creating", "created", "running", "stopped"]);
    // runc agrees on all of it.
    let (theirs, their_states) = life(&Runtime::new(program("runc", "runc"), &scratch), &recorded);
    // It lets the program go before the poststart hooks, so that these may come
    // earlier or later, with one status or another.
    let without =
        |order: &str| order.lines().filter(|line| !line.starts_with("poststart")).collect::<Vec<_>>().join(" ");
    assert_eq!(without(&order), without(&theirs));
    for ((kind, ours), theirs) in KINDS.iter().zip(&states).zip(&their_states) {
        if *kind == "poststart" {
            continue;
        }
        assert_eq!(ours, theirs, "{kind}: firn's first, then runc's");
    }
}

#[test]
fn a_run_in_the_foreground_has_the_same_hooks() {
    let scratch = Scratch::new("hookrun");
    let recorded = Recorded::new(&scratch).hooks("echo $1 >> order").shell("echo ran").write();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&recorded.bundle).succeeds().stdout, "ran\n");
    // The program may have ended before poststart has run, but not before.
    assert_eq!(recorded.read("order").lines().collect::<Vec<_>>(), KINDS);
    firn.left_nothing();
}

/// Where each kind runs, and where its path is looked up.
#[test]
fn hooks_run_in_the_namespaces_that_the_specification_names() {
    let scratch = Scratch::new("hookns");
    let recorded = Recorded::new(&scratch)
        .hooks("for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done > $1.ns; ls / > $1.root; hostname > $1.host")
        .shell(&format!("cd {}; for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done > program.ns", scratch.join("hooks").display()))
        .write();
    std::fs::write(recorded.bundle.root().join("only-in-the-image"), "").unwrap();
    let firn = Runtime::firn(&scratch);
    firn.run(&recorded.bundle).succeeds();
    let own: String = ["mnt", "pid", "net", "uts", "ipc"]
        .map(|n| std::fs::read_link(format!("/proc/self/ns/{n}")).unwrap().display().to_string() + "\n")
        .concat();
    let namespaces = |kind: &str| recorded.read(&format!("{kind}.ns"));
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(namespaces(kind), own, "{kind}");
        assert!(!recorded.read(&format!("{kind}.root")).contains("only-in-the-image"), "{kind}");
    }
    for kind in ["createContainer", "startContainer"] {
        assert_eq!(namespaces(kind), namespaces("program"), "{kind}");
        assert!(namespaces(kind).lines().zip(own.lines()).all(|(inside, outside)| inside != outside), "{kind}");
    }
    // Before the root is entered, paths are the host's; after that, the image's.
    assert!(!recorded.read("createContainer.root").contains("only-in-the-image"));
    assert!(recorded.read("startContainer.root").contains("only-in-the-image"));
    assert_eq!(recorded.read("startContainer.host"), "firn\n");
}

/// At createRuntime the mounts are not made yet for the host; a createContainer
/// hook sees them below the bundle's root.
#[test]
fn a_create_container_hook_sees_what_is_mounted() {
    let scratch = Scratch::new("hookmounts");
    let root = scratch.join("bundle").join("rootfs");
    let look = format!(
        "[ -d {0}/proc/1 ] && echo $1 sees proc; [ -c {0}/dev/null ] && echo $1 sees null; true",
        root.display()
    );
    let recorded = Recorded::new(&scratch)
        .hook("createRuntime", &format!("( {look} ) >> seen"))
        .hook("createContainer", &format!("( {look} ) >> seen"))
        .shell("true")
        .write();
    let firn = Runtime::firn(&scratch);
    firn.run(&recorded.bundle).succeeds();
    assert_eq!(recorded.read("seen"), "createContainer sees proc\ncreateContainer sees null\n");
}

#[test]
fn hooks_get_their_own_arguments_and_environment_alone() {
    let scratch = Scratch::new("hookenv");
    let recorded = Recorded::new(&scratch)
        .hooks("read pid rest < /proc/self/stat; tr '\\0' '\\n' < /proc/$pid/environ | sort > $1.env; tr '\\0' '\\n' < /proc/$pid/cmdline | head -1 > $1.name; for f in /proc/self/fd/*; do echo ${f##*/}; done > $1.fds")
        .shell("true")
        .write();
    let firn = Runtime::firn(&scratch);
    firn.run(&recorded.bundle).succeeds();
    for kind in KINDS {
        assert_eq!(recorded.read(&format!("{kind}.env")), "PATH=/bin:/usr/bin\nWORD=a b\n", "{kind}");
        assert_eq!(recorded.read(&format!("{kind}.name")), "/odd/sh\n", "{kind}");
        if matches!(kind, "createContainer" | "startContainer") {
            // Beside its streams a shell has its redirection and the directory
            // of the pattern.
            let fds = recorded.read(&format!("{kind}.fds"));
            let more = fds.lines().filter(|n| !matches!(*n, "0" | "1" | "2" | "10")).count();
            assert!(more <= 1, "{kind}: {fds}");
        }
    }
}

/// A hook without arguments has its path for a name.
/// Where it is absent, and only then: runc's hooks rely on it.
#[test]
fn an_environment_that_is_not_given_is_the_callers_or_the_containers() {
    let scratch = Scratch::new("hookenv");
    let mut recorded = Recorded::new(&scratch).hooks("pwd >&2; echo $CALLERS $CONTAINERS > env-$1; exit 0");
    recorded.bundle.config["process"]["env"].as_array_mut().unwrap().push(json!("CONTAINERS=theirs"));
    for kind in KINDS {
        recorded.bundle.config["hooks"][kind][0].as_object_mut().unwrap().remove("env");
    }
    let recorded = recorded.shell("true").write();
    let firn = Runtime::firn(&scratch);
    let mut line = firn.command(&["run", "--bundle", recorded.bundle.path.to_str().unwrap(), firn.id()]);
    line.env("CALLERS", "ours");
    firn_conformance::harness::command(&mut line).succeeds();
    for kind in KINDS {
        let expected = if kind == "startContainer" { "theirs\n" } else { "ours\n" };
        assert_eq!(recorded.read(&format!("env-{kind}")), expected, "{kind}");
    }
}

#[test]
fn hooks_run_in_the_bundle_and_in_the_root() {
    let scratch = Scratch::new("hookdir");
    let mut recorded = Recorded::new(&scratch).set("/process/cwd", json!("/tmp"));
    let file = |kind: &str| recorded.dir.join(kind);
    let hooks: serde_json::Map<String, Value> = KINDS
        .iter()
        .map(|kind| {
            let script = format!("pwd > {0}; ls > {0}.ls", file(kind).display());
            ((*kind).to_owned(), json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]))
        })
        .collect();
    recorded.bundle.config["hooks"] = Value::Object(hooks);
    let recorded = recorded.shell("true").write();
    Runtime::firn(&scratch).run(&recorded.bundle).succeeds();
    for kind in KINDS {
        let (dir, list) = (recorded.read(kind), recorded.read(&format!("{kind}.ls")));
        match kind {
            "startContainer" => assert_eq!(dir, "/tmp\n"),
            "createContainer" => assert!(list.contains("bin\n") && list.contains("proc\n"), "{list}"),
            _ => assert!(list.contains("config.json\n"), "{kind}: {dir} {list}"),
        }
    }
}

#[test]
fn a_hook_without_arguments_is_named_by_its_path() {
    let scratch = Scratch::new("hookargs");
    let dir = scratch.directory("hooks");
    let script = dir.join("hook");
    std::fs::write(&script, format!("#!/bin/sh\necho $0 $# > {}/name\n", dir.display())).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bundle = Bundle::new(&scratch).shell("true").set("/hooks", json!({"prestart": [{"path": script}]})).write();
    Runtime::firn(&scratch).run(&bundle).succeeds();
    assert_eq!(std::fs::read_to_string(dir.join("name")).unwrap(), format!("{} 0\n", script.display()));
}

/// What a failing hook means at `create` and `start`.
#[test]
fn a_failing_hook_before_the_program_stops_the_container() {
    let scratch = Scratch::new("hookfail");
    for kind in KINDS.into_iter().filter(|kind| *kind != "poststop") {
        let recorded = Recorded::new(&scratch)
            .hook(kind, "echo why >&2; exit 3")
            .hook(kind, "echo next > next")
            .hook("poststop", "echo stopped > stopped")
            .shell(&format!("echo ran > {}/ran; sleep 1000", scratch.join("hooks").display()))
            .write();
        let firn = Runtime::firn(&scratch);
        let created = firn.create(&recorded.bundle);
        let failed = if matches!(kind, "startContainer" | "poststart") {
            created.succeeds();
            firn.start().fails(1)
        } else {
            created.fails(1)
        };
        for part in [kind, "/bin/sh", "exit status 3", "why"] {
            assert!(failed.stderr.contains(part), "{kind}: {part}: {failed:?}");
        }
        if kind == "poststart" {
            firn.left_nothing();
        } else {
            assert_eq!(recorded.read("ran"), "", "{kind}");
        }
        assert_eq!(recorded.read("next"), "", "{kind}: a hook after the one that failed has run");
        if !matches!(kind, "startContainer") {
            assert_eq!(recorded.read("stopped"), "stopped\n", "{kind}");
        }
        firn.call(&["delete", "--force", firn.id()]).succeeds();
        firn.left_nothing();
        std::fs::remove_dir_all(scratch.join("hooks")).unwrap();
        std::fs::remove_dir_all(scratch.join("bundle")).unwrap();
    }
}

#[test]
fn a_failing_hook_ends_a_run_and_leaves_nothing() {
    let scratch = Scratch::new("hookrunfail");
    for kind in KINDS.into_iter().filter(|kind| *kind != "poststop") {
        let recorded = Recorded::new(&scratch).hook(kind, "exit 3").shell("sleep 1000").write();
        let firn = Runtime::firn(&scratch);
        let begin = Instant::now();
        let output = firn.run(&recorded.bundle);
        assert!(output.code != 0 && output.stderr.contains(kind), "{kind}: {output:?}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{kind}");
        firn.left_nothing();
        std::fs::remove_dir_all(scratch.join("hooks")).unwrap();
        std::fs::remove_dir_all(scratch.join("bundle")).unwrap();
    }
}

/// After the end there is nothing to stop: a warning, and the next hook.
/// runtime.md, "Lifecycle": what the program was is destroyed.
#[test]
fn a_failing_poststart_hook_deletes_the_container() {
    let scratch = Scratch::new("hookpost");
    let recorded = Recorded::new(&scratch).hook("poststart", "exit 3").hook("poststop", "echo yes > after");
    let recorded = recorded.shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&recorded.bundle).succeeds();
    let output = firn.start().fails(1);
    assert!(output.stderr.contains("error running poststart hook #0"), "{output:?}");
    firn.left_nothing();
    assert_eq!(recorded.read("after"), "yes\n");
}

#[test]
fn a_failing_poststop_hook_is_a_warning() {
    let scratch = Scratch::new("poststop");
    let recorded = Recorded::new(&scratch)
        .hook("poststop", "exit 3")
        .hook("poststop", "echo second > second")
        .shell("true")
        .write();
    let firn = Runtime::firn(&scratch);
    let output = firn.run(&recorded.bundle).succeeds();
    assert!(output.stderr.contains("level=warning") && output.stderr.contains("poststop"), "{output:?}");
    firn.left_nothing();
    // runtime.md, "Lifecycle" 13: the remaining hooks run all the same.
    assert_eq!(recorded.read("second"), "second\n");
}

#[test]
fn a_hook_that_outstays_its_timeout_fails() {
    let scratch = Scratch::new("hooktime");
    for kind in ["prestart", "startContainer"] {
        let recorded = Recorded::new(&scratch).hook(kind, "exec sleep 60");
        let recorded = recorded.set(&format!("/hooks/{kind}/0/timeout"), json!(1)).shell("true").write();
        let firn = Runtime::firn(&scratch);
        let begin = Instant::now();
        let output = firn.run(&recorded.bundle);
        assert!(output.code != 0 && output.stderr.contains("timeout of 1 s"), "{kind}: {output:?}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{kind}: {:?}", begin.elapsed());
        firn.left_nothing();
        std::fs::remove_dir_all(scratch.join("bundle")).unwrap();
    }
}

/// A state that is larger than a pipe, and a hook that does not read it.
#[test]
fn a_hook_that_does_not_read_its_state_is_still_timed() {
    let scratch = Scratch::new("hookpipe");
    let recorded = Recorded::new(&scratch).hook("prestart", "exec sleep 60");
    let recorded = recorded
        .set("/hooks/prestart/0/timeout", json!(1))
        .set("/annotations", json!({"long": "x".repeat(200_000)}))
        .shell("true")
        .write();
    let firn = Runtime::firn(&scratch);
    let begin = Instant::now();
    let output = firn.run(&recorded.bundle);
    assert!(output.code != 0 && output.stderr.contains("timeout of 1 s"), "{:?}", output.stderr);
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
}

#[test]
fn a_hook_that_is_missing_is_named() {
    let scratch = Scratch::new("hookmissing");
    let bundle = Bundle::new(&scratch).shell("true");
    let bundle = bundle.set("/hooks", json!({"createRuntime": [{"path": "/nosuch/hook"}]})).write();
    let firn = Runtime::firn(&scratch);
    let output = firn.run(&bundle).fails(1);
    assert!(output.stderr.contains("/nosuch/hook") && output.stderr.contains("o such file"), "{output:?}");
    firn.left_nothing();
    assert!(!Path::new("/nosuch").exists());
}
