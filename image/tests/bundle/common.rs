//! What the tests of bundles share: a directory of their own, the real binary, and
//! the closure fixture.

use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const IMAGE: &str = env!("CARGO_BIN_EXE_firn-image");

/// The firn-init that firn-image finds: the one beside it. It is another package's
/// program, which `cargo test --workspace` builds there.
pub fn init() -> String {
    let path = Path::new(IMAGE).with_file_name("firn-init");
    assert!(path.exists(), "{} is missing: run `cargo test -p firn-image -p firn-init`", path.display());
    path.to_str().expect("utf-8").to_owned()
}

/// A directory that is removed with the test.
pub struct Temp(pub PathBuf);

impl Temp {
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("firn-image-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("make temporary directory");
        Self(dir.canonicalize().expect("resolve temporary directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("make directory");
        std::fs::write(&path, text).expect("write file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
        path
    }

    /// A layer that has an executable /init.
    pub fn layer(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}/init"), "#!/bin/sh\n", 0o755);
        self.path(name)
    }

    /// The names in the directory, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(&self.0)
            .expect("list directory")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Runs `firn-image bundle` here.
    pub fn bundle(&self, args: &[&str]) -> Output {
        let mut command = Command::new(IMAGE);
        command.arg("bundle").args(args).current_dir(&self.0);
        command.output().expect("run firn-image")
    }

    /// Runs it and expects success.
    pub fn made(&self, args: &[&str]) {
        let output = self.bundle(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
    }

    /// Runs it, expects failure and nothing left behind; returns the message.
    pub fn refused(&self, args: &[&str]) -> String {
        let before = self.names();
        let output = self.bundle(args);
        assert!(!output.status.success(), "{args:?} succeeded");
        assert_eq!(self.names(), before, "{args:?} left something");
        text(&output.stderr).trim().to_owned()
    }

    pub fn json(&self, name: &str) -> Value {
        let file = std::fs::read(self.path(name)).expect("read JSON");
        serde_json::from_slice(&file).expect("parse JSON")
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("stat").permissions().mode() & 0o7777
}

/// Fails where a program is missing: without it the test would prove nothing.
pub fn needs(program: &str, package: &str) {
    let found = Command::new(program).arg("--version").output();
    assert!(found.is_ok(), "{program} is missing: install the Debian package {package}");
}

/// Builds tests/fixtures/closure.nix; the store path of the system.
pub fn closure(args: &[&str]) -> String {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/closure.nix");
    let output = Command::new("nix-build")
        .arg(fixture)
        .args(["--no-out-link", "--option", "sandbox", "false"])
        .args(["--option", "substitute", "false", "--option", "build-users-group", ""])
        .args(["--argstr", "busybox", "/bin/busybox"])
        .args(args)
        .output()
        .expect("run nix-build");
    assert!(output.status.success(), "nix-build: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}
