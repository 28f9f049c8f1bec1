//! Nix and firnctl, called.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The repository's nix/.
pub fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../nix")).canonicalize().expect("the repository")
}

/// The value of an expression in which `lib` is a module system, and `nix` the directory of our files.
#[track_caller]
pub fn nix(expression: &str) -> Value {
    let output = call(expression);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{expression}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn call(expression: &str) -> Output {
    let nix = directory();
    let text = format!("let nix = {}; lib = import (nix + \"/tests/nixpkgs/lib.nix\"); in {expression}", nix.display());
    let mut nix = Command::new("nix-instantiate");
    nix.args(["--eval", "--strict", "--json", "--read-write-mode", "--expr", &text]).stdin(Stdio::null());
    nix.output().expect("run nix-instantiate, of the package nix-bin")
}

/// Calls firnctl with this on its standard input.
pub fn firnctl(args: &[&str], input: &str) -> Output {
    let mut firnctl = Command::new(env!("CARGO_BIN_EXE_firnctl"));
    let firnctl = firnctl.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = firnctl.spawn().expect("run firnctl");
    // It may have ended without reading it.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("wait for firnctl")
}

/// What it prints as JSON.
#[track_caller]
pub fn json_of_firnctl(args: &[&str], input: &str) -> Value {
    let output = firnctl(args, input);
    assert!(output.status.success(), "{args:?} {input}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A directory that goes with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("firn-nix-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("make a directory");
        Scratch(path.canonicalize().expect("resolve it"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("write");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
