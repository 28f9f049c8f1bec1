//! What a program inside may not gain.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Runtime, Scratch, binary, command};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

fn running(scratch: &Scratch, bundle: Bundle) -> Runtime {
    let bundle = bundle.shell("sleep 1000").write();
    let firn = Runtime::firn(scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    firn
}

/// CVE-2022-29162, CVE-2025-27612: capabilities that are added are for the
/// process, and not for what it starts as another user.
#[test]
fn added_capabilities_are_not_inheritable() {
    let scratch = Scratch::new("execcap");
    let firn = running(&scratch, Bundle::new(&scratch));
    let line = ["exec", "--cap", "CAP_SYS_ADMIN", "--cap", "net_raw", firn.id(), "grep", "^Cap", "/proc/self/status"];
    let output = firn.call(&line).succeeds();
    let set = |name: &str| {
        let line = output.stdout.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    let config = 1 << 29 | 1 << 5 | 1 << 10;
    let added = config | 1 << 21 | 1 << 13;
    assert_eq!([set("CapInh"), set("CapAmb")], [0, 0], "{output:?}");
    assert_eq!([set("CapPrm"), set("CapEff"), set("CapBnd")], [added; 3], "{output:?}");
    // Without it, what the config says.
    let plain = firn.exec(&["grep", "^CapPrm", "/proc/self/status"]).succeeds().stdout;
    assert!(plain.contains(&format!("{config:016x}")), "{plain}");
    assert!(firn.call(&["exec", "--cap", "CAP_NONE", firn.id(), "true"]).code != 0);
}

/// CVE-2026-30892: a user that is half understood must not become root.
#[test]
fn a_user_is_understood_whole_or_not_at_all() {
    let scratch = Scratch::new("execuser");
    let bundle = Bundle::new(&scratch).set("/process/user", json!({"uid": 5, "gid": 6}));
    let firn = running(&scratch, bundle);
    let as_user = |user: &str| firn.call(&["exec", "--user", user, firn.id(), "sh", "-c", "id -u; id -g; id -G"]);
    for (user, ids) in
        [("1", "1\n6\n6\n"), ("1000:7", "1000\n7\n7\n"), ("0:0", "0\n0\n0\n"), ("001:010", "1\n10\n10\n")]
    {
        assert_eq!(as_user(user).succeeds().stdout, ids, "{user}");
    }
    for user in [
        "",
        ":",
        "1:",
        ":1",
        "a",
        "root",
        "1a",
        "0x1",
        "+1",
        "-1",
        " 1",
        "1 ",
        "1:2:3",
        "1:a",
        "4294967295",
        "4294967296",
        "1.0",
        "1,2",
    ] {
        let output = as_user(user);
        assert!(output.code != 0 && output.stdout.is_empty(), "{user:?}: {output:?}");
    }
}

/// CVE-2022-2989 and its kin: the groups of the caller.
#[test]
fn groups_of_the_caller_do_not_reach_the_container() {
    let scratch = Scratch::new("groups");
    let bundle = Bundle::new(&scratch).shell("id -G").set("/process/user", json!({"uid": 1000, "gid": 1000})).write();
    let firn = Runtime::firn(&scratch);
    let with_groups = |line: Command| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--groups", "0,4,6,27"]).arg(line.get_program()).args(line.get_args());
        command(&mut setpriv).succeeds().stdout
    };
    let run = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    assert_eq!(with_groups(run), "1000\n");
    let firn = running(&scratch, bundle);
    assert_eq!(with_groups(firn.command(&["exec", firn.id(), "id", "-G"])), "1000\n");
}

/// podman's `--group-add keep-groups`, also as root: its user asks for the caller's
/// groups. Of no other annotation, and of none that is not "1".
#[test]
fn groups_of_the_caller_are_kept_where_they_are_asked_for() {
    let scratch = Scratch::new("keepgroups");
    let bundle = Bundle::new(&scratch).args(&["grep", "Groups:", "/proc/self/status"]);
    let bundle = bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let groups = |runtime: &Runtime, value: &str| {
        let bundle = Bundle { path: bundle.path.clone(), config: bundle.config.clone() };
        let bundle = bundle.set("/annotations", json!({"run.oci.keep_original_groups": value})).write();
        let line = runtime.command(&["run", "--bundle", &bundle.path.to_string_lossy(), runtime.id()]);
        // crun refuses a hybrid layout.
        let mut shell = Command::new("unshare");
        let view = "umount /sys/fs/cgroup/unified 2>/dev/null; exec setpriv --groups 0,4,6,27 \"$@\"";
        shell.args(["-m", "--propagation", "private", "sh", "-c", view, "sh"]);
        let output = command(shell.arg(line.get_program()).args(line.get_args())).succeeds().stdout;
        output.trim_start_matches("Groups:").split_whitespace().map(String::from).collect::<Vec<_>>()
    };
    let (firn, crun) = (Runtime::firn(&scratch), Runtime::new(program("crun", "crun"), &scratch));
    for runtime in [&firn, &crun] {
        assert_eq!(groups(runtime, "1"), ["0", "4", "6", "27"]);
    }
    for value in ["", "0", "true"] {
        assert!(groups(&firn, value).is_empty(), "{value:?}");
    }
}

#[test]
fn a_setuid_program_gains_nothing_under_no_new_privs() {
    let scratch = Scratch::new("setuid");
    let bundle =
        Bundle::new(&scratch).args(&["/bin/suid", "euid"]).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let suid = bundle.root().join("bin/suid");
    std::fs::copy(binary("firn-attacker"), &suid).unwrap();
    std::fs::set_permissions(&suid, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let bundle = bundle.write();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "1000\n");
    // The attack works where the config lets it.
    let bundle = bundle.set("/process/noNewPrivileges", json!(false)).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "0\n");
    let bundle = bundle.set("/process/noNewPrivileges", json!(true));
    let firn = running(&scratch, bundle);
    assert_eq!(firn.exec(&["/bin/suid", "euid"]).succeeds().stdout, "1000\n");
}

/// Making a device node gives no access to the device.
#[test]
fn a_device_that_is_made_inside_can_not_be_opened() {
    let scratch = Scratch::new("mknod");
    let caps = json!(["CAP_MKNOD"]);
    let bundle = Bundle::new(&scratch)
        .shell("mknod /fuse c 10 229 && echo made; head -c0 < /fuse && echo opened; head -c1 /dev/zero | wc -c")
        .set("/root/readonly", json!(false))
        .set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))
        .write();
    let firn = Runtime::firn(&scratch);
    let output = firn.run(&bundle).succeeds();
    assert_eq!(output.stdout, "made\n1\n", "{output:?}");
    assert!(output.stderr.contains("Operation not permitted"), "{output:?}");
    // A config that names no devices at all denies them too, as under runc.
    std::fs::remove_file(bundle.root().join("fuse")).unwrap();
    let bundle = bundle.set("/linux/resources", json!({})).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "made\n1\n");
    // The attack works where the config allows the device.
    std::fs::remove_file(bundle.root().join("fuse")).unwrap();
    let allow = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]});
    let bundle = bundle.set("/linux/resources", allow).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "made\nopened\n1\n");
}

/// The cgroup mount shows the container's own part, and it can't be left.
#[test]
fn a_container_sees_and_moves_within_its_own_cgroup_only() {
    let scratch = Scratch::new("cgescape");
    let script = r"
        cut -d: -f3 /proc/self/cgroup | sort -u
        for d in /sys/fs/cgroup/*/; do [ -L ${d%/} ] || wc -l < $d/cgroup.procs; done | sort -u
        ls -d /sys/fs/cgroup/*/libpod_parent /sys/fs/cgroup/*/firn-test-* /sys/fs/cgroup/*/release_agent 2>/dev/null
        for d in /sys/fs/cgroup/*/; do echo $$ 2>/dev/null > $d/../cgroup.procs && echo left; done
        mkdir /sys/fs/cgroup/memory/below 2>/dev/null && echo made; exit 0";
    let bundle = Bundle::new(&scratch).shell(script).write();
    let firn = Runtime::firn(&scratch);
    let output = firn.run(&bundle).succeeds();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], "/", "{output:?}");
    // The shell and the pipe's own processes, and nobody else's.
    assert!(lines[1..].iter().all(|n| n.parse::<u32>().is_ok_and(|n| n < 5)), "{output:?}");
    // Without a cgroup namespace the mount is still no more than its own part.
    let bundle = bundle.without_namespace("cgroup").write();
    let output = firn.run(&bundle).succeeds();
    let lines: Vec<&str> = output.stdout.lines().filter(|line| !line.starts_with('/')).collect();
    assert!(lines.iter().all(|n| n.parse::<u32>().is_ok_and(|n| n < 5)), "{output:?}");
}

/// CVE-2017-5226: a program in the caller's session could type into its
/// terminal (TIOCSTI).
#[test]
fn a_container_is_in_a_session_of_its_own() {
    let scratch = Scratch::new("session");
    let facts = "set -- $(cat /proc/$$/stat); echo session $6 tty $7; ( : > /dev/tty ) 2>/dev/null && echo opened";
    let bundle = Bundle::new(&scratch).shell(facts).write();
    let firn = Runtime::firn(&scratch);
    let on_a_terminal = |line: Command| {
        let (mut terminal, other) = firn_conformance::harness::Terminal::open();
        let stream = || Stdio::from(other.try_clone().unwrap());
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", "--wait"]).arg(line.get_program()).args(line.get_args());
        let mut child = setsid.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let text = terminal.expect("tty 0\r\n");
        assert!(child.wait().unwrap().code().is_some());
        drop((setsid, other));
        text + &terminal.rest()
    };
    let text = on_a_terminal(firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    assert_eq!(text, "session 1 tty 0\r\n");
    let firn = running(&scratch, bundle);
    let text = on_a_terminal(firn.command(&["exec", firn.id(), "sh", "-c", facts]));
    assert!(!text.contains("session 0 ") && !text.contains("opened"), "{text}");
}

/// Without pivot_root the host's procfs must not stay under the root: a user
/// namespace could mount one without masks then.
#[test]
fn a_root_that_is_moved_exposes_no_bare_proc() {
    let scratch = Scratch::new("nopivot");
    let script =
        "unshare -mrpf sh -c 'mount -t proc none /proc && ls /proc/sysrq-trigger'; ls -d /proc/self /sys/class";
    let mut bundle = Bundle::new(&scratch).shell(script);
    for set in ["bounding", "permitted"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}/-"), json!("CAP_SETFCAP"));
    }
    let bundle = bundle.write();
    let firn = Runtime::firn(&scratch);
    let output = firn.call(&["run", "--no-pivot", "--bundle", bundle.path.to_str().unwrap(), firn.id()]);
    assert!(output.stderr.contains("mount: permission denied"), "{output:?}");
    assert_eq!(output.stdout, "/proc/self\n/sys/class\n", "{output:?}");
    firn.left_nothing();
}

/// In a user namespace whose setgroups(2) is denied nobody can let go of groups.
#[test]
fn groups_of_the_caller_do_not_reach_a_user_namespace_that_denies_setgroups() {
    let scratch = Scratch::new("denygroups");
    let secret = scratch.write("secret", "for the group\n");
    std::os::unix::fs::chown(&secret, None, Some(6)).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o640)).unwrap();
    // A user namespace as an ordinary user makes it.
    let mut keeper = Command::new("setpriv");
    keeper.args([
        "--reuid=1000",
        "--regid=1000",
        "--clear-groups",
        "unshare",
        "--user",
        "--map-root-user",
        "sleep",
        "1000",
    ]);
    let mut keeper = keeper.spawn().unwrap();
    let denied = || std::fs::read_to_string(format!("/proc/{}/setgroups", keeper.id())).unwrap_or_default();
    for _ in 0..1000 {
        if denied() == "deny\n" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(denied(), "deny\n");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch)
        .set("/linux/namespaces/-", json!({"type": "user", "path": format!("/proc/{}/ns/user", keeper.id())}))
        .mount(json!({"destination": "/tmp/secret", "type": "bind", "source": secret, "options": ["bind"]}))
        .shell("grep Groups /proc/self/status; cat /tmp/secret");
    // With one id, a devpts can't have its group, and a cgroup mount has no owner.
    let mut bundle = bundle;
    let kept = |mount: &serde_json::Value| {
        ["/proc", "/dev", "/tmp/secret"].contains(&mount["destination"].as_str().unwrap_or_default())
    };
    bundle.config["mounts"].as_array_mut().unwrap().retain(kept);
    let bundle = bundle.write();
    std::fs::write(bundle.root().join("tmp/secret"), "").unwrap();
    command(Command::new("chown").args(["-R", "1000:1000"]).arg(bundle.root())).succeeds();
    let with_group = |line: Command| {
        let mut with = Command::new("setpriv");
        with.args(["--groups=6", "--"]).arg(line.get_program()).args(line.get_args());
        command(&mut with)
    };
    let output = with_group(firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    assert_eq!(output.stdout.trim(), "Groups:", "{output:?}");
    assert!(output.stderr.contains("Permission denied"), "{output:?}");
    let bundle = bundle.shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let output =
        with_group(firn.command(&["exec", firn.id(), "sh", "-c", "grep Groups /proc/self/status; cat /tmp/secret"]));
    assert_eq!(output.stdout.trim(), "Groups:", "{output:?}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
}

/// The host's root lies under one that is moved: umount2(2) and setns(2) lead there.
#[test]
fn a_root_that_is_moved_is_for_none_who_could_take_it_away() {
    let scratch = Scratch::new("uncover");
    let firn = Runtime::firn(&scratch);
    let set = |bundle: Bundle, sets: serde_json::Value| bundle.set("/process/capabilities", sets).write();
    let mapped = || {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let bundle = Bundle::new(&scratch).set("/linux/namespaces/-", json!({"type": "user"}));
        bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map).args(&["sleep", "1000"])
    };
    let mut bundle = mapped();
    for kind in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        bundle = set(bundle, json!({kind: ["CAP_SYS_ADMIN"]}));
        let output = firn.create_with(&bundle, &["--no-pivot"]).fails(1);
        assert!(output.stderr.contains("CAP_SYS_ADMIN would uncover the host's root"), "{output:?}");
        firn.left_nothing();
    }
    let bundle = set(bundle, json!({"bounding": ["CAP_KILL"]}));
    command(Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.root())).succeeds();
    firn.create_with(&bundle, &["--no-pivot"]).succeeds();
    firn.start().succeeds();
    firn.exec(&["true"]).succeeds();
    let output = firn.call(&["exec", "--cap", "CAP_SYS_ADMIN", firn.id(), "true"]).fails(255);
    assert!(output.stderr.contains("CAP_SYS_ADMIN would uncover the host's root"), "{output:?}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}
