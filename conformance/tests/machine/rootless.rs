//! An ordinary user: alone with firn, and with rootless podman.

use crate::lacks_cgroup_v2;
use firn_conformance::harness::{Output, Scratch, binary, command};
use std::process::Command;

/// A script in the session of the guest's `user`, in a directory of its own.
fn as_user(scratch: &Scratch, script: &str) -> Output {
    let file = scratch.write("script", &format!("set -e; cd $(mktemp -d)\n{script}\n"));
    for path in [scratch.path(), &file] {
        std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
    }
    let mut run = Command::new("systemd-run");
    run.args(["--user", "--machine", "user@", "--pipe", "--wait", "--collect", "--quiet", "bash"]).arg(file);
    command(&mut run)
}

/// A bundle in the current directory whose program is the shell script.
fn bundle(script: &str) -> String {
    format!(
        "firn={}; $firn spec --rootless; mkdir -p rootfs/bin; cp /bin/busybox rootfs/bin
         for name in sh id cat sleep grep; do ln -sf busybox rootfs/bin/$name; done
         sed -i 's/\"terminal\": true/\"terminal\": false/; s|^\\( *\\)\"sh\"$|\\1\"sh\", \"-c\", \"{script}\"|' config.json",
        binary("firn").display()
    )
}

#[test]
fn one_id_is_mapped_without_help() {
    let scratch = Scratch::new("rootless");
    let script = bundle("id -u; cat /proc/self/uid_map") + "\n$firn run one; $firn list -q";
    let output = as_user(&scratch, &script).succeeds();
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "0", "1000", "1"], "{output:?}");
}

#[test]
fn more_ids_are_mapped_by_newuidmap() {
    let scratch = Scratch::new("subids");
    let more = "sed -i 's/\"\\(.idMappings\\)\": \\[/\"\\1\": [{\"containerID\":1,\"hostID\":100000,\"size\":1000},/' config.json";
    let script = bundle("cat /proc/self/uid_map /proc/self/gid_map") + "\n" + more + "\n$firn run many";
    let output = as_user(&scratch, &script).succeeds();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    let map = ["0", "1000", "1", "1", "100000", "1000"];
    let mut lines: Vec<&[&str]> = words.chunks(3).collect();
    lines.sort();
    assert_eq!(lines, [&map[..3], &map[..3], &map[3..], &map[3..]], "{output:?}");
    let foreign = more.replace("100000", "0");
    let script = bundle("id") + "\n" + &foreign + "\n$firn run many";
    let output = as_user(&scratch, &script);
    assert!(output.code != 0 && output.stderr.contains("newuidmap"), "{output:?}");
}

#[test]
fn the_life_of_a_container_of_ones_own() {
    let scratch = Scratch::new("rootlife");
    let script = bundle("sleep 1000")
        + "
        $firn create life </dev/null >/dev/null 2>&1; $firn state life | grep -o 'status.*created'; $firn start life
        $firn exec life sh -c 'id -u; grep Seccomp: /proc/self/status'
        $firn kill life KILL; while $firn state life | grep -q running; do sleep 0.1; done
        $firn delete life; $firn list -q";
    let output = as_user(&scratch, &script).succeeds();
    assert!(output.stdout.starts_with("status\": \"created\n0\n"), "{output:?}");
}

#[test]
fn podman_runs_containers_with_limits() {
    let scratch = Scratch::new("rootpod");
    let podman = format!("podman --runtime {} --cgroup-manager cgroupfs", binary("firn").display());
    let script = "podman load --quiet --input /srv/busybox.tar >/dev/null
        @ run --rm --network none localhost/busybox sh -c 'id -u; ls /dev/null; head -c 1 /dev/zero | wc -c'
        @ run --rm --network none --userns keep-id localhost/busybox id -u
        @ run --detach --name life localhost/busybox sleep 1000 >/dev/null
        @ exec life id -u; @ stop --time 0 life; @ rm life";
    let output = as_user(&scratch, &script.replace('@', &podman)).succeeds();
    assert_eq!(output.stdout, "0\n/dev/null\n1\n1000\n0\nlife\nlife\n", "{output:?}");
    if lacks_cgroup_v2() {
        return;
    }
    let script =
        "@ run --rm --memory 64m --pids-limit 44 localhost/busybox sh -c 'cd /sys/fs/cgroup; cat memory.max pids.max'";
    for podman in [&podman, &podman.replace("cgroupfs", "systemd")] {
        let output = as_user(&scratch, &script.replace('@', podman)).succeeds();
        assert_eq!(output.stdout, format!("{}\n44\n", 64 << 20), "{output:?}");
    }
}

#[test]
fn the_users_systemd_has_the_scope() {
    if lacks_cgroup_v2() {
        return;
    }
    let scratch = Scratch::new("rootscope");
    let script = bundle("sleep 1000")
        + "
        $firn --systemd-cgroup create scoped </dev/null >/dev/null 2>&1; $firn start scoped
        systemctl --user show --value --property ActiveState firn-scoped.scope
        $firn exec scoped sh -c 'exit 3' || echo $?
        $firn delete --force scoped; systemctl --user show --value --property LoadState firn-scoped.scope";
    let output = as_user(&scratch, &script).succeeds();
    assert_eq!(output.stdout, "active\n3\nnot-found\n", "{output:?}");
}
