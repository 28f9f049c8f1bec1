//! The folder of one container, `STATE/NAME`: its lock, and every file that
//! the monitor makes.
//!
//! | Name | What | After the end |
//! |---|---|---|
//! | `lock` | held by the living monitor, with its pid | removed |
//! | `owner` | which runtime and root the container was made with | removed |
//! | `bundle/` | the derived bundle | removed |
//! | `notify`, `console` | sockets | removed |
//! | `pid`, `runtime.log`, `runtime.err` | what the runtime writes | removed |
//! | `command` | which process the runtime's command under way is | removed |
//! | `log`, `log.1` | output, appended to by later runs | stays |
//! | `exit` | the exit record, replaced by the next run | stays |

use crate::error::{Context, Error, Result};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A socket's path must fit into sockaddr_un.
const LONGEST_SOCKET_PATH: usize = 107;

/// The locked folder.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    dir: File,
    _lock: File,
}

impl StateDir {
    /// Makes and locks the folder of `id` below `base`.
    pub fn lock(base: &Path, id: &str) -> Result<StateDir> {
        let base = std::path::absolute(base).context(|| format!("state directory {}", base.display()))?;
        let path = base.join(id);
        let shown = path.display();
        // The monitor that just ended may remove folder and lock at any moment
        // before we hold the lock: then a new one is made.
        for _ in 0..100 {
            DirBuilder::new().recursive(true).mode(0o700).create(&path).context(|| format!("create {shown}"))?;
            let dir = File::open(&path).context(|| format!("open {shown}"))?;
            check_private(&dir, &path)?;
            let mut lock = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path.join("lock"))
                .context(|| format!("open {shown}/lock"))?;
            // A lock of fcntl(2) and not of flock(2): that one is inherited by fork, and
            // a monitor that is killed between fork and exec of a command would seem to
            // live on until the exec. It goes with the first descriptor of the file that
            // this process closes, so the file is not opened a second time.
            match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => return Err(held(lock, id)),
                Err(errno) => return Err(io::Error::from(errno)).context(|| format!("lock {shown}/lock")),
            }
            let ours = lock.metadata().context(|| format!("stat {shown}/lock"))?;
            if fs::metadata(path.join("lock")).is_ok_and(|now| now.ino() == ours.ino()) {
                let _ = lock.set_len(0);
                let _ = write!(lock, "{}", std::process::id());
                return Ok(StateDir { path, dir, _lock: lock });
            }
        }
        Err(Error::new(format!("lock {shown}/lock: it is removed again and again")))
    }

    /// The path of one of the files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder itself, for fsync.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// A short path for binding a socket in the folder, however long its name is.
    pub fn bind_path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd()))
    }

    /// A path by which another process of the same user can connect to a socket.
    pub fn connect_path(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        if path.as_os_str().len() <= LONGEST_SOCKET_PATH {
            return path;
        }
        let (process, fd) = (std::process::id(), self.dir.as_raw_fd());
        PathBuf::from(format!("/proc/{process}/fd/{fd}/{name}"))
    }

    /// Removes what only a running container needs.
    pub fn sweep(&self) -> Result<()> {
        match fs::remove_dir_all(self.file("bundle")) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context(|| format!("remove {}", self.file("bundle").display()));
            }
            _ => {}
        }
        for name in ["notify", "console", "pid", "runtime.log", "runtime.err", "command", "exit.tmp", "owner"] {
            self.remove(name)?;
        }
        Ok(())
    }

    /// Removes one file, if it is there.
    pub fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", self.file(name).display()))
            }
            _ => Ok(()),
        }
    }

    /// Sweeps and gives the lock up.
    pub fn release(self) -> Result<()> {
        self.sweep()?;
        self.remove("lock")
    }
}

/// Whoever can write here could swap the bundle under a privileged runtime.
fn check_private(dir: &File, path: &Path) -> Result<()> {
    let meta = dir.metadata().context(|| format!("stat {}", path.display()))?;
    let ours = meta.uid() == nix::unistd::geteuid().as_raw();
    match ours && meta.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(Error::new(format!(
            "state directory {}: must belong to the caller and be writable by nobody else",
            path.display()
        ))),
    }
}

fn held(file: File, id: &str) -> Error {
    let mut pid = String::new();
    let _ = file.take(16).read_to_string(&mut pid);
    let by = match pid.is_empty() {
        true => String::new(),
        false => format!(" (process {pid})"),
    };
    Error::new(format!("container {id}: another monitor runs it{by}"))
}
