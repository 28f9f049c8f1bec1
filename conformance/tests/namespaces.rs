//! Namespaces, new and joined by path.

use firn_conformance::harness::place::older_than;
use firn_conformance::harness::{Bundle, Runtime, Scratch, skip, wait_until};
use serde_json::json;

const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("mount", "mnt"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn host(file: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{file}")).unwrap().to_string_lossy().into_owned()
}

#[test]
fn each_namespace_of_the_config_is_new_and_no_other() {
    let scratch = Scratch::new("newns");
    let firn = Runtime::firn(&scratch);
    for left_out in ["none", "pid", "network", "ipc", "cgroup", "time"] {
        let _ = std::fs::remove_dir_all(scratch.join("bundle"));
        let bundle = Bundle::new(&scratch).shell("for n in /proc/self/ns/*; do echo ${n##*/} $(readlink $n); done");
        let bundle = bundle.set("/linux/namespaces/-", json!({"type": "time"})).without_namespace(left_out);
        let bundle = if left_out == "network" {
            bundle.set("/mounts/5", json!({"destination": "/sys", "type": "tmpfs", "source": "x"}))
        } else {
            bundle
        };
        let output = firn.run(&bundle.write()).succeeds().stdout;
        for (kind, file) in KINDS {
            let inside = output.lines().find_map(|line| line.strip_prefix(&format!("{file} "))).expect(file);
            assert_eq!(inside == host(file), kind == left_out, "{kind} without {left_out}: {inside}");
        }
    }
}

#[test]
fn another_container_can_be_joined_by_path() {
    let scratch = Scratch::new("first");
    let first = Runtime::firn(&scratch);
    first.create(&Bundle::new(&scratch).shell("sleep 1000").write()).succeeds();
    first.start().succeeds();
    let pid = first.state()["pid"].clone();
    let other = Scratch::new("second");
    let second = Runtime::firn(&other);
    let namespaces: Vec<_> = KINDS
        .iter()
        .map(|(kind, file)| match *kind {
            "mount" | "time" => json!({"type": kind}),
            kind => json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}),
        })
        .collect();
    let script = "for n in /proc/self/ns/*; do echo ${n##*/} $(readlink $n); done; ls /proc | grep -c '^[0-9]'";
    let mut bundle = Bundle::new(&other).shell(script).set("/linux/namespaces", json!(namespaces));
    // The name is the other container's.
    bundle.config["hostname"] = json!("");
    // Hooks of the host stay out of its reach, for all that the container joins.
    let seen = other.join("hook");
    let script = format!("readlink /proc/self/ns/pid >> {}", seen.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    bundle.config["hooks"] = json!({"createRuntime": hook, "poststart": hook, "poststop": hook});
    let output = second.run(&bundle.write()).succeeds().stdout;
    for (kind, file) in KINDS {
        let inside = output.lines().find_map(|line| line.strip_prefix(&format!("{file} "))).expect(file);
        let theirs = std::fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
        assert_eq!(inside == theirs.to_string_lossy(), !matches!(kind, "mount" | "time"), "{kind}");
    }
    let processes: u32 = output.lines().last().unwrap().parse().unwrap();
    assert!(processes >= 2, "the other container's init is seen: {output}");
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(std::fs::read_to_string(seen).unwrap(), format!("{}\n", own.display()).repeat(3));
}

fn in_user_namespace(bundle: Bundle) -> Bundle {
    bundle
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
        .set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
        .set("/root/readonly", json!(false))
}

/// A root that belongs to the mapped root.
fn give_away(bundle: &Bundle) {
    let status = std::process::Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.root()).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_user_namespace_without_a_root_is_refused() {
    let scratch = Scratch::new("usernoroot");
    for (field, id) in [("uidMappings", "uid"), ("gidMappings", "gid")] {
        let maps = json!([{"containerID": 1, "hostID": 100_001, "size": 1000}]);
        let bundle = in_user_namespace(Bundle::new(&scratch)).set(&format!("/linux/{field}"), maps).write();
        let firn = Runtime::firn(&scratch);
        let error = firn.run(&bundle).fails(1).stderr;
        assert!(error.contains(&format!("no mapping found for {id} 0")), "{error}");
        firn.left_nothing();
        std::fs::remove_dir_all(&bundle.path).unwrap();
    }
}

#[test]
fn a_user_namespace_maps_ids_and_keeps_its_rights_inside() {
    let scratch = Scratch::new("userns");
    let firn = Runtime::firn(&scratch);
    let script = "id -u; cat /proc/self/uid_map; touch /made; mount -t tmpfs x /tmp 2>/dev/null || echo no mounts; \
                  echo x > /dev/null && ls -l /dev/null | cut -c1-10; mknod /n c 1 3 2>&1 | sed 's/.*: //'";
    let bundle = in_user_namespace(Bundle::new(&scratch).shell(script)).write();
    give_away(&bundle);
    let output = firn.run(&bundle).succeeds().stdout;
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words[..4], ["0", "0", "100000", "65536"], "{output}");
    assert!(output.contains("crw-rw-rw-") && output.contains("Operation not permitted"), "{output}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(bundle.root().join("made")).unwrap().uid(), 100_000);
    firn.left_nothing();
}

#[test]
fn a_user_namespace_can_be_joined_with_a_new_pid_namespace() {
    let scratch = Scratch::new("joinuser");
    let first = Runtime::firn(&scratch);
    let bundle = in_user_namespace(Bundle::new(&scratch).shell("sleep 1000")).write();
    give_away(&bundle);
    first.create(&bundle).succeeds();
    first.start().succeeds();
    assert_eq!(first.exec(&["id", "-u"]).succeeds().stdout, "0\n");
    let pid = first.state()["pid"].clone();
    let other = Scratch::new("joining");
    let second = Runtime::firn(&other);
    let bundle = Bundle::new(&other).shell("cat /proc/self/uid_map; echo pid $$; readlink /proc/self/ns/user");
    let bundle =
        bundle.set("/linux/namespaces/-", json!({"type": "user", "path": format!("/proc/{pid}/ns/user")})).write();
    give_away(&bundle);
    let output = second.run(&bundle).succeeds().stdout;
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert!(output.contains("100000") && output.contains("pid 1\n"), "{output}");
    assert!(output.trim_end().ends_with(&*theirs.to_string_lossy()), "{output}");
    second.left_nothing();
}

#[test]
fn time_offsets_shift_the_clocks_inside() {
    let scratch = Scratch::new("time");
    let firn = Runtime::firn(&scratch);
    let bundle = |scratch: &Scratch| {
        Bundle::new(scratch)
            .shell("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets")
            .set("/linux/namespaces/-", json!({"type": "time"}))
            .set(
                "/linux/timeOffsets",
                json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": 7}}),
            )
    };
    let of_others = Scratch::new("timeuser");
    let mapped = in_user_namespace(bundle(&of_others)).write();
    give_away(&mapped);
    for bundle in [bundle(&scratch).write(), mapped] {
        let output = firn.run(&bundle).succeeds().stdout;
        let uptime: u64 = output.lines().next().unwrap().parse().unwrap();
        assert!(uptime > 1_000_000, "{output}");
        assert!(output.contains("1000000         5") && output.contains("7         0"), "{output}");
    }
}

/// Without a mount namespace of its own, the container has its root and leaves
/// all mounts as they are.
#[test]
fn without_a_new_mount_namespace_the_root_is_the_configs() {
    let scratch = Scratch::new("nomount");
    let firn = Runtime::firn(&scratch);
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let bundle = Bundle::new(&scratch).without_namespace("mount").shell("ls -d /bin /proc; readlink /self").write();
    std::os::unix::fs::symlink("here", bundle.root().join("self")).unwrap();
    let output = firn.run(&bundle).succeeds();
    assert_eq!(output.stdout, "/bin\n/proc\nhere\n");
    assert!(output.stderr.contains("without a new mount namespace"), "{output:?}");
    assert_eq!(mounts(), before);
    // Another's, in which the root is found by its path there.
    let mut other = std::process::Command::new("unshare").args(["--mount", "sleep", "1000"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/mnt", other.id());
    let theirs = || std::fs::read_link(&path).unwrap();
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    wait_until("unshare has a namespace of its own", || theirs() != own);
    let bundle = bundle.set("/linux/namespaces/-", json!({"type": "mount", "path": path})).shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let inside = std::fs::read_link(format!("/proc/{}/ns/mnt", firn.state()["pid"])).unwrap();
    assert_eq!(inside, theirs());
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    other.kill().unwrap();
    other.wait().unwrap();
}

/// A network namespace of the host's, in a container with a user namespace, new
/// or joined.
#[test]
fn a_namespace_of_the_hosts_is_joined_with_the_hosts_rights() {
    let scratch = Scratch::new("hostsnet");
    let mut other = std::process::Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/net", other.id());
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    wait_until("unshare has a namespace of its own", || std::fs::read_link(&path).unwrap() != own);
    let theirs = std::fs::read_link(&path).unwrap();
    let bundle = in_user_namespace(Bundle::new(&scratch).without_namespace("network"))
        .set("/linux/namespaces/-", json!({"type": "network", "path": path}))
        .set("/mounts/5", json!({"destination": "/sys", "type": "tmpfs", "source": "x"}))
        .shell("readlink /proc/self/ns/net; cat /proc/self/uid_map | tr -s ' '; exec sleep 1000")
        .write();
    give_away(&bundle);
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let facts = firn.exec(&["sh", "-c", "readlink /proc/1/ns/net; tr -s ' ' < /proc/1/uid_map"]).succeeds().stdout;
    assert_eq!(facts, format!("{}\n 0 100000 65536\n", theirs.display()));
    let second = Scratch::new("hostsnetjoin");
    let user = format!("/proc/{}/ns/user", firn.state()["pid"]);
    let bundle = Bundle::new(&second)
        .without_namespace("network")
        .set("/linux/namespaces/-", json!({"type": "network", "path": path}))
        .set("/linux/namespaces/-", json!({"type": "user", "path": user}))
        .set("/mounts/5", json!({"destination": "/sys", "type": "tmpfs", "source": "x"}))
        .shell("readlink /proc/self/ns/net")
        .write();
    give_away(&bundle);
    assert_eq!(Runtime::firn(&second).run(&bundle).succeeds().stdout, format!("{}\n", theirs.display()));
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    other.kill().unwrap();
    other.wait().unwrap();
}

/// What a user namespace could not take away stays.
#[test]
fn a_bind_in_a_user_namespace_keeps_what_its_source_has() {
    let scratch = Scratch::new("lockedbind");
    let source = scratch.directory("source");
    let mount = |arguments: &[&str]| {
        assert!(std::process::Command::new("mount").args(arguments).arg(&source).status().unwrap().success());
    };
    mount(&["-t", "tmpfs", "-o", "ro,noexec", "x"]);
    for (options, expected) in [
        (&["bind", "nosuid"][..], Ok("ro,nosuid,noexec,relatime\n")),
        (&["bind", "suid"], Ok("ro,noexec,relatime\n")),
        (&["bind", "rw"], Err("operation not permitted")),
        (&["bind", "exec"], Err("operation not permitted")),
    ] {
        let _ = std::fs::remove_dir_all(scratch.join("bundle"));
        let bundle = in_user_namespace(Bundle::new(&scratch))
            .mount(json!({"destination": "/tmp", "type": "bind", "source": source, "options": options}))
            .shell("grep ' /tmp ' /proc/self/mountinfo | cut -d' ' -f6")
            .write();
        give_away(&bundle);
        let output = Runtime::firn(&scratch).run(&bundle);
        match expected {
            Ok(options) => assert_eq!(output.succeeds().stdout, options),
            Err(says) => assert!(output.code == 1 && output.stderr.contains(says), "{options:?}: {output:?}"),
        }
    }
    assert!(std::process::Command::new("umount").arg(&source).status().unwrap().success());
}

/// Where a new sysfs may not be made there is the host's.
#[test]
fn a_user_namespace_without_a_network_of_its_own_has_the_hosts_sysfs() {
    let scratch = Scratch::new("hostsys");
    let bundle = in_user_namespace(Bundle::new(&scratch).without_namespace("network"))
        .shell(
            "ls -d /sys/class/net; grep ' /sys ' /proc/self/mounts | cut -d' ' -f3,4 | cut -d, -f1; ls /sys/firmware",
        )
        .write();
    give_away(&bundle);
    let output = Runtime::firn(&scratch).run(&bundle).succeeds();
    assert_eq!(output.stdout, "/sys/class/net\nsysfs ro\n", "masked all the same");
}

/// As after a restore, which criu makes into a time namespace of its own: what exec
/// starts is in every namespace that init is in, also in one that the config does not
/// name.
#[test]
fn exec_is_in_all_namespaces_of_init() {
    if older_than("6.3") {
        return skip("execve does not enter a time namespace that was unshared before, on this kernel");
    }
    let scratch = Scratch::new("execall");
    let admin = json!(["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]);
    let bundle = Bundle::new(&scratch)
        .shell("exec /usr/bin/unshare --time sleep 1000")
        .set("/process/capabilities", json!({"bounding": admin, "effective": admin, "permitted": admin}))
        .mount(json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}))
        .without_namespace("uts")
        .set("/hostname", json!(""));
    for name in ["lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), bundle.root().join(name)).unwrap();
    }
    let bundle = bundle.write();
    let firn = Runtime::firn(&scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let pid = firn.state()["pid"].clone();
    let of = |process: &str, file: &str| std::fs::read_link(format!("/proc/{process}/ns/{file}")).unwrap();
    let time = || of(&pid.to_string(), "time");
    for _ in 0..500 {
        if time() != of("self", "time") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_ne!(time(), of("self", "time"), "init has no time namespace of its own");
    for (_, file) in KINDS {
        let output = firn.exec(&["readlink", &format!("/proc/self/ns/{file}")]).succeeds();
        assert_eq!(output.stdout.trim_end(), of(&pid.to_string(), file).to_string_lossy(), "{file}");
    }
}

/// With a user namespace of its own the rights over it are gone before the rest is
/// made.
#[test]
fn a_pid_namespace_is_joined_by_a_container_with_a_new_user_namespace() {
    let scratch = Scratch::new("podnewuser");
    let first = Runtime::firn(&scratch);
    first.create(&Bundle::new(&scratch).args(&["sleep", "1000"]).write()).succeeds();
    first.start().succeeds();
    let path = format!("/proc/{}/ns/pid", first.state()["pid"]);
    let other = Scratch::new("podnewuserx");
    let second = Runtime::firn(&other);
    let mut bundle = Bundle::new(&other).without_namespace("pid");
    // A procfs of the pid namespace belongs to the host's user namespace.
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc");
    let bundle = in_user_namespace(bundle)
        .set("/linux/namespaces/-", json!({"type": "pid", "path": path}))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .shell("id -u; exec sleep 1000")
        .write();
    give_away(&bundle);
    second.create(&bundle).succeeds();
    second.start().succeeds();
    let inside = std::fs::read_link(format!("/proc/{}/ns/pid", second.state()["pid"])).unwrap();
    assert_eq!(inside, std::fs::read_link(&path).unwrap());
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", second.state()["pid"])).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    second.call(&["delete", "--force", second.id()]).succeeds();
    second.left_nothing();
    let hook = json!([{"path": "/bin/true"}]);
    let bundle = bundle.set("/hooks", json!({"createContainer": hook})).write();
    let error = second.run(&bundle).fails(1).stderr;
    assert!(error.contains("hooks.createContainer can't run where a pid namespace is joined"), "{error}");
    first.call(&["delete", "--force", first.id()]).succeeds();
}

/// As podman's and Kubernetes' pods with shared pids.
#[test]
fn a_pod_shares_its_user_and_pid_namespaces() {
    let scratch = Scratch::new("podshares");
    let first = Runtime::firn(&scratch);
    let bundle = in_user_namespace(Bundle::new(&scratch).args(&["sleep", "1234"])).write();
    give_away(&bundle);
    first.create(&bundle).succeeds();
    first.start().succeeds();
    let pid = first.state()["pid"].clone();
    let other = Scratch::new("podsharesx");
    let second = Runtime::firn(&other);
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("readlink /proc/self/ns/pid >{}", other.join("hook").display())]}]);
    let mut bundle = Bundle::new(&other)
        .shell("tr '\\0' ' ' </proc/1/cmdline; echo; id -u; cat /proc/sys/net/ipv4/ip_default_ttl; setsid -c true; cut -d' ' -f6 /proc/self/stat; exec sleep 1000")
        .set("/linux/sysctl", json!({"net.ipv4.ip_default_ttl": "33"}))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/hooks", json!({"createContainer": hook}));
    for kind in ["user", "pid"] {
        bundle = bundle.without_namespace(kind);
        bundle = bundle.set("/linux/namespaces/-", json!({"type": kind, "path": format!("/proc/{pid}/ns/{kind}")}));
    }
    let bundle = bundle.write();
    give_away(&bundle);
    std::fs::set_permissions(other.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    second.create(&bundle).succeeds();
    let facts = second.exec(&["cat", "/proc/sys/net/ipv4/ip_default_ttl"]).succeeds().stdout;
    assert_eq!(facts, "33\n");
    second.start().succeeds();
    assert_eq!(second.status(), "running");
    let text = second.exec(&["sh", "-c", "tr '\\0' ' ' </proc/1/cmdline; id -u"]).succeeds().stdout;
    assert_eq!(text, "sleep 1234 1000\n");
    // Not where those of the pod could use it.
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(std::fs::read_to_string(other.join("hook")).unwrap().trim_end(), own.to_string_lossy());
    second.call(&["kill", second.id(), "KILL"]).succeeds();
    second.wait_for("stopped");
    second.call(&["delete", second.id()]).succeeds();
    second.left_nothing();
    first.call(&["delete", "--force", first.id()]).succeeds();
}
