//! `firn restore`.

use super::checkpoint::Shared;
use super::context::Context;
use crate::criu::restore::Restore;
use crate::error::Result;
use crate::lifecycle::prepare::Options;
use crate::lifecycle::restore::restore;
use crate::plan::request::Console;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    shared: Shared,
    /// Bundle: the directory with config.json and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    bundle: PathBuf,
    /// Return when the container runs
    #[arg(short, long)]
    detach: bool,
    /// Write the pid of init to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket to which the pty master is sent
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Close restored TCP connections (crun)
    #[arg(long)]
    tcp_close: bool,
    /// Replace the LSM profile, TYPE:NAME
    #[arg(long, value_name = "PROFILE")]
    lsm_profile: Option<String>,
    /// Replace the SELinux context of mounts
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// Accepted for compatibility with runc
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Accepted for compatibility with runc; CRIU enters the root
    #[arg(long, hide = true)]
    no_pivot: bool,
}

pub fn run(args: Args, context: &Context) -> Result<u8> {
    let detach = args.detach;
    let (what, options) = args.split(context);
    restore(options, &what, detach, &context.log)
}

impl Args {
    fn split(self, context: &Context) -> (Restore, Options) {
        let options = Options {
            id: self.id,
            root: context.root.clone(),
            bundle: self.bundle,
            console: self.console_socket.map_or(Console::None, Console::Socket),
            pid_file: self.pid_file,
            cgroup_manager: context.cgroup_manager,
            ..Options::default()
        };
        let what = Restore {
            common: self.shared.common(),
            tcp_close: self.tcp_close,
            lsm_profile: self.lsm_profile,
            lsm_mount_context: self.lsm_mount_context,
        };
        (what, options)
    }
}
