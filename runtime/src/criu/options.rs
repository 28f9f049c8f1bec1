//! What the caller wants of criu, and the folders in which its images and its
//! log lie.

use super::rpc::opts;
use super::wire::Writer;
use crate::bail;
use crate::error::{Context, Error, Result, errno_text};
use crate::sys::clone;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What `checkpoint` and `restore` have in common.
#[derive(Debug)]
pub struct Common {
    pub images: PathBuf,
    pub work: Option<PathBuf>,
    pub tcp_established: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
    pub manage_cgroups: CgroupMode,
    pub network_lock: Option<NetworkLock>,
}

/// criu_cg_mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupMode {
    Ignore = 0,
    #[default]
    Soft = 3,
    Full = 4,
    Strict = 5,
}

/// criu_network_lock_method: how packets are kept away meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkLock {
    Iptables = 1,
    Nftables = 2,
    Skip = 3,
}

/// A folder that criu gets by its descriptor.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
    pub fd: OwnedFd,
}

impl Folder {
    /// Opens the folder; images hold all memory of a container, so one that is
    /// made is root's alone.
    pub fn open(path: &Path, make: bool) -> Result<Self> {
        let what = || format!("open the folder {}", path.display());
        let path = std::path::absolute(path).doing(what)?;
        if make {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.doing(|| format!("make the folder {}", path.display()))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).doing(what)?;
        Ok(Folder { path, fd })
    }

    /// The same folder as `pid` has it, in a mount namespace of its own: criu
    /// mounts in its folders, and may do so only on mounts of its own.
    fn seen_by(&self, pid: Pid) -> Result<Self> {
        let fd = open_seen_by(pid, &self.path)?;
        let what = || format!("look at {}", self.path.display());
        let (own, seen) = (rustix::fs::fstat(&self.fd).doing(what)?, rustix::fs::fstat(&fd).doing(what)?);
        if (own.st_dev, own.st_ino) != (seen.st_dev, seen.st_ino) {
            bail!("{} is another folder than it was a moment ago", self.path.display());
        }
        Ok(Folder { path: self.path.clone(), fd })
    }
}

/// Opens a directory by the path that it has for another process.
pub fn open_seen_by(pid: Pid, path: &Path) -> Result<OwnedFd> {
    let root = PathBuf::from(format!("/proc/{}/root", pid.as_raw_nonzero()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root.join(path.strip_prefix("/").unwrap_or(path)), flags, Mode::empty())
        .doing(|| format!("open {} in the mount namespace of criu", path.display()))
}

/// Where the images are, and where criu's log goes.
#[derive(Debug)]
pub struct Folders {
    pub images: Folder,
    pub work: Option<Folder>,
    log: &'static str,
}

impl Folders {
    pub fn open(common: &Common, make_images: bool, log: &'static str) -> Result<Self> {
        let images = Folder::open(&common.images, make_images).doing(|| "--image-path")?;
        let work = common.work.as_deref().map(|path| Folder::open(path, true).doing(|| "--work-path")).transpose()?;
        Ok(Folders { images, work, log })
    }

    pub fn seen_by(&self, pid: Pid) -> Result<Self> {
        let work = self.work.as_ref().map(|work| work.seen_by(pid)).transpose()?;
        Ok(Folders { images: self.images.seen_by(pid)?, work, log: self.log })
    }

    /// The error of a criu that failed: the last that its log has to say.
    pub fn failure(&self, errno: i32, message: &str) -> Error {
        let path = self.work.as_ref().unwrap_or(&self.images).path.join(self.log);
        let text = std::fs::read(&path).unwrap_or_default();
        let reason = match last_errors(&String::from_utf8_lossy(&text)) {
            lines if !lines.is_empty() => lines,
            _ if !message.is_empty() => message.to_owned(),
            _ if errno != 0 => errno_text(Errno::from_raw_os_error(errno)),
            _ => "it gives no reason".to_owned(),
        };
        Error::new(format!("criu failed: {reason}; its log is {}", path.display()))
    }
}

/// The last errors of a criu's log, without their times.
fn last_errors(log: &str) -> String {
    const MOST: usize = 3;
    let of_line = |line: &str| Some(line[line.find("Error (")?..].trim().to_owned());
    let errors: Vec<String> = log.lines().filter_map(of_line).collect();
    errors[errors.len().saturating_sub(MOST)..].join("; ")
}

impl Common {
    /// criu_opts, to which more is added.
    pub fn opts(&self, folders: &Folders) -> Writer {
        // Where criu says what it does as well as what went wrong.
        const LOG_LEVEL: u64 = 4;
        let mut list = Writer::default();
        list.signed(opts::IMAGES_DIR_FD, folders.images.fd.as_raw_fd());
        if let Some(work) = &folders.work {
            list.signed(opts::WORK_DIR_FD, work.fd.as_raw_fd());
        }
        list.number(opts::LOG_LEVEL, LOG_LEVEL);
        list.bytes(opts::LOG_FILE, folders.log.as_bytes());
        list.flag(opts::NOTIFY_SCRIPTS, true);
        list.flag(opts::ORPHAN_PTS_MASTER, true);
        list.flag(opts::TCP_ESTABLISHED, self.tcp_established);
        list.flag(opts::EXT_UNIX_SK, self.ext_unix_sk);
        list.flag(opts::SHELL_JOB, self.shell_job);
        list.flag(opts::FILE_LOCKS, self.file_locks);
        list.flag(opts::AUTO_DEDUP, self.auto_dedup);
        list.flag(opts::LAZY_PAGES, self.lazy_pages);
        list.flag(opts::MANAGE_CGROUPS, true);
        list.number(opts::MANAGE_CGROUPS_MODE, self.manage_cgroups as u64);
        // Devices, addresses and routes are the engine's to make again.
        list.number(opts::EMPTY_NS, clone::NEWNET);
        if let Some(lock) = self.network_lock {
            list.number(opts::NETWORK_LOCK, lock as u64);
        }
        list.bytes(opts::CONFIG_FILE, config_file().as_bytes());
        list
    }
}

/// The administrator's settings for criu under a runtime. criu passes over one
/// that is not there.
fn config_file() -> &'static str {
    const OWN: &str = "/etc/criu/firn.conf";
    if Path::new(OWN).exists() { OWN } else { "/etc/criu/runc.conf" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_of_a_log_are_its_reason() {
        let log = "(00.1) Error (criu/a.c:1): one\n(00.1) fine\n(00.2) Error (criu/b.c:2): two\n\
                   (00.3) Error (c.c:3): three\n(00.4) pie: 1: Error (d.c:4): four\n(00.5) end\n";
        assert_eq!(last_errors(log), "Error (criu/b.c:2): two; Error (c.c:3): three; Error (d.c:4): four");
        assert_eq!(last_errors("(00.1) fine\n"), "");
    }
}
