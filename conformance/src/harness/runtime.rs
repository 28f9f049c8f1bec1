//! Calling a runtime.

use super::output::{Output, command};
use super::place::{Scratch, binary, wait_until};
use super::{Bundle, Left};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A runtime with a state directory of the test's own.
#[derive(Debug)]
pub struct Runtime {
    path: PathBuf,
    root: PathBuf,
    id: String,
    left: Left,
}

impl Runtime {
    pub fn firn(scratch: &Scratch) -> Self {
        Self::new(binary("firn"), scratch)
    }

    pub fn new(path: PathBuf, scratch: &Scratch) -> Self {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let id = scratch.id();
        Runtime { path, root: scratch.join(&format!("state-{name}")), left: Left::now(&id), id }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The command line up to the verb's arguments.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&self.root).args(args);
        command
    }

    pub fn call<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        command(&mut self.command(args))
    }

    /// `run --bundle BUNDLE ID`.
    pub fn run(&self, bundle: &Bundle) -> Output {
        self.call(&["run", "--bundle", &bundle.path.to_string_lossy(), &self.id])
    }

    /// `create`, whose container keeps the standard streams: they are closed.
    pub fn create(&self, bundle: &Bundle) -> Output {
        self.create_with(bundle, &[])
    }

    pub fn create_with(&self, bundle: &Bundle, more: &[&str]) -> Output {
        let log = self.root.with_extension("log");
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&self.root).arg("--log").arg(&log).arg("create").args(more);
        command.arg("--bundle").arg(&bundle.path).arg(&self.id);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let code = status.expect("run create").code().unwrap_or(255);
        let stderr = std::fs::read_to_string(&log).unwrap_or_default();
        Output { code, stdout: String::new(), stderr }
    }

    pub fn start(&self) -> Output {
        self.call(&["start", &self.id])
    }

    pub fn exec(&self, args: &[&str]) -> Output {
        self.call(&[&["exec", &self.id], args].concat())
    }

    pub fn state(&self) -> serde_json::Value {
        let output = self.call(&["state", &self.id]).succeeds();
        serde_json::from_str(&output.stdout).expect("state prints JSON")
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// Waits until the container has the status.
    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        wait_until(&format!("the container is {status}"), || self.status() == status);
    }

    /// Nothing of the container is left, after `delete --force` or by itself.
    #[track_caller]
    pub fn left_nothing(&self) {
        self.left.check(&self.root);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
    }
}
