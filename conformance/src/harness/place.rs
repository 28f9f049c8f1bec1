//! Where the binaries are, and directories that go when a test ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// One of firn's own binaries, as `cargo xtask build` left it, or in the directory
/// that FIRN_BIN names.
pub fn binary(name: &str) -> PathBuf {
    let path = match std::env::var_os("FIRN_BIN") {
        Some(directory) => Path::new(&directory).join(name),
        None => built(name),
    };
    assert!(path.exists(), "{} is missing: run `cargo xtask build` first", path.display());
    path
}

fn built(name: &str) -> PathBuf {
    // tests run in target/TRIPLE/PROFILE/deps
    let test = std::env::current_exe().expect("the test's own path");
    let triple = test.ancestors().nth(3).expect("target/TRIPLE above the test");
    triple.join("release").join(name)
}

/// A program of the system that a test needs; the test runner installs the
/// packages beforehand.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists());
    path.unwrap_or_else(|| panic!("{name} is missing: install Debian's package {package}"))
}

/// Says that a test can't run here, or not all of it, and why. What says so is counted
/// as skipped and not as passed, by `firn-suite`, which `cargo xtask test` runs. The
/// line must be written to stdout as it is.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}

/// Waits until the condition holds, for whose coming there is nothing to wait on.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    // Machines are loaded, and guests are emulated.
    const PATIENCE: Duration = Duration::from_secs(60);
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "it did not come to this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory of its own for a test, removed at its end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "these tests make containers: run them as root");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("firn-test-{test}-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A container's name that no other test has.
    pub fn id(&self) -> String {
        self.0.file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// A new directory in it.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        path
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("FIRN_KEEP").is_none() {
            // A mount that is still there must not be emptied.
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            if !mounts.contains(&*self.0.to_string_lossy()) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }
}

/// Gives a directory with all that is in it to a user.
pub fn give_to(directory: &Path, user: u32) {
    let status = std::process::Command::new("chown").arg("-hR").arg(format!("{user}:{user}")).arg(directory).status();
    assert!(status.is_ok_and(|status| status.success()), "give {} to {user}", directory.display());
}

/// systemd wants a cgroup v2 or a named hierarchy of its own.
pub fn cgroup_view_allows_systemd() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists() || Path::new("/sys/fs/cgroup/systemd").is_dir()
}

/// Whether the kernel is older than `version`, as in 6.3.
pub fn older_than(version: &str) -> bool {
    let numbers =
        |text: &str| -> Vec<u32> { text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect() };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("read the kernel's version");
    numbers(release.trim()) < numbers(version)
}
