//! What a program sees: the same under firn as under runc, from the same bundle.

use firn_conformance::harness::place::{older_than, program};
use firn_conformance::harness::{Bundle, Runtime, Scratch, skip, wait_until};
use serde_json::json;

/// Facts about a process, in lines that do not change from run to run.
const FACTS: &str = r#"
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|Umask|SigBlk)' /proc/self/status
cat /proc/self/limits | grep -E 'open files|core|processes'
echo "oom $(cat /proc/self/oom_score_adj)"
hostname
pwd
env | sort
cd /dev; stat -c '%A %U %G %t:%T %n' * | sort; for l in *; do [ -L $l ] && echo $l $(readlink $l); done; cd /
stat -c '%A %U %G %n' /dev /dev/pts /dev/shm /dev/mqueue /proc /sys
for f in 0 1 2 3 4 5; do [ -e /proc/self/fd/$f ] && echo "fd $f"; done
readlink /proc/self/cwd
cat /proc/self/sessionid /proc/sys/kernel/hostname 2>/dev/null
awk '{if ($5 ~ "^/proc/|^/sys/firmware") sub(",.*", "", $6); print $5, $6}' /proc/self/mountinfo | sort
for p in /proc/kcore /proc/keys /proc/timer_list /sys/firmware /proc/acpi; do [ -e $p ] && { echo $p; [ -d $p ] && ls -A $p | wc -l || { head -c1 $p 2>/dev/null | wc -c; }; }; done
for p in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq /x /sys/x; do ( : > $p ) 2>&1 | sed 's/.*: //'; done
ip addr 2>/dev/null | sed 's/^[0-9]*: //'
umask
ulimit -a
readlink /proc/self/exe
cat /proc/self/sched | grep -E 'policy|prio'
cat /proc/self/cgroup | sed 's/^[0-9]*://' | sort
ls /proc | grep -E '^[0-9]+$' | head -1
"#;

fn facts(runtime: &Runtime, bundle: &Bundle) -> String {
    let output = runtime.run(bundle);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.stderr, "", "{output:?}");
    // Two lines can't be the same: the order of mount options that mean the
    // same, and the view of cgroup v2, which runc binds by another name.
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines.retain(|line| !line.starts_with("/sys/fs/cgroup"));
    lines.join("\n")
}

fn same(name: &str, change: impl Fn(Bundle) -> Bundle) {
    let scratch = Scratch::new(name);
    let bundle = change(Bundle::new(&scratch).shell(FACTS)).write();
    let firn = facts(&Runtime::firn(&scratch), &bundle);
    let runc = facts(&Runtime::new(program("runc", "runc"), &scratch), &bundle);
    let differences: Vec<String> = firn
        .lines()
        .filter(|line| !runc.lines().any(|other| other == *line))
        .map(|line| format!("firn: {line}"))
        .chain(
            runc.lines().filter(|line| !firn.lines().any(|other| other == *line)).map(|line| format!("runc: {line}")),
        )
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(firn, runc, "the same lines in another order");
}

#[test]
fn the_default_config() {
    same("default", |bundle| bundle);
}

#[test]
fn another_user_with_groups_and_capabilities() {
    same("user", |bundle| {
        bundle
            .set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 10, 7, 7], "umask": 63}))
            .set("/process/capabilities/inheritable", json!(["CAP_KILL"]))
            .set("/process/capabilities/ambient", json!(["CAP_KILL"]))
            .set("/process/noNewPrivileges", json!(false))
    });
}

#[test]
fn no_capabilities_at_all() {
    same("nocaps", |bundle| bundle.set("/process/capabilities", json!({})));
}

#[test]
fn a_writable_root_without_masks() {
    same("writable", |bundle| {
        bundle
            .set("/root/readonly", json!(false))
            .set("/linux/maskedPaths", json!([]))
            .set("/linux/readonlyPaths", json!([]))
    });
}

#[test]
fn limits_and_scores() {
    same("limits", |bundle| {
        bundle
            .set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "hard": 500, "soft": 400}, {"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]))
            .set("/process/oomScoreAdj", json!(300))
    });
}

#[test]
fn devices_of_the_config() {
    same("devices", |bundle| {
        bundle.set(
            "/linux/devices",
            json!([
                {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 3, "gid": 4},
                {"path": "/dev/pipe", "type": "p", "fileMode": 0o644}
            ]),
        )
    });
}

#[test]
fn mounts_of_all_kinds() {
    same("mounts", |bundle| {
        let source = bundle.path.join("source");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(bundle.path.join("file"), "x").unwrap();
        bundle
            .mount(json!({"destination": "/a/b/c", "type": "bind", "source": source, "options": ["rbind", "ro", "nosuid"]}))
            .mount(json!({"destination": "/f", "type": "bind", "source": "file", "options": ["bind", "rw"]}))
            .mount(json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=64k", "mode=1770"]}))
            .set("/root/readonly", json!(false))
    });
}

#[test]
fn sysctls_and_names() {
    same("sysctl", |bundle| {
        bundle
            .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345"}))
            .set("/hostname", json!("other"))
            .shell(&format!("{FACTS}\ncat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax"))
    });
}

#[test]
fn the_hosts_network_and_ipc() {
    same("hostnet", |bundle| {
        bundle.without_namespace("network").without_namespace("ipc").set(
            "/mounts/5",
            json!({"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]}),
        )
    });
}

/// A file system that is read-only gets the places for what lies in it first.
#[test]
fn read_only_mounts_with_others_below() {
    same("rodev", |mut bundle| {
        let mounts = bundle.config["mounts"].as_array_mut().unwrap();
        let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
        dev["options"].as_array_mut().unwrap().push(json!("ro"));
        let script = "grep ' /dev ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1; touch /dev/x 2>/dev/null || echo refused; \
                      cd /dev; stat -c '%A %U %t:%T %n' * | sort; echo x > null && grep -c ' /dev/' /proc/mounts";
        bundle.shell(script)
    });
    // runc refuses this one.
    let scratch = Scratch::new("robelow");
    let bundle = Bundle::new(&scratch)
        .mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["ro"]}))
        .mount(json!({"destination": "/tmp/below/here", "type": "tmpfs", "source": "y"}))
        .shell("touch /tmp/x 2>/dev/null || echo read-only; touch /tmp/below/here/x && echo below")
        .write();
    assert_eq!(Runtime::firn(&scratch).run(&bundle).succeeds().stdout, "read-only\nbelow\n");
}

#[test]
fn access_times_of_mounts() {
    for options in ["norelatime", "noatime,norelatime", "strictatime", "noatime,atime", "nodiratime", "rnorelatime"] {
        same("atime", |bundle| {
            let options: Vec<&str> = options.split(',').collect();
            bundle
                .mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": options}))
                .shell("grep ' /tmp ' /proc/self/mountinfo | cut -d' ' -f6")
        });
    }
}

/// The optional fields of mountinfo say to whom the root's mounts spread.
const PROPAGATION: &str = "awk '$5 == \"/\" { print \"root\", $7 ~ /^(shared|master|unbindable)/ ? $7 : \"private\" }' /proc/self/mountinfo | sed 's/:.*//'";

#[test]
fn the_roots_propagation() {
    same("spread", |bundle| bundle.set("/linux/rootfsPropagation", json!("private")).shell(PROPAGATION));
    // Under runc 1.1 a root that is to be shared or a slave ends private, one that
    // is unbindable can't be mounted, and the first of them leave a slave where
    // the config names nothing.
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_shared = |line: &str| line.split(' ').nth(4) == Some("/") && line.contains(" shared:");
    let slave = if host.lines().any(is_shared) { "master" } else { "private" };
    let kinds =
        [("", "private"), ("rslave", slave), ("shared", "shared"), ("rshared", "shared"), ("unbindable", "unbindable")];
    for (kind, inside) in kinds {
        let scratch = Scratch::new("spreadall");
        let bundle = Bundle::new(&scratch).set("/linux/rootfsPropagation", json!(kind)).shell(PROPAGATION).write();
        assert_eq!(Runtime::firn(&scratch).run(&bundle).succeeds().stdout, format!("root {inside}\n"));
    }
}

/// Options of a bind replace what its source has.
#[test]
fn binds_of_a_source_with_options_of_its_own() {
    let scratch = Scratch::new("source");
    let source = scratch.directory("source");
    let mount = |arguments: &[&str]| {
        assert!(std::process::Command::new("mount").args(arguments).arg(&source).status().unwrap().success());
    };
    mount(&["-t", "tmpfs", "-o", "nosuid,nodev,noexec,ro", "x"]);
    for options in [&["bind"][..], &["bind", "ro"], &["bind", "nosuid"], &["rbind", "noexec", "nodev", "rslave"]] {
        same("bindopts", |bundle| {
            bundle
                .mount(json!({"destination": "/tmp", "type": "bind", "source": source, "options": options}))
                .shell("grep ' /tmp ' /proc/self/mountinfo | cut -d' ' -f6")
        });
    }
    let taken = ["bind", "rw", "exec"];
    let bundle = Bundle::new(&scratch).shell("grep ' /tmp ' /proc/self/mountinfo | cut -d' ' -f6");
    let bundle = bundle.mount(json!({"destination": "/tmp", "type": "bind", "source": source, "options": taken}));
    assert_eq!(Runtime::firn(&scratch).run(&bundle.write()).succeeds().stdout, "rw,relatime\n");
    assert!(std::process::Command::new("umount").arg(&source).status().unwrap().success());
}

#[test]
fn an_exec_has_the_processors_of_its_affinity() {
    let scratch = Scratch::new("affinity");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let exec = |affinity: serde_json::Value| {
        let process = json!({"args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/",
            "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "execCPUAffinity": affinity});
        let path = scratch.write("process.json", &process.to_string());
        firn.call(&["exec", "--process", &path.to_string_lossy(), firn.id()])
    };
    for (affinity, processors) in [(json!({"initial": "0"}), "0"), (json!({"initial": "0", "final": "1"}), "1")] {
        if affinity["final"].is_null() && older_than("6.4") {
            // The cpuset of the container decides, whatever was set before.
            skip("an affinity from before the cpuset counts since Linux 6.4");
            continue;
        }
        let output = exec(affinity).succeeds().stdout;
        assert_eq!(output.split_whitespace().last(), Some(processors));
    }
    for (affinity, says) in
        [(json!({"final": "x"}), "is not a number"), (json!({"initial": "1000"}), "initial: invalid")]
    {
        let output = exec(affinity).fails(255);
        assert!(output.stderr.contains(says), "{output:?}");
    }
}

#[test]
fn memory_comes_from_the_nodes_of_the_policy() {
    let scratch = Scratch::new("mempolicy");
    let policy = |policy: serde_json::Value| {
        let bundle = Bundle::new(&scratch).shell("head -n 1 /proc/self/numa_maps; exit 0");
        let bundle = bundle.set("/linux/memoryPolicy", policy).write();
        let firn = Runtime::firn(&scratch);
        let output = firn.run(&bundle);
        std::fs::remove_dir_all(&bundle.path).unwrap();
        output
    };
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        skip("this kernel has no memory policies");
        return;
    }
    for (mode, shown) in [("MPOL_BIND", "bind"), ("MPOL_INTERLEAVE", "interleave")] {
        let output = policy(json!({"mode": mode, "nodes": "0"})).succeeds().stdout;
        assert!(output.contains(&format!(" {shown}:0 ")), "{output}");
    }
    let output = policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]})).succeeds();
    assert!(output.stdout.contains(" bind=static:0 "), "{output:?}");
    for (wrong, says) in [
        (json!({"mode": "MPOL_NONE"}), "invalid memory policy mode"),
        (json!({"mode": "MPOL_BIND", "nodes": "x"}), "invalid memory policy node: "),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["x"]}), "invalid memory policy flag"),
        (json!({"mode": "MPOL_BIND", "nodes": "63"}), "set linux.memoryPolicy"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "memory policy mode requires 0 nodes but got 8"),
        (json!({"mode": "MPOL_BIND"}), "memory policy mode requires at least one node but got 0"),
    ] {
        let output = policy(wrong).fails(1);
        assert!(output.stderr.contains(says), "{output:?}");
    }
}

/// As runc since 1.2: options of access times stay unless others are named.
#[test]
fn binds_keep_access_times_that_are_not_named() {
    let scratch = Scratch::new("bindatime");
    let source = scratch.directory("source");
    let mount = |arguments: &[&str]| {
        assert!(std::process::Command::new("mount").args(arguments).arg(&source).status().unwrap().success());
    };
    mount(&["-t", "tmpfs", "-o", "nosuid,noatime,nodiratime", "x"]);
    for (options, expected) in [
        (&["bind"][..], "rw,nosuid,noatime,nodiratime"),
        (&["bind", "dev"], "rw,noatime,nodiratime"),
        (&["bind", "atime", "diratime", "ro"], "ro,noatime,nodiratime"),
        (&["bind", "relatime"], "rw,relatime"),
        (&["bind", "strictatime"], "rw"),
        (&["bind", "nodiratime"], "rw,nodiratime,relatime"),
    ] {
        let _ = std::fs::remove_dir_all(scratch.join("bundle"));
        let bundle = Bundle::new(&scratch)
            .mount(json!({"destination": "/tmp", "type": "bind", "source": source, "options": options}))
            .shell("grep ' /tmp ' /proc/self/mountinfo | cut -d' ' -f6");
        let output = Runtime::firn(&scratch).run(&bundle.write()).succeeds();
        assert_eq!(output.stdout, format!("{expected}\n"), "{options:?}");
    }
    assert!(std::process::Command::new("umount").arg(&source).status().unwrap().success());
}

/// A mask that is named twice is there once, and an empty HOME is filled in. A
/// process, an exec's too, has the personality, and all the processors that the
/// cgroup has, whatever the caller was kept to; and the policy that it asks for.
#[test]
fn processors_personality_and_policy_are_the_configs() {
    let scratch = Scratch::new("later");
    let bundle = Bundle::new(&scratch)
        .set("/linux/maskedPaths", json!(["/etc", "/etc", "/etc/"]))
        .set("/linux/personality", json!({"domain": "LINUX32"}))
        .shell("grep -c ' /etc ' /proc/self/mountinfo; grep Cpus_allowed: /proc/self/status; echo $HOME; sleep 1000")
        .set("/process/env/-", json!("HOME="));
    let firn = Runtime::firn(&scratch);
    let output = scratch.join("output");
    let bundle = bundle.write();
    let mut line = std::process::Command::new("taskset");
    let run = firn.command(&["run", "--detach", "--bundle", bundle.path.to_str().unwrap(), firn.id()]);
    line.args(["-c", "0"]).arg(run.get_program()).args(run.get_args());
    line.stdin(std::process::Stdio::null()).stdout(std::fs::File::create(&output).unwrap());
    assert!(line.status().unwrap().success());
    let all = std::fs::read_to_string("/proc/self/status").unwrap();
    let all = all.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap();
    let expected = format!("1\n{all}\n/\n");
    let text = || std::fs::read_to_string(&output).unwrap();
    wait_until("the program has told all", || text().lines().count() == expected.lines().count());
    assert_eq!(text(), expected);
    assert_eq!(firn.exec(&["uname", "-m"]).succeeds().stdout, "i686\n");
    let mut line = std::process::Command::new("taskset");
    let exec = firn.command(&["exec", firn.id(), "grep", "Cpus_allowed:", "/proc/self/status"]);
    line.args(["-c", "0"]).arg(exec.get_program()).args(exec.get_args());
    assert_eq!(firn_conformance::harness::command(&mut line).succeeds().stdout, format!("{all}\n"));
    // A policy that children do not inherit.
    let process = json!({"args": ["/bin/sleep", "1000"], "cwd": "/",
        "scheduler": {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}});
    let (file, pid_file) = (scratch.write("process.json", &process.to_string()), scratch.join("pid"));
    let paths = [file.to_str().unwrap(), "--pid-file", pid_file.to_str().unwrap()];
    let mut exec = firn.command(&[&["exec", "--detach", "--process"], &paths[..], &[firn.id()]].concat());
    exec.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    assert!(exec.status().unwrap().success());
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    let policy = firn_conformance::harness::command(std::process::Command::new("chrt").args(["-p", &pid]));
    assert!(policy.stdout.contains("SCHED_BATCH|SCHED_RESET_ON_FORK"), "{policy:?}");
}

/// Whatever the caller's is.
#[test]
fn without_a_umask_of_the_config_it_is_0022() {
    let scratch = Scratch::new("umask");
    let firn = Runtime::firn(&scratch);
    let under = |mask: &str, line: std::process::Command| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("umask {mask}; exec \"$@\""), "sh"]).arg(line.get_program()).args(line.get_args());
        firn_conformance::harness::command(&mut shell).succeeds().stdout
    };
    let bundle = Bundle::new(&scratch).shell("umask").write();
    for mask in ["000", "077"] {
        let line = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
        assert_eq!(under(mask, line), "0022\n", "{mask}");
    }
    firn.create(&bundle.shell("sleep 1000").write()).succeeds();
    firn.start().succeeds();
    for mask in ["000", "077"] {
        assert_eq!(under(mask, firn.command(&["exec", firn.id(), "sh", "-c", "umask"])), "0022\n", "{mask}");
    }
}

/// One that root of the container may not enter: of a group that is not mapped in
/// its user namespace, so that no capability helps.
#[test]
fn a_working_directory_that_only_the_user_may_enter_is_entered() {
    let scratch = Scratch::new("userscwd");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch)
        .shell("pwd; id -u")
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
        .set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/cwd", json!("/home"))
        .write();
    let home = bundle.root().join("home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&home, Some(101_000), Some(5)).unwrap();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "/home\n1000\n");
    let bundle = bundle.shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    assert_eq!(firn.exec(&["pwd"]).succeeds().stdout, "/home\n");
    // Neither of them may.
    let error = firn.call(&["exec", "--user", "1001", firn.id(), "pwd"]).fails(255).stderr;
    assert!(error.contains("set in config.json failed: permission denied"), "{error}");
}

/// As execvp(3): only what says that the program is not there is passed over.
#[test]
fn what_goes_wrong_while_a_program_is_looked_up_is_told() {
    let scratch = Scratch::new("lookup");
    let firn = Runtime::firn(&scratch);
    let long = "x".repeat(300);
    let bundle = Bundle::new(&scratch).args(&["true"]).write();
    std::os::unix::fs::symlink("loop", bundle.root().join("loop")).unwrap();
    let mut bundle = bundle;
    for (path, says) in [
        ("/loop:/bin".to_owned(), Some("stat /loop/true: too many levels of symbolic links")),
        (format!("/{long}:/bin"), Some("file name too long")),
        // Not there, no directory, and not executable.
        ("/none:/bin/busybox:/bin".to_owned(), None),
        (String::from("/loop"), Some("too many levels of symbolic links")),
    ] {
        bundle = bundle.set("/process/env", json!([format!("PATH={path}")])).write();
        let output = firn.run(&bundle);
        match says {
            Some(says) => assert!(output.code == 1 && output.stderr.contains(says), "{path}: {output:?}"),
            None => assert_eq!(output.code, 0, "{path}: {output:?}"),
        }
        firn.left_nothing();
    }
}

/// Go's decoder takes keys in any case, and so does runc: a config that sets
/// no_new_privs there sets it here.
#[test]
fn keys_in_any_case_are_those_of_runc() {
    let scratch = Scratch::new("keys");
    let base =
        Bundle::new(&scratch).shell("grep -E 'NoNewPrivs|Groups' /proc/self/status; cat /proc/kcore | wc -c; hostname");
    let mut config = base.config.clone();
    for (group, key, other) in [
        ("process", "noNewPrivileges", "nonewprivileges"),
        ("linux", "maskedPaths", "MASKEDPATHS"),
        ("linux", "readonlyPaths", "ReadOnlyPaths"),
    ] {
        let value = config[group].as_object_mut().unwrap().remove(key).unwrap();
        config[group][other] = value;
    }
    config["process"]["user"] = json!({"UID": 0, "Gid": 0, "AdditionalGIDs": [7]});
    config["HostName"] = config.as_object_mut().unwrap().remove("hostname").unwrap();
    let bundle = Bundle { path: base.path, config }.write();
    let ours = Runtime::firn(&scratch).run(&bundle).succeeds().stdout;
    assert_eq!(ours, Runtime::new(program("runc", "runc"), &scratch).run(&bundle).succeeds().stdout);
    assert_eq!(ours, "Groups:\t7 \nNoNewPrivs:\t1\n0\nfirn\n");
    // Also what `exec` reads.
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle.shell("sleep 1000").write()).succeeds();
    firn.start().succeeds();
    let process = json!({"Args": ["grep", "NoNewPrivs", "/proc/self/status"], "CWD": "/", "env": ["PATH=/bin"],
        "NONEWPRIVILEGES": true});
    let file = scratch.write("process.json", &process.to_string());
    let output = firn.call(&["exec", "--process", &file.to_string_lossy(), firn.id()]).succeeds();
    assert_eq!(output.stdout, "NoNewPrivs:\t1\n");
}
