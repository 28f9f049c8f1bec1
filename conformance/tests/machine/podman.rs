//! podman as root, as it is set up on a machine with systemd.

use crate::lacks_cgroup_v2;
use firn_conformance::harness::{Output, binary, command};
use std::process::Command;
use std::sync::Once;

/// A script in which `@` stands for podman with that runtime.
fn podman_with(runtime: &str, manager: &str, script: &str) -> Output {
    static LOAD: Once = Once::new();
    LOAD.call_once(|| {
        command(Command::new("podman").args(["load", "--quiet", "--input", "/srv/busybox.tar"])).succeeds();
    });
    let podman = format!("podman --runtime {runtime} --cgroup-manager {manager}");
    command(Command::new("bash").args(["-ec", &script.replace('@', &podman)]))
}

fn podman(manager: &str, script: &str) -> Output {
    podman_with(&binary("firn").to_string_lossy(), manager, script)
}

const BUSYBOX: &str = "localhost/busybox";

#[test]
fn limits_reach_the_container() {
    if lacks_cgroup_v2() {
        return;
    }
    let script = format!(
        "@ run --rm --network none --memory 64m --pids-limit 50 --cpus 0.5 --cpuset-cpus 0 {BUSYBOX} \
         sh -c 'cd /sys/fs/cgroup; cat memory.max pids.max cpu.max cpuset.cpus'"
    );
    for manager in ["cgroupfs", "systemd"] {
        assert_eq!(podman(manager, &script).succeeds().stdout, format!("{}\n50\n50000 100000\n0\n", 64 << 20));
    }
}

/// `.State.OOMKilled` is conmon's word: version 2.1.12 stops watching memory.events when that changes before the first
/// kill, as it does where the container has no cgroup below its scope, with runc too. The kernel's word is compared.
#[test]
fn a_container_out_of_memory_is_reported() {
    if lacks_cgroup_v2() {
        return;
    }
    let script = format!(
        "@ run --rm --network none --memory 32m --memory-swap 32m {BUSYBOX} \
         sh -c 'head -c 200m /dev/zero | tail >/dev/null; code=$?; grep \"oom_kill \" /sys/fs/cgroup/memory.events; \
         exit $code' || echo status $?"
    );
    let ours = podman("systemd", &script).succeeds().stdout;
    assert_eq!(ours, "oom_kill 1\nstatus 137\n");
    assert_eq!(ours, podman_with("crun", "systemd", &script).succeeds().stdout);
}

#[test]
fn the_life_of_a_container_with_a_network() {
    let script = format!(
        "@ run --detach --name life --publish 127.0.0.1:8099:80 {BUSYBOX} \
           sh -c 'echo hello > /index.html; exec httpd -f -p 80 -h /' >/dev/null
         for n in $(seq 100); do busybox wget -q -O - http://127.0.0.1:8099/ && break; sleep 0.2; done
         @ exec life sh -c 'echo inside $$; id -u'
         @ pause life; @ inspect --format '{{{{.State.Status}}}}' life; @ unpause life
         @ stop --time 1 life; @ inspect --format '{{{{.State.Status}}}}' life; @ rm life"
    );
    let output = podman("systemd", &script).succeeds().stdout;
    for words in ["hello\n", "\n0\n", "\npaused\n", "\nexited\n"] {
        assert!(output.contains(words), "{words:?} in {output}");
    }
}

/// As podman sets it up: systemd inside has the scope's cgroup to itself.
#[test]
fn systemd_boots_inside() {
    if lacks_cgroup_v2() {
        return;
    }
    let script =
        "@ run --detach --systemd always --name inner --network none --rootfs /srv/debian:O /sbin/init >/dev/null
         for n in $(seq 120); do
             state=$(@ exec inner systemctl is-system-running || true)
             case $state in running|degraded) break;; esac; sleep 0.5
         done
         echo $state; @ exec inner systemctl list-units --failed --plain --no-legend
         @ exec inner journalctl --quiet --no-pager --lines 1 --output cat
         @ exec inner systemd-run --quiet --wait --property MemoryMax=32M true && echo unit
         @ stop --time 30 inner; @ inspect --format '{{.State.ExitCode}}' inner; @ rm inner";
    let output = podman("systemd", script).succeeds().stdout;
    assert!(output.starts_with("running\n") && output.contains("\nunit\n"), "{output}");
}
