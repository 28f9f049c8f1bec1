//! The state directory of one container, `STATE/NAME`: its lock and its files.
//!
//! | Name | Contents | When the monitor ends |
//! |---|---|---|
//! | `lock` | the pid of the monitor, which holds the lock | removed |
//! | `owner` | the runtime and its root, with which the container was made | removed |
//! | `record` | the options, and how far the run is: for a monitor that takes over | removed |
//! | `init` | init's pidfd, mounted | removed |
//! | `bundle/` | the derived bundle | removed |
//! | `notify`, `console`, `control` | sockets | removed |
//! | `pid`, `runtime.log`, `runtime.err` | written by the runtime | removed |
//! | `command` | /proc/PID/stat of the runtime's command that runs | removed |
//! | `log`, `log.1` | output, appended to by later runs | stays |
//! | `exit` | the exit record, replaced by the next run | stays |

use super::init_pidfd;
use firn::error::{Context, Error, Result};
use rustix::fs::{FlockOperation, Mode, fcntl_lock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// Bytes of a path in sockaddr_un, without its NUL (unix(7)).
const SOCKET_PATH_LIMIT: usize = 107;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// All files that only a running container needs, but for `lock` and `bundle/`.
const TEMPORARY: [&str; 15] = [
    "init",
    "notify",
    "console",
    // Before the socket: a container with a record and none has a monitor that was killed.
    "record",
    "control",
    "exec.console",
    "pid",
    "exec.pid",
    "exec.process",
    "runtime.log",
    "runtime.err",
    "command",
    "exit.tmp",
    "record.tmp",
    "owner",
];

/// A state directory whose lock is held.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    dir: File,
    _lock: File,
}

impl StateDir {
    /// Makes and locks the directory of container `id` below `base`. Errors: another monitor holds
    /// the lock; the directory is another user's, or writable by others.
    pub(crate) fn lock(base: &Path, id: &str) -> Result<StateDir> {
        StateDir::try_lock(base, id)?
    }

    /// The same. The inner error: another monitor holds the lock.
    pub(crate) fn try_lock(base: &Path, id: &str) -> Result<Result<StateDir>> {
        let base = std::path::absolute(base).doing(|| format!("state directory {}", base.display()))?;
        let path = base.join(id);
        let shown = path.display();
        // A monitor that is just ending may remove the lock file until we hold its lock: then
        // what was locked is no longer at that path, and it is made anew.
        for _ in 0..100 {
            let dir = open_private(&path)?;
            let mut lock = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path.join("lock"))
                .doing(|| format!("open {shown}/lock"))?;
            // fcntl(2) and not flock(2), whose lock a forked child shares: a monitor that is killed
            // between fork and execve of a command would keep its lock until the execve. An
            // fcntl lock is released by any close of the file in this process, so the file is
            // not opened a second time.
            match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => return Ok(Err(locked_error(lock, id))),
                Err(errno) => return Err(io::Error::from(errno)).doing(|| format!("lock {shown}/lock")),
            }
            let locked = lock.metadata().doing(|| format!("stat {shown}/lock"))?;
            if fs::metadata(path.join("lock")).is_ok_and(|current| current.ino() == locked.ino()) {
                let _ = lock.set_len(0);
                let _ = write!(lock, "{}", std::process::id());
                return Ok(Ok(StateDir { path, dir, _lock: lock }));
            }
        }
        Err(Error::new(format!("lock {shown}/lock: it is removed and made anew all the time")))
    }

    /// The path of the file `name`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Commits a rename in the directory to the disk, fsync(2).
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.dir)?)
    }

    /// A new stream socket `name` that listens.
    pub(crate) fn listen(&self, name: &str) -> Result<UnixListener> {
        self.remove(name)?;
        UnixListener::bind(self.bind_path(name)).doing(|| format!("listen on {}", self.file(name).display()))
    }

    /// A new SOCK_SEQPACKET socket `name` that listens, O_NONBLOCK and of mode 0600.
    pub(crate) fn listen_for_packets(&self, name: &str) -> Result<OwnedFd> {
        self.remove(name)?;
        let socket = listen_for_packets(&self.dir, name);
        socket.map_err(io::Error::from).doing(|| format!("listen on {}", self.file(name).display()))
    }

    /// A new datagram socket `name`.
    pub(crate) fn bind_datagram(&self, name: &str) -> Result<UnixDatagram> {
        self.remove(name)?;
        UnixDatagram::bind(self.bind_path(name)).doing(|| format!("listen on {}", self.file(name).display()))
    }

    /// A path for bind(2) that is short enough however long the directory's is.
    fn bind_path(&self, name: &str) -> PathBuf {
        bind_path(&self.dir, name)
    }

    /// A path by which another process of the same user can connect to the socket `name`.
    pub(crate) fn connect_path(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        if path.as_os_str().len() <= SOCKET_PATH_LIMIT {
            return path;
        }
        let (process, fd) = (std::process::id(), self.dir.as_raw_fd());
        PathBuf::from(format!("/proc/{process}/fd/{fd}/{name}"))
    }

    /// Removes the derived bundle, if there is one.
    pub(crate) fn remove_bundle(&self) -> Result<()> {
        let path = self.file("bundle");
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).doing(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes all files that only a running container needs.
    pub(crate) fn remove_files(&self) -> Result<()> {
        self.remove_bundle()?;
        init_pidfd::unmount(&self.file(init_pidfd::NAME));
        TEMPORARY.iter().try_for_each(|name| self.remove(name))
    }

    /// Removes the file `name`, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).doing(|| format!("remove {}", self.file(name).display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the files and releases the lock.
    pub(crate) fn release(self) -> Result<()> {
        self.remove_files()?;
        self.remove("lock")
    }
}

/// The directory at `path`, which is made if it is missing, mode 0700.
pub(crate) fn open_private(path: &Path) -> Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).doing(|| format!("create {}", path.display()))?;
    let dir = File::open(path).doing(|| format!("open {}", path.display()))?;
    check_private(&dir, path)?;
    Ok(dir)
}

/// A new SOCK_SEQPACKET socket in a directory that listens, O_NONBLOCK and of mode 0600.
pub(crate) fn listen_for_packets(dir: &File, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // bind(2) gives it the mode of the descriptor, less the umask.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(bind_path(dir, name))?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A path for bind(2) that is short enough however long the directory's is.
fn bind_path(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

/// Errors: the directory is another user's or writable by others, who could replace the bundle
/// before a privileged runtime reads it.
fn check_private(dir: &File, path: &Path) -> Result<()> {
    let meta = dir.metadata().doing(|| format!("stat {}", path.display()))?;
    let ours = meta.uid() == nix::unistd::geteuid().as_raw();
    match ours && meta.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(Error::new(format!(
            "state directory {}: must belong to the caller and be writable by nobody else",
            path.display()
        ))),
    }
}

/// The error of a lock that another monitor holds, with the pid in the file.
fn locked_error(file: File, id: &str) -> Error {
    let mut pid = String::new();
    let _ = file.take(16).read_to_string(&mut pid);
    let by = match pid.is_empty() {
        true => String::new(),
        false => format!(" (process {pid})"),
    };
    Error::new(format!("container {id}: another monitor runs it{by}"))
}
