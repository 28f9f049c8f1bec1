//! A mount namespace with a view of the cgroups, where firn-floor runs commands
//! and times them.

use firn_bench::view::View;
use std::ffi::OsStr;
use std::io::{Error, Read, Result, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

#[derive(Debug)]
pub struct Place {
    server: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
}

/// How one command went.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub milliseconds: f64,
    pub peak_kib: u64,
    pub status: u64,
    pub cpu_milliseconds: f64,
}

impl Place {
    /// `root`: a root to be entered first; the scratch directory is there as well.
    pub fn open(view: View, root: Option<&Path>, scratch: &Path) -> Result<Self> {
        // State directories lie in a tmpfs, as in /run of most machines.
        let state = format!("mkdir -p '{0}/state'; mount -t tmpfs tmpfs '{0}/state'", scratch.display());
        let enter = format!("{state}\n{}", root.map(|root| enter(root, scratch)).unwrap_or_default());
        let floor = scratch.join("firn-floor");
        Self::serve(view.command(&enter, &[floor.as_os_str(), OsStr::new("serve")]))
    }

    /// With the machine's cgroups as they are.
    pub fn plain(scratch: &Path) -> Result<Self> {
        let mut server = Command::new("unshare");
        server.args(["--mount", "--propagation", "private"]).arg(scratch.join("firn-floor")).arg("serve");
        Self::serve(server)
    }

    fn serve(mut server: Command) -> Result<Self> {
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = server.stdin.take();
        let answers = server.stdout.take().ok_or_else(|| Error::other("no answers"))?;
        Ok(Place { server, requests, answers })
    }

    pub fn run<S: AsRef<OsStr>>(&mut self, words: &[S]) -> Result<Sample> {
        let mut text = Vec::new();
        for word in words {
            text.extend_from_slice(word.as_ref().as_encoded_bytes());
            text.push(0);
        }
        let mut request = (text.len() as u32).to_le_bytes().to_vec();
        request.append(&mut text);
        self.requests.as_mut().ok_or_else(|| Error::other("closed"))?.write_all(&request)?;
        let mut answer = [0; 40];
        self.answers.read_exact(&mut answer)?;
        let number = |at: usize| u64::from_le_bytes(answer[at * 8..][..8].try_into().unwrap_or_default());
        Ok(Sample {
            milliseconds: number(0) as f64 / 1e6,
            peak_kib: number(1),
            status: number(2),
            cpu_milliseconds: (number(3) + number(4)) as f64 / 1e3,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The end of its input is the server's end.
        self.requests = None;
        let _ = self.server.wait();
    }
}

fn enter(root: &Path, scratch: &Path) -> String {
    let (root, scratch) = (root.display(), scratch.display());
    format!(
        "mount --bind '{root}' '{root}'; cd '{root}'
for dir in proc sys dev; do mount --rbind /$dir $dir; done
mount -t tmpfs tmpfs tmp; mount -t tmpfs tmpfs run
mkdir -p './{scratch}'; mount --rbind '{scratch}' './{scratch}'
pivot_root . .; umount -l ."
    )
}
