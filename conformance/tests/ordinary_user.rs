//! What an ordinary user's container gets of cgroups and the like, on the machine's
//! layout and in views of it that have cgroup v1 alone or v2 alone: in the cgroup that
//! the config names or not at all, as under runc.

use firn_conformance::harness::left::cgroups;
use firn_conformance::harness::place::{give_to, program};
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, command, skip};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// Nobody else's, on any machine that runs these tests.
const USER: u32 = 61_234;
const VIEWS: [(&str, &str); 3] = [
    ("hybrid", "true"),
    ("v1", "umount /sys/fs/cgroup/unified 2>/dev/null"),
    ("v2", "test $(stat -fc %T /sys/fs/cgroup) = cgroup2fs || mount -t cgroup2 none /sys/fs/cgroup"),
];

struct Fixture {
    scratch: Scratch,
    bundle: Bundle,
}

impl Fixture {
    /// A bundle of the user's, with nobody but itself in its user namespace.
    fn new(name: &str, script: &str) -> Self {
        let scratch = Scratch::new(name);
        let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        let mut bundle = Bundle::new(&scratch)
            .shell(script)
            .set("/linux/namespaces/-", json!({"type": "user"}))
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
            .set("/linux/resources", json!({}));
        // As `spec --rootless`: a group that is not mapped, and a cgroup mount that an
        // ordinary user may not make.
        let mounts = bundle.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "cgroup");
        for mount in mounts {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
        give_to(scratch.path(), USER);
        Fixture { scratch, bundle }
    }

    fn run(&self, runtime: &str, view: &str, change: impl FnOnce(Bundle) -> Bundle) -> Output {
        self.script(runtime, view, "$FIRN run --bundle . $ID", change)
    }

    /// A script of the user's, in the bundle; `$FIRN` is the runtime and `$ID` the container.
    fn script(&self, runtime: &str, view: &str, script: &str, change: impl FnOnce(Bundle) -> Bundle) -> Output {
        let bundle = Bundle { path: self.bundle.path.clone(), config: self.bundle.config.clone() };
        let bundle = change(bundle).write();
        let runtime = match runtime {
            "firn" => Runtime::firn(&self.scratch),
            name => Runtime::new(program(name, name), &self.scratch),
        };
        let start = runtime.command::<&str>(&[]);
        let words: Vec<_> = std::iter::once(start.get_program()).chain(start.get_args()).collect();
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let script = format!("ID={}; FIRN='{}'; {script}", runtime.id(), words.join(" "));
        let mut line = Command::new("sh");
        line.args(["-c", &script]);
        let script = format!("{view}; cd {}; exec \"$@\"", bundle.path.display());
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "--propagation", "private", "sh", "-c", &script, "sh"]);
        unshare.arg(program("setpriv", "util-linux"));
        unshare.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "env"]);
        unshare.arg(format!("XDG_RUNTIME_DIR={}", self.scratch.path().display()));
        let output = command(unshare.arg(line.get_program()).args(line.get_args()));
        runtime.left_nothing();
        output
    }
}

fn named(path: String) -> impl FnOnce(Bundle) -> Bundle {
    move |bundle| bundle.set("/linux/cgroupsPath", json!(path))
}

#[test]
fn a_cgroup_that_the_config_names_and_the_user_can_not_make_is_an_error() {
    let fixture = Fixture::new("usernamed", "echo ran");
    let id = fixture.scratch.id();
    for (name, view) in VIEWS {
        for path in [format!("/{id}"), id.clone(), format!("/{id}/below")] {
            for runtime in ["runc", "firn"] {
                let output = fixture.run(runtime, view, named(path.clone()));
                let said = output.stderr.contains("unable to apply cgroup configuration")
                    && output.stderr.contains("permission denied");
                assert!(output.code == 1 && output.stdout.is_empty() && said, "{runtime} {name} {path}: {output:?}");
            }
        }
        // A config that names none runs where its caller is, and has no limits to give.
        for runtime in ["runc", "firn"] {
            let output = fixture.run(runtime, view, named(String::new()));
            assert_eq!(output.succeeds().stdout, "ran\n", "{runtime} {name}");
            let limit = json!({"pids": {"limit": 20}});
            let limited = |bundle: Bundle| bundle.set("/linux/cgroupsPath", json!("")).set("/linux/resources", limit);
            let output = fixture.run(runtime, view, limited).fails(1);
            let says = runtime != "firn" || output.stderr.contains("cannot set pids limit");
            assert!(says && output.stdout.is_empty(), "{runtime} {name}: {output:?}");
        }
    }
}

/// The cgroups of that name in every hierarchy, given to the user.
struct Delegated(Vec<PathBuf>);

impl Delegated {
    fn new(name: &str) -> Self {
        let top = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(&top).unwrap().flatten().map(|entry| entry.path());
        let is_cgroup = |dir: &PathBuf| dir.join("cgroup.procs").exists();
        let is_v2 = top.join("cgroup.controllers").exists();
        let tops: Vec<PathBuf> = if is_v2 { vec![top] } else { hierarchies.filter(is_cgroup).collect() };
        let dirs: Vec<PathBuf> = tops.iter().map(|top| top.join(name)).collect();
        for dir in &dirs {
            // Some hierarchies of cgroup v1 have several names.
            let _ = std::fs::create_dir(dir);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(above) = std::fs::read_to_string(dir.parent().unwrap().join(file)) {
                    std::fs::write(dir.join(file), above.trim()).unwrap();
                }
            }
            for file in ["", "cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"] {
                let _ = std::os::unix::fs::chown(dir.join(file), Some(USER), Some(USER));
            }
        }
        Delegated(dirs)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        self.0.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
    }
}

/// On cgroup v1 as well, where the kernel takes no device rules from an ordinary user.
#[test]
fn a_delegated_cgroup_holds_the_users_container() {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return skip("the machine has cgroup v2 alone");
    }
    let fixture = Fixture::new("userdelegated", "cat /proc/self/cgroup");
    let name = format!("{}-delegated", fixture.scratch.id());
    let delegated = Delegated::new(&name);
    let inside = format!("/{name}/{}", fixture.scratch.id());
    let without = |bundle: Bundle| bundle.without_namespace("cgroup").set("/linux/cgroupsPath", json!(inside));
    for (view, script) in VIEWS.into_iter().filter(|(view, _)| *view != "v2") {
        // Who enters must come from a cgroup of the user's, too (cgroups(7)).
        let enter = delegated.0.iter().map(|dir| format!("echo $$ > {}/cgroup.procs 2>/dev/null", dir.display()));
        let script = format!("{}; {script}", enter.collect::<Vec<_>>().join("; "));
        for runtime in ["runc", "firn"] {
            let output = fixture.run(runtime, &script, without).succeeds();
            let devices = output.stdout.lines().find(|line| line.contains(":devices:"));
            let place = devices.or(output.stdout.lines().next()).unwrap();
            assert!(place.ends_with(&inside), "{runtime} {view}: {output:?}");
        }
    }
    drop(delegated);
    assert!(cgroups(&name).is_empty());
}

/// "The runtime MUST set" it, runtime-spec, config.md.
#[test]
fn an_oom_score_that_can_not_be_set_is_an_error() {
    let fixture = Fixture::new("useroom", "cat /proc/self/oom_score_adj");
    let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let score = |score: i32| {
        move |bundle: Bundle| bundle.set("/linux/cgroupsPath", json!("")).set("/process/oomScoreAdj", json!(score))
    };
    let output = fixture.run("firn", "true", score(own - 500)).fails(1);
    assert!(output.stderr.contains("process.oomScoreAdj") && output.stderr.contains("permission denied"), "{output:?}");
    assert_ne!(fixture.run("runc", "true", score(own - 500)).code, 0);
    assert_eq!(fixture.run("firn", "true", score(own + 50)).succeeds().stdout, format!("{}\n", own + 50));
}

/// Nothing would tell its processes from others.
#[test]
fn a_container_with_neither_cgroup_nor_pid_namespace_is_warned_of() {
    let fixture = Fixture::new("userpids", "echo ran");
    let proc = json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]});
    let hosts = |bundle: Bundle| {
        let mut bundle = bundle.without_namespace("pid").set("/linux/cgroupsPath", json!("")).set("/mounts/0", proc);
        bundle.config["linux"]["maskedPaths"] = Value::Null;
        bundle.config["linux"]["readonlyPaths"] = Value::Null;
        bundle
    };
    let output = fixture.run("firn", "true", hosts).succeeds();
    assert_eq!(output.stdout, "ran\n");
    let warning = "with no cgroup and no private pid namespace";
    assert!(output.stderr.contains("level=warning") && output.stderr.contains(warning), "{output:?}");
    let output = fixture.run("firn", "true", named(String::new())).succeeds();
    assert!(!output.stderr.contains(warning), "{output:?}");
}

#[test]
fn a_container_that_waits_for_start_can_be_joined() {
    let fixture = Fixture::new("usercreated", "echo started");
    let script = "$FIRN --log log create --bundle . $ID </dev/null >/dev/null 2>&1 || { cat log; exit 1; }
        $FIRN exec $ID echo joined && $FIRN kill $ID KILL && $FIRN delete --force $ID";
    for runtime in ["runc", "firn"] {
        let output = fixture.script(runtime, "true", script, |bundle| bundle.set("/linux/cgroupsPath", Value::Null));
        assert_eq!((output.code, output.stdout.as_str()), (0, "joined\n"), "{runtime}: {output:?}");
    }
}

/// As pasta does, and CNI's plugins: of a process that is not dumpable they are closed to the user (ptrace(2)).
#[test]
fn a_create_runtime_hook_may_open_the_namespaces_of_init() {
    let fixture = Fixture::new("userhook", "echo ran");
    let hook = fixture.scratch.write(
        "hook",
        "#!/bin/sh\npid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\nexec 3</proc/$pid/ns/net 4</proc/$pid/ns/user\n\
         own=$(readlink /proc/self/ns/user)\n[ \"$(readlink /proc/$pid/ns/user)\" != \"$own\" ] && echo opened >${0%/*}/opened\n",
    );
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    give_to(fixture.scratch.path(), USER);
    let hooks = json!({"createRuntime": [{"path": hook, "env": ["PATH=/usr/bin:/bin"]}]});
    let with = |bundle: Bundle| bundle.set("/linux/cgroupsPath", json!("")).set("/hooks", hooks);
    assert_eq!(fixture.run("firn", "true", with).succeeds().stdout, "ran\n");
    assert_eq!(std::fs::read_to_string(fixture.scratch.join("opened")).unwrap(), "opened\n");
}
