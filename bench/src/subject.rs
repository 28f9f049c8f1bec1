//! A runtime that is measured.

use firn_bench::view::View;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    pub program: PathBuf,
    pub version: String,
    /// The root in which it is.
    pub newest: Option<PathBuf>,
}

impl Subject {
    /// If it is there.
    pub fn find(name: &str, program: &Path, root: Option<&Path>) -> Option<Self> {
        let mut command = match root {
            None => Command::new(program),
            Some(root) => {
                let script = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", script]).arg(root).arg(program);
                command
            }
        };
        let output = command.arg("--version").output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().next().and_then(|line| line.split_whitespace().last()).unwrap_or("?").to_owned();
        // Of the newest, the version tells them from Debian's own.
        let name = if root.is_some() { format!("{name} {version}") } else { name.to_owned() };
        Some(Subject { name, program: program.to_owned(), version, newest: root.map(Path::to_owned) })
    }

    /// What is Debian's, or what the words name.
    pub fn installed(name: &str) -> Option<Self> {
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
            .iter()
            .find_map(|dir| Self::find(name, &Path::new(dir).join(name), None))
    }

    /// A word for file names and containers.
    pub fn word(&self) -> String {
        self.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }

    /// The command line up to the verb.
    pub fn line(&self, state: &Path, words: &[&str]) -> Vec<OsString> {
        let start = [self.program.as_os_str(), "--root".as_ref(), state.as_os_str()];
        start.into_iter().map(OsString::from).chain(words.iter().map(OsString::from)).collect()
    }

    /// Its state directory in a place.
    pub fn state(&self, scratch: &Path, view: View) -> PathBuf {
        scratch.join(format!("state/{}-{}", self.word(), view.name()))
    }
}
