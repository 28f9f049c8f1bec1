//! The image changed while the container is made.

use super::host::{Canary, confined_or_refused, without_mounts};
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, command};
use rustix::fs::{CWD, RenameFlags};
use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Swaps two names for as long as it lives, as a second container on the same
/// root or volume does.
pub struct Swapping {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Swapping {
    pub fn new(pairs: Vec<(PathBuf, PathBuf)>) -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                for (one, other) in &pairs {
                    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("swap two names");
                    count += 1;
                }
            }
            count
        });
        Swapping { stop, thread: Some(thread) }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.thread.take().unwrap().join().unwrap();
        assert!(count > 1000 || std::thread::panicking(), "only {count} swaps");
    }
}

/// Few runs prove nothing, and a busy machine is slow.
const FEWEST: usize = 10;

/// Runs the bundle again and again for a while.
pub fn race(firn: &Runtime, bundle: &Bundle, swaps: Vec<(PathBuf, PathBuf)>, time: Duration, check: impl Fn(&Output)) {
    let _swapping = Swapping::new(swaps);
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < time || count < FEWEST {
        let output = firn.run(bundle);
        confined_or_refused(&output, "a race");
        check(&output);
        count += 1;
    }
    firn.left_nothing();
}

/// CVE-2021-30465: a directory that becomes a link to the host, and back, while
/// things are made and mounted below it.
#[test]
fn directories_that_turn_into_links_lead_nothing_to_the_host() {
    let scratch = Scratch::new("race");
    let host = Canary::new(&scratch);
    let volume = scratch.directory("volume");
    let bundle = Bundle::new(&scratch)
        .shell("cat /vol/a/secret /vol/a/b/secret /etc/secret /secret 2>/dev/null; echo ran")
        .set("/root/readonly", json!(false))
        .set("/process/cwd", json!("/vol/a/work"))
        .set("/linux/devices", json!([{"path": "/vol/a/fuse", "type": "c", "major": 10, "minor": 229}]));
    let bundle = without_mounts(bundle, "/dev")
        .mount(json!({"destination": "/vol/a/b", "type": "bind", "source": volume, "options": ["rbind"]}))
        .mount(json!({"destination": "/vol/a/t", "type": "tmpfs", "source": "tmpfs"}))
        .mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}))
        .set("/linux/maskedPaths", json!(["/vol/a/masked", "/vol/a/file"]))
        .set("/linux/readonlyPaths", json!(["/vol/a/fixed"]))
        .write();
    let root = bundle.root();
    for dir in ["vol/a/masked", "vol/a/fixed"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("vol/a/file"), "").unwrap();
    let up = format!("{}{}", "../".repeat(20), host.path.join("dir").display());
    symlink(&host.path, root.join("vol/link")).unwrap();
    symlink(up, root.join("dev-link")).unwrap();
    let swaps = vec![(root.join("vol/a"), root.join("vol/link")), (root.join("dev"), root.join("dev-link"))];
    let firn = Runtime::firn(&scratch);
    race(&firn, &bundle, swaps, Duration::from_secs(3), |_| host.check("a race"));
}

/// CVE-2025-31133 with a race: /dev/null is now the device, now a link.
#[test]
fn a_dev_null_that_turns_into_a_link_covers_nothing_else() {
    let scratch = Scratch::new("racenull");
    let host = Canary::new(&scratch);
    let bundle = Bundle::new(&scratch)
        .shell("cat /masked; echo pwned 2>/dev/null > /masked; echo ran")
        .set("/root/readonly", json!(false))
        .set("/linux/maskedPaths", json!(["/masked"]));
    let bundle = without_mounts(bundle, "/dev").write();
    let root = bundle.root();
    std::fs::write(root.join("masked"), "canary of the mask\n").unwrap();
    command(Command::new("mknod").arg(root.join("dev/null")).args(["c", "1", "3"])).succeeds();
    symlink(host.path.join("secret"), root.join("dev/null2")).unwrap();
    let swaps = vec![(root.join("dev/null"), root.join("dev/null2"))];
    let firn = Runtime::firn(&scratch);
    race(&firn, &bundle, swaps, Duration::from_secs(1), |_| {
        host.check("a race");
        assert_eq!(std::fs::read_to_string(root.join("masked")).unwrap(), "canary of the mask\n");
    });
}

/// The directory on which /proc was mounted is moved away before it is masked:
/// the true procfs must be masked all the same, wherever it is.
#[test]
fn a_proc_that_is_moved_away_is_masked_all_the_same() {
    let scratch = Scratch::new("raceproc");
    // /proc/keys is a masked file, /proc/sys a read-only directory.
    let script = "for d in /proc /other; do
        [ -e $d/1/stat ] && [ -f $d/keys ] && echo unmasked $d
        [ -e $d/1/stat ] && ( : >> $d/sys/kernel/core_pattern ) 2>/dev/null && echo writable $d
        done; echo ran";
    let bundle = Bundle::new(&scratch).shell(script).set("/root/readonly", json!(false)).write();
    let root = bundle.root();
    std::fs::create_dir(root.join("other")).unwrap();
    let firn = Runtime::firn(&scratch);
    let swaps = vec![(root.join("proc"), root.join("other"))];
    race(&firn, &bundle, swaps, Duration::from_secs(2), |output| {
        assert!(!output.stdout.contains("unmasked") && !output.stdout.contains("writable"), "{output:?}");
    });
}
