//! Where a container's cgroups are, what is left alone there, and who enters them.

use super::*;

/// The whole life on each layout, with freezing and killing.
#[test]
fn a_container_lives_on_every_layout() {
    for (number, view) in ["true", V1, V2].into_iter().enumerate() {
        let scratch = Scratch::new(&format!("layout{number}"));
        let bundle = Bundle::new(&scratch).shell("sleep 1000 & sleep 1000").write();
        let firn = Runtime::firn(&scratch);
        let call = |args: &[&str]| {
            let line = in_view(view, &firn.command(args));
            // The container keeps the streams.
            let mut quiet = Command::new("sh");
            let script = "\"$@\" > $0 2>&1 < /dev/null; code=$?; cat $0; exit $code";
            quiet.args(["-c", script]).arg(scratch.join("out")).arg(line.get_program()).args(line.get_args());
            command(&mut quiet).succeeds().stdout
        };
        call(&["create", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
        call(&["start", firn.id()]);
        assert_eq!(
            call(&["exec", firn.id(), "cat", "/proc/self/cgroup"]),
            call(&["exec", firn.id(), "cat", "/proc/1/cgroup"])
        );
        call(&["pause", firn.id()]);
        assert!(call(&["state", firn.id()]).contains("\"paused\""), "{view}");
        call(&["resume", firn.id()]);
        assert!(call(&["state", firn.id()]).contains("\"running\""), "{view}");
        let pids = call(&["ps", "--format", "json", firn.id()]);
        let pids: Value = serde_json::from_str(&pids).unwrap_or_else(|error| panic!("{view}: {error}: {pids}"));
        assert!(pids.as_array().unwrap().len() >= 2, "{pids}");
        call(&["kill", "--all", firn.id(), "KILL"]);
        call(&["delete", "--force", firn.id()]);
        firn.left_nothing();
    }
}

/// Absolute from the mount point, relative from the runtime's own cgroup, and
/// without a path by the container's name.
#[test]
fn cgroups_paths_lead_where_runc_has_them() {
    let scratch = Scratch::new("cgpath");
    let name = scratch.id();
    let base = Bundle::new(&scratch).shell("sleep 1000");
    for path in [format!("/{name}/a/b"), format!("{name}/c"), name.clone(), String::new()] {
        let bundle = Bundle { path: base.path.clone(), config: base.config.clone() };
        let bundle = bundle.set("/linux/cgroupsPath", json!(path)).write();
        let cgroup = |runtime: &Runtime| {
            runtime.create(&bundle).succeeds();
            let text = std::fs::read_to_string(format!("/proc/{}/cgroup", runtime.state()["pid"])).unwrap();
            runtime.call(&["delete", "--force", runtime.id()]).succeeds();
            text
        };
        let ours = cgroup(&Runtime::firn(&scratch));
        let theirs = cgroup(&Runtime::new(program("runc", "runc"), &scratch));
        // On a hybrid host runc leaves out what it finds no place for, and this
        // one knows no misc controller.
        let left_out = |line: &str| line.starts_with("0:") || line.contains(":misc:");
        for (ours, theirs) in ours.lines().zip(theirs.lines()).filter(|(_, theirs)| !left_out(theirs)) {
            assert_eq!(ours, theirs, "for {path:?}: firn's first, then runc's");
        }
        remove_empty(&name);
    }
}

/// What lay above a container's cgroup stays, as under runc: it was the test's.
fn remove_empty(name: &str) {
    for dir in cgroups(name) {
        for below in ["a/b", "a", "c", "below", ""] {
            let _ = std::fs::remove_dir(dir.join(below));
        }
    }
    assert!(cgroups(name).is_empty(), "{:?}", cgroups(name));
}

#[test]
fn cgroups_that_a_container_makes_go_with_it() {
    let scratch = Scratch::new("nested");
    let script =
        "for d in /sys/fs/cgroup/*/; do [ -L ${d%/} ] || mkdir -p $d/one/two; done; mkdir -p /sys/fs/cgroup/one/two;
        ls -d /sys/fs/cgroup/one/two /sys/fs/cgroup/*/one/two 2>/dev/null | wc -l; sleep 1000 & exit 0";
    let bundle =
        Bundle::new(&scratch).shell(script).set("/mounts/6/options", json!(["nosuid", "noexec", "nodev"])).write();
    let firn = Runtime::firn(&scratch);
    for view in ["true", V1, V2] {
        let output = run_in(view, &firn, &bundle).succeeds();
        assert!(output.stdout.trim().parse::<u32>().unwrap() >= 1, "{view}: {output:?}");
        firn.left_nothing();
    }
}

/// A cgroup in which something runs already is somebody else's: it must not be
/// taken, and above all not be cleared.
#[test]
fn a_cgroup_of_another_container_is_left_alone() {
    let scratch = Scratch::new("taken");
    let other = Scratch::new("owner");
    let bundle = Bundle::new(&other).shell("sleep 1000").write();
    let owner = Runtime::firn(&other);
    owner.create(&bundle).succeeds();
    owner.start().succeeds();
    let taken = Bundle::new(&scratch).shell("true").set("/linux/cgroupsPath", json!(format!("/{}", other.id())));
    let firn = Runtime::firn(&scratch);
    let wrong = json!({"destination": "/x", "type": "bind", "source": "/nosuch/source", "options": ["bind"]});
    let failing = Bundle { path: scratch.directory("failing"), config: taken.config.clone() };
    let failing = failing.set("/root/path", json!(taken.root())).mount(wrong).write();
    let taken = taken.write();
    assert_ne!(firn.run(&failing).code, 0);
    assert_eq!(owner.status(), "running", "a create that failed has killed another container");
    let output = firn.create(&taken);
    assert!(output.code != 0 && output.stderr.contains("cgroup"), "{output:?}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    assert_eq!(owner.status(), "running", "delete has killed another container");
    // It may have moved everything below its top, as a systemd inside does.
    for top in cgroups(owner.id()) {
        let below = top.join("below");
        // On cgroup v1 some hierarchies have several names.
        std::fs::create_dir_all(&below).unwrap();
        for pid in std::fs::read_to_string(top.join("cgroup.procs")).unwrap().lines() {
            // A cpuset of v1 takes nobody before it has processors.
            let _ = std::fs::write(below.join("cgroup.procs"), pid);
        }
    }
    let output = firn.create(&taken);
    assert!(output.code != 0 && output.stderr.contains("container's cgroup is not empty"), "{output:?}");
    assert_eq!(owner.status(), "running", "a create has killed a container below");
    owner.call(&["delete", "--force", owner.id()]).succeeds();
    owner.left_nothing();
}

/// What somebody else has frozen stays so, although nothing is in it: neither a `run`
/// that is refused nor a `delete` after one that was killed takes it for its own.
#[test]
fn a_frozen_cgroup_that_was_there_is_left_alone() {
    if lacks("freezer") {
        return;
    }
    let scratch = Scratch::new("frozen");
    let bundle = Bundle::new(&scratch).args(&["true"]).write();
    let path = bundle.path.to_string_lossy().into_owned();
    let firn = Runtime::firn(&scratch);
    let name = format!("{}-theirs", scratch.id());
    let bundle = bundle.set("/linux/cgroupsPath", json!(format!("/{name}"))).write();
    let (v1, v2) = (Path::new("/sys/fs/cgroup/freezer").join(&name), Path::new("/sys/fs/cgroup/unified").join(&name));
    let frozen: [(&str, &Path, &str, &str); 2] =
        [(V1, &v1, "freezer.state", "FROZEN"), (V2, &v2, "cgroup.freeze", "1")];
    for (view, dir, file, state) in frozen {
        let Some(true) = dir.parent().map(|top| top.join("cgroup.procs").exists()) else {
            skip(&format!("this machine has no {}", dir.parent().unwrap().display()));
            continue;
        };
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join(file), state).unwrap();
        let is_as_it_was = || std::fs::read_to_string(dir.join(file)).is_ok_and(|text| text.trim() == state);
        let output = run_in(view, &firn, &bundle).fails(1);
        assert!(output.stderr.contains("container's cgroup unexpectedly frozen"), "{view}: {output:?}");
        assert!(is_as_it_was(), "{view}: a run that was refused");
        // Killed in any call that makes a directory.
        let calls = ["mkdir", "mkdirat"].into_iter().flat_map(|call| (1..15).map(move |turn| (call, turn)));
        for (call, turn) in calls {
            let mut strace = Command::new(program("strace", "strace"));
            strace.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
            strace.arg(format!("inject={call}:signal=KILL:when={turn}"));
            let run = firn.command(&["run", "--bundle", &path, firn.id()]);
            strace.arg(run.get_program()).args(run.get_args());
            let output = command(&mut in_view(view, &strace));
            command(&mut in_view(view, &firn.command(&["delete", "--force", firn.id()]))).succeeds();
            assert!(is_as_it_was(), "{view}: a run that was killed in {call} {turn}");
            assert!([1, 137].contains(&output.code), "{output:?}");
        }
        std::fs::remove_dir(dir).unwrap();
    }
    for dir in cgroups(&name) {
        std::fs::remove_dir(dir).unwrap();
    }
    firn.left_nothing();
}

#[test]
fn exec_goes_into_a_cgroup_below_and_never_above() {
    if lacks("pids") {
        return;
    }
    let scratch = Scratch::new("execcg");
    let bundle = Bundle::new(&scratch).shell("mkdir /sys/fs/cgroup/pids/below; sleep 1000");
    let bundle = bundle.set("/mounts/6/options", json!(["nosuid"])).write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let inside = Path::new("/sys/fs/cgroup/pids").join(firn.id()).join("below");
    wait_until("the cgroup below is made", || inside.exists());
    let exec = |cgroup: &str| firn.call(&["exec", "--cgroup", cgroup, firn.id(), "grep", "pids", "/proc/self/cgroup"]);
    assert!(exec("pids:below").succeeds().stdout.ends_with(":/below\n"));
    assert!(exec("pids:/below").succeeds().stdout.ends_with(":/below\n"));
    for wrong in ["pids:../", "pids:below/../..", "nosuch:below", "pids:nosuch", ".."] {
        exec(wrong).fails(255);
    }
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

/// The intermediate process of an exec counts in no limit that its program keeps: it
/// makes room for it, and the program is in the cgroup all the same.
#[test]
fn exec_needs_room_for_its_program_alone() {
    let scratch = Scratch::new("execroom");
    let bundle = Bundle::new(&scratch)
        .args(&["sleep", "1000"])
        .set("/linux/resources/pids", json!({"limit": 2}))
        .without_namespace("cgroup")
        .write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let own = format!("/{}", firn.id());
    for user in ["0", "1000"] {
        let output = firn.call(&["exec", "--user", user, firn.id(), "cat", "/proc/self/cgroup"]).succeeds();
        assert!(output.stdout.lines().all(|line| line.ends_with(&own)), "{user}: {output:?}");
        assert!(output.stdout.contains(":pids:") || output.stdout.starts_with("0::"), "{output:?}");
    }
    firn.call(&["exec", firn.id(), "sh", "-c", "exit 7"]).fails(7);
    // It is kept to the limit.
    let output = firn.exec(&["sh", "-c", "ls & wait; echo no"]);
    assert!(output.stderr.contains("can't fork"), "{output:?}");
    let traced = firn.exec(&["grep", "^TracerPid", "/proc/self/status"]).succeeds();
    assert_eq!(traced.stdout, "TracerPid:\t0\n");
}

/// A cgroup above that hands controllers down and has processes, as one that is delegated
/// and in which the caller is, or is threaded: what has to be done is told.
#[test]
fn a_cgroup_that_can_hold_no_processes_is_a_clear_error() {
    let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(std::path::Path::new);
    let root = root.into_iter().find(|root| root.join("cgroup.subtree_control").exists()).expect("cgroup v2");
    let scratch = Scratch::new("invalid");
    let name = scratch.id();
    let above = root.join(&name);
    std::fs::create_dir_all(above.join("threads")).unwrap();
    std::fs::write(above.join("threads/cgroup.type"), "threaded").unwrap();
    let bundle = Bundle::new(&scratch).args(&["true"]).set("/linux/cgroupsPath", json!(format!("/{name}/own"))).write();
    let firn = Runtime::firn(&scratch);
    let output = firn.run(&bundle);
    std::fs::remove_dir(above.join("threads")).unwrap();
    remove_empty(&name);
    assert!(output.fails(1).stderr.contains("clone the container's init: its cgroup can hold no processes"));
    firn.left_nothing();
}
