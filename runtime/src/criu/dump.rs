//! `checkpoint`: CRIU dumps a container to images.

use super::options::{Common, ImageDirs};
use super::rpc::{self, Kind, opts};
use super::service::{self, Criu};
use super::wire::Writer;
use super::{external, mounts, streams};
use crate::bail;
use crate::error::{Context, Result};
use crate::path::RootFd;
use crate::plan::Plan;
use crate::state::{Record, process};
use crate::sys::{self, clone};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Options of `checkpoint`.
#[derive(Debug)]
pub struct Dump {
    pub common: Common,
    /// `--parent-path`: images of an earlier dump, relative to the images directory.
    pub parent: Option<PathBuf>,
    pub leave_running: bool,
    /// Dump memory only; the container continues to run.
    pub pre_dump: bool,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    /// `--page-server`: address and port to which memory pages are sent instead of to images.
    pub page_server: Option<(String, u16)>,
    /// `--status-fd`: gets a zero byte when `criu lazy-pages` can be started.
    pub status_fd: Option<i32>,
}

impl Dump {
    /// Whether the container continues to run after the dump.
    pub fn leaves_running(&self) -> bool {
        self.leave_running || self.pre_dump
    }
}

/// Dumps the container of `record`. Errors: a plan that CRIU can't restore; what CRIU
/// reports.
pub fn dump(record: &Record, plan: &Plan, dump: &Dump) -> Result<()> {
    mounts::refuse(plan)?;
    let program = service::find()?;
    check_features(&program, dump)?;
    let status = dump.status_fd.map(status_fd).transpose()?;
    let image_dirs = ImageDirs::open(&dump.common, true, "dump.log")?;
    if let Some(parent) = &dump.parent {
        check_parent(&image_dirs, parent)?;
    }
    let mut list = options(record, dump, &image_dirs);
    if !dump.pre_dump {
        namespaces(plan, &mut list)?;
        mounts::at_dump(plan, &record.cgroup, &root_of(record.pid)?, &mut list)?;
        streams::save(&image_dirs.images, &record.streams)?;
    }
    let kind = if dump.pre_dump { Kind::PreDump } else { Kind::Dump };
    let criu = Criu::start(&program)?;
    let mut notified = |script: &str, _, _| {
        match (script, &status) {
            // EPIPE: the caller no longer waits.
            ("status-ready", Some(fd)) => drop(crate::path::write_all(fd, &[0])),
            // CRIU has only the pid. It has stopped init by now and not killed it yet, so the pid
            // can no longer be reused.
            ("post-dump", _) if !process::is_alive(record.pid, record.start_time) => {
                bail!("the container's init has ended, and its pid {} was reused", record.pid)
            }
            _ => {}
        }
        Ok(())
    };
    match criu.request(&rpc::request(kind, Some(&list)), &mut notified) {
        Ok(answer) if answer.success => criu.finish(),
        Ok(answer) => Err(image_dirs.failure(answer.errno, &answer.message)),
        Err(error) => Err(image_dirs.failure(0, &error.chain())),
    }
}

fn options(record: &Record, dump: &Dump, image_dirs: &ImageDirs) -> Writer {
    let mut list = dump.common.opts(image_dirs);
    list.signed(opts::PID, record.pid);
    list.bytes(opts::ROOT, record.rootfs.as_os_str().as_bytes());
    list.flag(opts::LEAVE_RUNNING, dump.leave_running);
    list.flag(opts::TCP_SKIP_IN_FLIGHT, dump.tcp_skip_in_flight);
    list.flag(opts::LINK_REMAP, dump.link_remap);
    list.flag(opts::TRACK_MEM, dump.pre_dump || dump.parent.is_some());
    if let Some(parent) = &dump.parent {
        list.bytes(opts::PARENT_IMG, parent.as_os_str().as_bytes());
    }
    if let Some((address, port)) = &dump.page_server {
        list.message(opts::PAGE_SERVER, &rpc::page_server(address, *port));
    }
    if let Some(dir) = record.cgroup.freezer() {
        list.bytes(opts::FREEZE_CGROUP, dir.as_os_str().as_bytes());
    }
    list
}

/// A joined network or pid namespace is external: it is not in the images.
fn namespaces(plan: &Plan, list: &mut Writer) -> Result<()> {
    for (kind, name, key) in [(clone::NEWNET, "net", external::NET), (clone::NEWPID, "pid", external::PID)] {
        let Some((_, path)) = plan.namespaces.join.iter().find(|(joined, _)| *joined == kind) else { continue };
        let inode = std::fs::metadata(path).doing(|| format!("stat namespace {}", path.display()))?.ino();
        list.bytes(opts::EXTERNAL, format!("{name}[{inode}]:{key}").as_bytes());
    }
    Ok(())
}

fn root_of(pid: i32) -> Result<RootFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty());
    root.map(RootFd::new).doing(|| "open the container's root")
}

fn check_features(program: &CString, dump: &Dump) -> Result<()> {
    if !dump.pre_dump && !dump.common.lazy_pages {
        return Ok(());
    }
    let features = service::features(program)?;
    if dump.pre_dump && !features.tracks_memory {
        bail!("--pre-dump: this kernel or criu can't track changes of memory");
    }
    if dump.common.lazy_pages && !features.fills_lazily {
        bail!("--lazy-pages: the kernel or CRIU does not support lazy pages (userfaultfd)");
    }
    Ok(())
}

fn check_parent(image_dirs: &ImageDirs, parent: &Path) -> Result<()> {
    let what = || format!("--parent-path {}", parent.display());
    let stat = rustix::fs::statat(&image_dirs.images.fd, parent, AtFlags::empty()).doing(what)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(rustix::io::Errno::NOTDIR).doing(what);
    }
    Ok(())
}

/// Duplicates a descriptor of the caller; it must be writable.
fn status_fd(number: i32) -> Result<OwnedFd> {
    let what = || format!("--status-fd {number}");
    let fd = sys::fds::duplicate(number).doing(what)?;
    let mode = rustix::fs::fcntl_getfl(&fd).doing(what)? & OFlags::RWMODE;
    if mode == OFlags::RDONLY {
        bail!("{}: it is not open for writing", what());
    }
    Ok(fd)
}
