//! The caller's options for CRIU, and the directories of its images and its log.

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

/// Options of both `checkpoint` and `restore`.
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

/// criu_cg_mode: how CRIU restores cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupMode {
    Ignore = 0,
    #[default]
    Soft = 3,
    Full = 4,
    Strict = 5,
}

/// criu_network_lock_method: how CRIU blocks packets during a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkLock {
    Iptables = 1,
    Nftables = 2,
    Skip = 3,
}

/// An opened directory, which CRIU gets as a descriptor.
#[derive(Debug)]
pub struct Directory {
    pub path: PathBuf,
    pub fd: OwnedFd,
}

impl Directory {
    /// Opens the directory. `make`: creates it with mode 0700, because images contain all memory
    /// of a container.
    pub fn open(path: &Path, make: bool) -> Result<Self> {
        let what = || format!("open the directory {}", path.display());
        let path = std::path::absolute(path).doing(what)?;
        if make {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.doing(|| format!("make the directory {}", path.display()))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).doing(what)?;
        Ok(Directory { path, fd })
    }

    /// The same directory in the mount namespace of `pid`: CRIU makes mounts in it, and can do so
    /// only on mounts of its own namespace.
    fn in_namespace_of(&self, pid: Pid) -> Result<Self> {
        let fd = open_in_namespace_of(pid, &self.path)?;
        let what = || format!("stat {}", self.path.display());
        let (own, seen) = (rustix::fs::fstat(&self.fd).doing(what)?, rustix::fs::fstat(&fd).doing(what)?);
        if (own.st_dev, own.st_ino) != (seen.st_dev, seen.st_ino) {
            bail!("{} was replaced while it was in use", self.path.display());
        }
        Ok(Directory { path: self.path.clone(), fd })
    }
}

/// Opens a directory by its path in the mount namespace of another process.
pub fn open_in_namespace_of(pid: Pid, path: &Path) -> Result<OwnedFd> {
    let root = PathBuf::from(format!("/proc/{}/root", pid.as_raw_nonzero()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root.join(path.strip_prefix("/").unwrap_or(path)), flags, Mode::empty())
        .doing(|| format!("open {} in the mount namespace of criu", path.display()))
}

/// The images directory, and the work directory for CRIU's log.
#[derive(Debug)]
pub struct ImageDirs {
    pub images: Directory,
    pub work: Option<Directory>,
    log: &'static str,
}

impl ImageDirs {
    /// Opens both. Errors: those of open(2) and mkdir(2), with the option's name.
    pub fn open(common: &Common, make_images: bool, log: &'static str) -> Result<Self> {
        let images = Directory::open(&common.images, make_images).doing(|| "--image-path")?;
        let work =
            common.work.as_deref().map(|path| Directory::open(path, true).doing(|| "--work-path")).transpose()?;
        Ok(ImageDirs { images, work, log })
    }

    /// Both in the mount namespace of `pid`.
    pub fn in_namespace_of(&self, pid: Pid) -> Result<Self> {
        let work = self.work.as_ref().map(|work| work.in_namespace_of(pid)).transpose()?;
        Ok(ImageDirs { images: self.images.in_namespace_of(pid)?, work, log: self.log })
    }

    /// The error of a failed CRIU: the last errors of its log.
    pub fn failure(&self, errno: i32, message: &str) -> Error {
        let path = self.work.as_ref().unwrap_or(&self.images).path.join(self.log);
        let text = std::fs::read(&path).unwrap_or_default();
        let reason = match last_errors(&String::from_utf8_lossy(&text)) {
            lines if !lines.is_empty() => lines,
            _ if !message.is_empty() => message.to_owned(),
            _ if errno != 0 => errno_text(Errno::from_raw_os_error(errno)),
            _ => "no error in its log".to_owned(),
        };
        Error::new(format!("criu failed: {reason}; its log is {}", path.display()))
    }
}

/// The last three errors of a CRIU log, without timestamps.
fn last_errors(log: &str) -> String {
    const MAX_ERRORS: usize = 3;
    let error_of_line = |line: &str| Some(line[line.find("Error (")?..].trim().to_owned());
    let errors: Vec<String> = log.lines().filter_map(error_of_line).collect();
    errors[errors.len().saturating_sub(MAX_ERRORS)..].join("; ")
}

impl Common {
    /// The criu_opts of these options.
    pub fn opts(&self, image_dirs: &ImageDirs) -> Writer {
        // Also actions, not only errors.
        const LOG_LEVEL: u64 = 4;
        let mut list = Writer::default();
        list.signed(opts::IMAGES_DIR_FD, image_dirs.images.fd.as_raw_fd());
        if let Some(work) = &image_dirs.work {
            list.signed(opts::WORK_DIR_FD, work.fd.as_raw_fd());
        }
        list.number(opts::LOG_LEVEL, LOG_LEVEL);
        list.bytes(opts::LOG_FILE, image_dirs.log.as_bytes());
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
        // The caller (podman, containerd) configures devices, addresses and routes again.
        list.number(opts::EMPTY_NS, clone::NEWNET);
        if let Some(lock) = self.network_lock {
            list.number(opts::NETWORK_LOCK, lock as u64);
        }
        list.bytes(opts::CONFIG_FILE, config_file().as_bytes());
        list
    }
}

/// The configuration file for CRIU under a runtime. CRIU ignores a missing one.
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
