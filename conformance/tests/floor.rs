//! The floor is honest: what firn-floor makes is the container that firn makes,
//! or the bench would measure firn by less than its work.

use firn_conformance::engine::Stand;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Scratch, binary, command};
use firn_conformance::score;
use firn_conformance::view::View;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;

/// What a program can see of its container.
const SHOW: &str = "
cat /proc/self/mountinfo | while read id parent device rest; do echo \"mount $rest\"; done
grep -E '^(Cap|NoNewPrivs|Seccomp|Umask|Groups|Uid|Gid|SigIgn|SigBlk)' /proc/self/status
for name in /proc/self/ns/*; do echo \"namespace $(readlink $name)\"; done
cat /proc/self/cgroup /proc/self/limits /proc/self/oom_score_adj
hostname; pwd; id; echo $$; tr '\\0' '\\n' < /proc/self/environ
cd /dev; for file in * */*; do stat -c '%n %F %a %u:%g %t:%T' $file; done; readlink fd stdin stdout stderr core ptmx
cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/devices/devices.list 2>&1
mknod /dev/shm/kmsg c 1 11 && cat /dev/shm/kmsg; rm -f /dev/shm/kmsg
ls /proc/self/fd | wc -l; ls -A /proc/acpi /proc/scsi /sys/firmware; wc -c < /proc/kcore
cat /proc/self/net/dev | wc -l
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
    let mut lines: Vec<String> = output.lines().map(line).filter(|line| !line.starts_with("HOME=")).collect();
    let mounts = lines.iter().take_while(|line| line.starts_with("mount ")).count();
    lines[..mounts].sort();
    lines
}

/// What the container shows under firn and under the floor, and, where the view
/// has one that runs there, when joined by either.
fn same(view: View, name: &str, config: impl Fn(&Stand) -> &Value) {
    if !view.is_possible() {
        println!("skipped: this machine has no cgroup {}", view.name());
        return;
    }
    let scratch = Scratch::new(&format!("floor-{name}-{}", view.name()));
    let stand = Stand::make(scratch.path(), &binary("firn"), &binary("firn-floor")).unwrap();
    let busybox = stand.root().join("bin/busybox");
    std::fs::copy(program("busybox", "busybox-static"), &busybox).unwrap();
    let install = "/bin/busybox --list | while read name; do ln -s busybox $name; done";
    command(std::process::Command::new("sh").args(["-c", install]).current_dir(stand.root().join("bin")));
    let (id, layout) = (scratch.id(), view.layout());
    let config = Stand::config(config(&stand), view, &id, &["/bin/busybox", "sh", "-c", SHOW]);
    let bundle = stand.bundle("same", &config).unwrap();
    let plan = score::plan(&config, &id, &layout).unwrap();
    let sheet = scratch.join("score");
    std::fs::write(&sheet, score::container(&plan, &layout)).unwrap();

    let (firn, state) = (binary("firn"), scratch.join("state"));
    let line: [&OsStr; 7] = [
        firn.as_ref(),
        "--root".as_ref(),
        state.as_ref(),
        "run".as_ref(),
        "--bundle".as_ref(),
        bundle.as_ref(),
        id.as_ref(),
    ];
    let by_firn = command(&mut view.command("", &line));
    let floor = binary("firn-floor");
    let by_floor = command(&mut view.command("", &[floor.as_ref(), "play".as_ref(), sheet.as_ref()]));
    assert_eq!((by_firn.code, by_firn.stderr), (by_floor.code, by_floor.stderr));
    let (ours, theirs) = (comparable(&by_firn.stdout), comparable(&by_floor.stdout));
    assert!(ours.len() > 100, "the container shows little: {ours:#?}");
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    assert_eq!(only(&ours, &theirs), only(&theirs, &ours), "what firn alone shows, and the floor alone");
    assert_eq!(ours, theirs);
}

#[test]
fn podmans_config_on_v1() {
    same(View::V1, "podman", |stand| &stand.podman);
}

#[test]
fn podmans_config_on_v2() {
    same(View::V2, "podman", |stand| &stand.podman);
}

#[test]
fn the_config_of_firn_spec_on_v1() {
    same(View::V1, "spec", |stand| &stand.spec);
}

#[test]
fn the_config_of_firn_spec_on_v2() {
    same(View::V2, "spec", |stand| &stand.spec);
}
