//! `firn restore`.

use super::checkpoint::Shared;
use super::{Context, delete, foreground};
use crate::create::Options;
use crate::create::console::Console;
use crate::criu::restore::{self, Restore, Restored};
use crate::criu::{self, hierarchy};
use crate::error::{Context as _, Result};
use crate::sys;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    shared: Shared,
    /// The folder with config.json and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    bundle: PathBuf,
    /// Leave it running and return
    #[arg(short, long)]
    detach: bool,
    /// Write the pid of the container's init here
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Close TCP connections that were open (crun)
    #[arg(long)]
    tcp_close: bool,
    /// Another profile of a security module, as TYPE:NAME
    #[arg(long, value_name = "PROFILE")]
    lsm_profile: Option<String>,
    /// Another SELinux context for mounts
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// Accepted for callers of runc: orphans are the caller's anyway
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Accepted for callers of runc: criu enters the root
    #[arg(long, hide = true)]
    no_pivot: bool,
}

pub fn run(args: Args, context: &Context) -> Result<u8> {
    criu::need_root()?;
    let detach = args.detach;
    if !detach {
        sys::prctl::set_child_subreaper().doing(|| "become the parent of orphans")?;
        sys::signal::block_all().doing(|| "block signals")?;
    }
    let (what, options) = args.split(context)?;
    let restored = hierarchy::keep(&context.log, || restore::restore(&what, &options, &context.log))?;
    if detach {
        return Ok(0);
    }
    let Restored { dir, record, plan, pid, pidfd, near } = restored;
    // Others may pause or delete it while it runs.
    dir.unlock()?;
    let status = foreground::wait(pid, &pidfd, near);
    if dir.lock_again()? {
        delete::after(&status, dir, &record, &plan.hooks.poststop, &context.log)?;
    }
    status
}

impl Args {
    fn split(self, context: &Context) -> Result<(Restore, Options)> {
        let console = match self.console_socket {
            Some(path) => Console::Path(path),
            None if self.detach => Console::None,
            None => Console::Foreground,
        };
        let root = std::path::absolute(&context.root).doing(|| format!("--root {}", context.root.display()))?;
        let options = Options {
            id: self.id,
            root,
            bundle: self.bundle,
            console,
            pid_file: self.pid_file,
            no_cgroup: context.no_cgroup,
            systemd_cgroup: context.systemd_cgroup,
            ..Options::default()
        };
        let what = Restore {
            common: self.shared.common(),
            tcp_close: self.tcp_close,
            lsm_profile: self.lsm_profile,
            lsm_mount_context: self.lsm_mount_context,
        };
        Ok((what, options))
    }
}
