//! What a container sees at /sys/fs/cgroup, and what of it is its own.

use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, command};
use serde_json::json;
use std::process::Command;

/// The machine's cgroups as one version alone, in a mount namespace of one's own.
const V1: &str = "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi";
const V2: &str = "test $(stat -fc %T /sys/fs/cgroup) = cgroup2fs || mount -t cgroup2 none /sys/fs/cgroup";

fn with_user_namespace(bundle: Bundle, host_id: u32, size: u32) -> Bundle {
    let maps = json!([{"containerID": 0, "hostID": host_id, "size": size}]);
    let bundle = bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    bundle.set("/linux/namespaces/-", json!({"type": "user"}))
}

/// Replaces the options of the mount at /sys/fs/cgroup.
fn with_cgroup_options(mut bundle: Bundle, options: &[&str]) -> Bundle {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    bundle.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}))
}

fn run_in(view: &str, firn: &Runtime, bundle: &Bundle, more: &[&str]) -> Output {
    let run = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-c", &format!("set -e; {view}; exec \"$@\""), "sh"]);
    command(shell.args(more).arg(run.get_program()).args(run.get_args()))
}

/// An ordinary user's container without a cgroup of its own is in the caller's: that
/// is what it sees, and can't write, as under runc and crun.
#[test]
fn a_container_without_a_cgroup_sees_the_real_hierarchy_read_only() {
    let scratch = Scratch::new("nocgroup");
    let state = scratch.directory("state-firn");
    command(Command::new("chown").arg("1000:1000").arg(&state)).succeeds();
    let firn = Runtime::firn(&scratch);
    let script = "find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs | grep -q . && echo shown
        mkdir /sys/fs/cgroup/made 2>&1 | grep -o Read-only; mkdir /sys/fs/cgroup/cpu/made 2>&1 | grep -o Read-only; true";
    let bundle = with_user_namespace(Bundle::new(&scratch).shell(script), 1000, 1);
    let mut bundle = with_cgroup_options(bundle, &["nosuid", "noexec", "nodev"]);
    bundle.config["linux"]["cgroupsPath"] = json!(null);
    bundle.config["linux"]["resources"] = json!(null);
    for mount in bundle.config["mounts"].as_array_mut().unwrap() {
        // No group but one is mapped.
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
    let user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"];
    let machine_is_v2 = command(Command::new("stat").args(["-fc", "%T", "/sys/fs/cgroup"])).stdout.contains("cgroup2");
    for private in [true, false] {
        let mut bundle = Bundle::new_of(&bundle);
        if !private {
            bundle = bundle.without_namespace("cgroup");
        }
        let bundle = bundle.write();
        for view in [V1, V2] {
            let is_v1 = view == V1 && !machine_is_v2;
            let expected = if is_v1 { "shown\nRead-only\nRead-only\n" } else { "shown\nRead-only\n" };
            let output = run_in(view, &firn, &bundle, &user).succeeds();
            assert_eq!(output.stdout, expected, "{view} {private}");
        }
    }
}

/// cgroup v2: a systemd inside makes cgroups for its services. The kernel says which
/// files that takes; what limits the container stays the caller's.
#[test]
fn a_writable_cgroup_of_a_user_namespace_is_its_roots() {
    let scratch = Scratch::new("delegate");
    let firn = Runtime::firn(&scratch);
    let script = "stat -c '%n %u:%g' /sys/fs/cgroup /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/cgroup.subtree_control \
            /sys/fs/cgroup/cgroup.freeze | tr '\\n' ' '
        mkdir /sys/fs/cgroup/below 2>/dev/null && echo $$ > /sys/fs/cgroup/below/cgroup.procs && echo moved
        cat /proc/self/cgroup | tail -1; true";
    let bundle = with_user_namespace(Bundle::new(&scratch).shell(script), 100_000, 65536);
    let none = "65534:65534";
    let root = "0:0";
    for (options, owner, moved) in [
        (&["nosuid", "noexec", "nodev"][..], root, "moved\n0::/below\n"),
        (&["nosuid", "noexec", "nodev", "ro"], none, "0::/\n"),
        (&["rro"], none, "0::/\n"),
    ] {
        let bundle = with_cgroup_options(Bundle::new_of(&bundle), options).write();
        let output = run_in(V2, &firn, &bundle, &[]).succeeds();
        let expected = format!(
            "/sys/fs/cgroup {owner} /sys/fs/cgroup/cgroup.procs {owner} \
             /sys/fs/cgroup/cgroup.subtree_control {owner} /sys/fs/cgroup/cgroup.freeze {none} {moved}"
        );
        assert_eq!(output.stdout, expected, "{options:?}");
        firn.left_nothing();
    }
    // Without a cgroup namespace it is not the container's.
    let bundle =
        with_cgroup_options(Bundle::new_of(&bundle), &[]).without_namespace("cgroup").shell("echo ran").write();
    run_in(V2, &firn, &bundle, &[]).succeeds();
}

/// Options of cgroup v2 are the machine's. In a cgroup namespace the kernel takes
/// those that it knows and changes nothing.
#[test]
fn options_of_a_cgroup_mount_are_not_lost() {
    let scratch = Scratch::new("cgroupoptions");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).shell("echo ran");
    let run = |bundle: &Bundle, options: &[&str]| {
        let bundle = with_cgroup_options(Bundle::new_of(bundle), options).write();
        run_in(V2, &firn, &bundle, &[])
    };
    let of_machine = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().filter(|line| line.contains(" - cgroup2 ")).map(String::from).collect::<Vec<_>>()
    };
    let before = of_machine();
    assert_eq!(run(&bundle, &["ro", "nsdelegate,memory_recursiveprot"]).succeeds().stdout, "ran\n");
    let error = run(&bundle, &["ro", "no-such-option"]).fails(1).stderr;
    assert!(error.contains("Unknown parameter 'no-such-option'"), "{error}");
    let shared = Bundle::new_of(&bundle).without_namespace("cgroup");
    let error = run(&shared, &["ro", "nsdelegate"]).fails(1).stderr;
    assert!(error.contains("would change the machine's cgroups"), "{error}");
    assert_eq!(run(&shared, &["ro"]).succeeds().stdout, "ran\n");
    assert_eq!(of_machine(), before);
    firn.left_nothing();
}
