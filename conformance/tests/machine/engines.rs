//! Engines other than podman, as Debian has them, with firn as their runtime.

use crate::lacks_cgroup_v2;
use firn_conformance::harness::{Output, Scratch, binary, command};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// One at a time: they share containerd.
static ENGINE: Mutex<()> = Mutex::new(());

struct Daemon(Child);

impl Daemon {
    /// Starts it and waits until `ready` succeeds.
    fn start(scratch: &Scratch, line: &[&str], ready: &[&str]) -> Self {
        let log = std::fs::File::create(scratch.join(line[0])).unwrap();
        let mut daemon = Command::new(line[0]);
        daemon.args(&line[1..]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = Daemon(daemon.spawn().unwrap_or_else(|e| panic!("{}: {e}", line[0])));
        for _ in 0..600 {
            if command(Command::new(ready[0]).args(&ready[1..])).code == 0 {
                return daemon;
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        panic!("{} does not answer: {}", line[0], std::fs::read_to_string(scratch.join(line[0])).unwrap());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = command(Command::new("kill").arg(self.0.id().to_string()));
        let _ = self.0.wait();
    }
}

/// `@` stands for firn.
fn shell(script: &str) -> Output {
    let script = script.replace('@', &binary("firn").to_string_lossy());
    command(Command::new("bash").args(["-c", &script]))
}

#[test]
fn containerd_runs_pauses_measures_and_ends_containers() {
    if lacks_cgroup_v2() {
        return;
    }
    let _one = ENGINE.lock().unwrap_or_else(|broken| broken.into_inner());
    let scratch = Scratch::new("containerd");
    let _daemon = Daemon::start(&scratch, &["containerd"], &["ctr", "version"]);
    let script = "
        image=localhost/busybox:latest; status() { ctr task ls | sed -n 's/.* \\([A-Z]*\\)$/\\1/p' | tail -n 1; }
        ctr image import /srv/busybox.tar >/dev/null
        ctr run --rm --runc-binary @ $image once sh -c 'id -u; exit 5'; echo $?
        for options in '' '--runc-systemd-cgroup --cgroup machine.slice:ctr:long'; do
            ctr run --detach --runc-binary @ $options --memory-limit 33554432 $image long sleep 1000; echo $?
            ctr task exec --exec-id more long sh -c 'echo in; exit 3'; echo $?
            ctr task ps long | wc -l; ctr task metrics long | grep -c 'memory.usage_limit *33554432'
            ctr task pause long; status; ctr task resume long; status
            ctr task kill -s KILL long; while [ $(status) != STOPPED ]; do sleep 0.2; done
            ctr task rm long 2>/dev/null; ctr container rm long
        done
        ctr task ls -q; ls /run/containerd/runc/default";
    let each = "0\nin\n3\n2\n1\nPAUSED\nRUNNING\n";
    assert_eq!(shell(script).stdout, format!("0\n5\n{each}{each}"));
}

#[test]
fn buildah_builds_an_image_with_run_steps() {
    let scratch = Scratch::new("buildah");
    scratch.write(
        "Containerfile",
        "FROM localhost/busybox\nRUN echo built > /etc/built && id -u >> /etc/built\nRUN test -f /etc/built && mkdir /work\n\
         WORKDIR /work\nCMD cat /etc/built; pwd\n",
    );
    let script = format!(
        "set -e; podman load --quiet --input /srv/busybox.tar >/dev/null; cd {}
         buildah --runtime @ bud --isolation oci --quiet --tag built . >/dev/null
         podman --runtime @ run --rm localhost/built
         name=$(buildah from localhost/built)
         buildah --runtime @ run --isolation oci $name -- sh -c 'exit 4' 2>/dev/null || echo $?; buildah rm $name >/dev/null",
        scratch.path().display()
    );
    let output = shell(&script);
    assert_eq!((output.code, output.stdout.as_str()), (0, "built\n0\n/work\n4\n"), "{output:?}");
}

#[test]
fn docker_runs_updates_and_restarts_containers() {
    if lacks_cgroup_v2() {
        return;
    }
    let _one = ENGINE.lock().unwrap_or_else(|broken| broken.into_inner());
    let scratch = Scratch::new("docker");
    let _containerd = Daemon::start(&scratch, &["containerd"], &["ctr", "version"]);
    let runtime = format!("firn={}", binary("firn").display());
    let line = ["dockerd", "--add-runtime", &runtime, "--bridge", "none", "--iptables=false", "--containerd"];
    let line = [&line[..], &["/run/containerd/containerd.sock"]].concat();
    let _docker = Daemon::start(&scratch, &line, &["docker", "info"]);
    let script = "
        docker load --quiet --input /srv/busybox.tar >/dev/null
        run='docker run --runtime firn --network none'; image=localhost/busybox
        $run --rm $image sh -c 'id -u; exit 3'; echo $?
        $run --detach --name long --memory 64m --pids-limit 20 $image sh -c 'echo out; exec sleep 1000' >/dev/null
        docker exec long sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; exit 4'; echo $?
        docker pause long >/dev/null; docker inspect --format '{{.State.Status}}' long; docker unpause long >/dev/null
        docker update --memory 128m --memory-swap 128m long >/dev/null; docker exec long cat /sys/fs/cgroup/memory.max
        docker restart --time 0 long >/dev/null; docker logs long; docker rm --force long
        $run --rm $image no-such-program 2>/dev/null; echo $?";
    let expected = format!("0\n3\n{}\n20\n4\npaused\n{}\nout\nout\nlong\n127\n", 64 << 20, 128 << 20);
    let output = shell(script);
    assert_eq!(output.stdout, expected, "{output:?}");
}
