//! The host as an attack would change it, and what is shared by the attacks.

use firn_conformance::harness::{Bundle, Output, Scratch};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// A part of the host that an attack would change, and how it was before.
pub struct Canary {
    pub path: PathBuf,
    before: Vec<String>,
}

impl Canary {
    pub fn new(scratch: &Scratch) -> Self {
        let path = scratch.directory("host");
        for dir in ["empty", "dir", "dir/below"] {
            std::fs::create_dir(path.join(dir)).unwrap();
        }
        for file in ["secret", "dir/file", "dir/null", "dir/kcore", "dir/resolv.conf"] {
            std::fs::write(path.join(file), "canary\n").unwrap();
        }
        Canary { before: snapshot(&path), path }
    }

    #[track_caller]
    pub fn check(&self, attack: &str) {
        assert_eq!(snapshot(&self.path), self.before, "the host has changed by {attack}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.path.to_str().unwrap()), "mounted on the host by {attack}: {mounts}");
    }
}

/// Everything about a tree that can be changed, but for access times.
pub fn snapshot(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let text = if stat.is_file() { std::fs::read_to_string(&path).unwrap() } else { String::new() };
        found.push(format!(
            "{} {:o} {}:{} {} {}.{} {text:?}",
            path.display(),
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.ino(),
            stat.mtime(),
            stat.mtime_nsec()
        ));
        if stat.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    found
}

/// Puts a symbolic link in the place of whatever is there.
pub fn replace_by_link(path: &Path, target: impl AsRef<Path>) {
    match std::fs::symlink_metadata(path) {
        Ok(stat) if stat.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => std::fs::create_dir_all(path.parent().unwrap()).unwrap(),
    }
    symlink(target, path).unwrap();
}

pub fn without_mounts(mut bundle: Bundle, below: &str) -> Bundle {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with(below));
    bundle
}

/// A failure must say why; a success is judged by what the host looks like.
#[track_caller]
pub fn confined_or_refused(output: &Output, attack: &str) {
    assert!(output.code == 0 || output.stderr.trim().len() > 10, "no clear error for {attack}: {output:?}");
    assert!(!output.stdout.contains("canary"), "the host's files were read by {attack}: {output:?}");
}
