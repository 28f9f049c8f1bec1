//! The floor is honest: what firn-floor makes is the container that firn makes,
//! or the bench would measure firn by less than its work.

use firn_bench::engine::Stand;
use firn_bench::score;
use firn_bench::view::View;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Output, Scratch, binary, command, skip};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;

/// What a program can see of its container.
const SHOW: &str = "
cat /proc/self/mountinfo | while read id parent device rest; do echo \"mount $rest\"; done
grep -E '^(Cap|NoNewPrivs|Seccomp|Umask|Groups|Uid|Gid|SigIgn|SigBlk)' /proc/self/status
for name in /proc/self/ns/*; do echo \"namespace $(readlink $name)\"; done
cat /proc/self/cgroup /proc/self/limits /proc/self/oom_score_adj
hostname; pwd; id; tr '\\0' '\\n' < /proc/self/environ
cd /dev; for file in * */*; do stat -c '%n %F %a %u:%g %t:%T' $file; done; readlink fd stdin stdout stderr core ptmx
cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/devices/devices.list 2>&1
mknod /dev/shm/kmsg c 1 11 && cat /dev/shm/kmsg; rm -f /dev/shm/kmsg
ls /proc/self/fd | wc -l; ls -A /proc/acpi /proc/scsi /sys/firmware; wc -c < /proc/kcore
cat /proc/self/net/dev | wc -l; ip addr
for call in 'unshare -m true' 'mount -t tmpfs x /tmp' 'chroot / true' 'date -s 00:00' 'nice -n -1 true'; do
  $call > /dev/null 2>&1; echo \"$call: $?\"
done
";

/// Without what differs between two containers that are alike, and without HOME,
/// which a runtime adds. Mounts are listed
/// as their sources were opened: their order says nothing.
fn comparable(output: &str) -> Vec<String> {
    let host = |kind: &str| std::fs::read_link(Path::new("/proc/self/ns").join(kind)).unwrap_or_default();
    let line = |line: &str| match line.split_once(' ') {
        // A peer group's number; a namespace's, which is the host's or not.
        Some(("mount", rest)) => {
            let words = rest
                .split(' ')
                .map(|word| word.split(':').next().filter(|_| word.starts_with("master:")).unwrap_or(word));
            format!("mount {}", words.collect::<Vec<_>>().join(" "))
        }
        Some(("namespace", link)) => {
            let kind = link.split(':').next().unwrap_or_default();
            let own = host(kind.trim_end_matches("_for_children")) != Path::new(link);
            format!("{kind} {}", if own { "new" } else { "the host's" })
        }
        _ => line.to_owned(),
    };
    // The floor starts with what its caller ignores; firn sets dispositions anew.
    let is_compared = |line: &String| !line.starts_with("HOME=") && !line.starts_with("SigIgn:");
    let mut lines: Vec<String> = output.lines().map(line).filter(is_compared).collect();
    let mounts = lines.iter().take_while(|line| line.starts_with("mount ")).count();
    lines[..mounts].sort();
    lines
}

/// A view, and what is compared in it.
struct Trial {
    view: View,
    scratch: Scratch,
    stand: Stand,
}

impl Trial {
    fn new(view: View, name: &str) -> Option<Self> {
        if !view.is_possible() {
            skip(&format!("this machine has no cgroup {}", view.name()));
            return None;
        }
        let scratch = Scratch::new(&format!("floor-{name}-{}", view.name()));
        let stand = Stand::make(scratch.path(), &binary("firn"), &binary("firn-floor")).unwrap();
        let bin = stand.root().join("bin");
        std::fs::copy(program("busybox", "busybox-static"), bin.join("busybox")).unwrap();
        let install = "./busybox --list | while read name; do [ -e $name ] || ln -s busybox $name; done";
        command(std::process::Command::new("sh").args(["-c", install]).current_dir(bin)).succeeds();
        Some(Trial { view, scratch, stand })
    }

    fn config(&self, config: &Value, args: &[&str]) -> Value {
        Stand::config(config, self.view, &self.scratch.id(), args)
    }

    fn plan(&self, config: &Value) -> firn::internals::plan::Plan {
        score::plan(config, &self.scratch.id(), &self.view.layout()).unwrap()
    }

    fn firn(&self, words: &[&str]) -> Output {
        let (firn, state) = (binary("firn"), self.scratch.join("state"));
        let line = [firn.as_os_str(), "--root".as_ref(), state.as_os_str()];
        let line: Vec<&OsStr> = line.into_iter().chain(words.iter().map(OsStr::new)).collect();
        command(&mut self.view.command("", &line))
    }

    fn floor(&self, score: &[u8]) -> Output {
        let sheet = self.scratch.join("score");
        std::fs::write(&sheet, score).unwrap();
        command(&mut self.view.command("", &[binary("firn-floor").as_ref(), "play".as_ref(), sheet.as_ref()]))
    }
}

fn same(ours: Output, theirs: Output) {
    assert_eq!((ours.code, ours.stderr), (theirs.code, theirs.stderr), "firn's first, then the floor's");
    let (ours, theirs) = (comparable(&ours.stdout), comparable(&theirs.stdout));
    assert!(ours.len() > 100, "the container shows little: {ours:#?}");
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    assert_eq!(only(&ours, &theirs), only(&theirs, &ours), "what firn alone shows, and the floor alone");
    assert_eq!(ours, theirs);
}

fn same_container(view: View, name: &str, config: impl Fn(&Stand) -> &Value) {
    let Some(trial) = Trial::new(view, name) else { return };
    let script = format!("{SHOW} echo $$");
    let config = trial.config(config(&trial.stand), &["/bin/busybox", "sh", "-c", &script]);
    let bundle = trial.stand.bundle("same", &config).unwrap();
    let by_firn = trial.firn(&["run", "--bundle", &bundle.to_string_lossy(), &trial.scratch.id()]);
    let by_floor = trial.floor(&score::container(&trial.plan(&config), &view.layout()));
    same(by_firn, by_floor);
}

/// The same of a process that joins a container.
fn same_when_joined(view: View) {
    let Some(trial) = Trial::new(view, "join") else { return };
    let id = trial.scratch.id();
    let bundle = trial.stand.bundle("sleeps", &trial.config(&trial.stand.podman, &["/bin/sleep"])).unwrap();
    let pid_file = trial.scratch.join("pid");
    let (bundle, pid_path) = (bundle.to_string_lossy(), pid_file.to_string_lossy());
    // What is created keeps the streams.
    let quiet = ["--log", "/dev/null", "create", "--bundle", &bundle, "--pid-file", &pid_path, &id];
    let (firn, state) = (binary("firn"), trial.scratch.join("state"));
    let line = [firn.as_os_str(), "--root".as_ref(), state.as_os_str()];
    let line: Vec<&OsStr> = line.into_iter().chain(quiet.iter().map(OsStr::new)).collect();
    let null = std::process::Stdio::null;
    let status = view.command("", &line).stdin(null()).stdout(null()).stderr(null()).status().unwrap();
    assert!(status.success(), "create: {status}");
    trial.firn(&["start", &id]).succeeds();
    let by_firn = trial.firn(&["exec", &id, "/bin/busybox", "sh", "-c", SHOW]);
    let pid = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let joins = trial.config(&trial.stand.podman, &["/bin/busybox", "sh", "-c", SHOW]);
    let by_floor = trial.floor(&score::join(&trial.plan(&joins), &view.layout(), pid));
    trial.firn(&["delete", "--force", &id]).succeeds();
    same(by_firn, by_floor);
}

#[test]
fn podmans_config_on_v1() {
    same_container(View::V1, "podman", |stand| &stand.podman);
}

#[test]
fn podmans_config_on_v2() {
    same_container(View::V2, "podman", |stand| &stand.podman);
}

#[test]
fn the_config_of_firn_spec_on_v1() {
    same_container(View::V1, "spec", |stand| &stand.spec);
}

#[test]
fn the_config_of_firn_spec_on_v2() {
    same_container(View::V2, "spec", |stand| &stand.spec);
}

#[test]
fn a_process_that_joins_on_v1() {
    same_when_joined(View::V1);
}

#[test]
fn a_process_that_joins_on_v2() {
    same_when_joined(View::V2);
}
