//! `firn create`.

use super::context::Context;
use crate::error::Result;
use crate::ipc::inherited;
use crate::lifecycle::create::create;
use crate::lifecycle::prepare::Options;
use crate::plan::request::Console;
use std::path::PathBuf;

/// What `create` and `run` have in common.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// The container's name
    #[arg(value_name = "ID")]
    pub id: String,
    /// The directory with config.json and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,
    /// Instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Unix socket that gets the terminal's master
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the container's init
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// Write the pid of the container's init here
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Move the new root to / instead of pivoting (for a host on a ramfs)
    #[arg(long)]
    pub no_pivot: bool,
    /// Leave the session keyring of the caller
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass this many more descriptors than the standard streams
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub preserve_fds: u32,
    /// Accepted for callers of runc: orphans are the caller's anyway
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub fn preserve_fds(&self) -> u32 {
        self.common.preserved()
    }
}

impl Common {
    /// Descriptors after the standard streams that go into the container.
    pub fn preserved(&self) -> u32 {
        self.preserve_fds.saturating_add(inherited::count())
    }

    pub fn options(self, context: &Context) -> Options {
        Options {
            id: self.id,
            root: context.root.clone(),
            bundle: self.bundle,
            config: self.config,
            pidfd_socket: self.pidfd_socket,
            console: self.console_socket.map_or(Console::None, Console::Socket),
            pid_file: self.pid_file,
            preserved_fds: context.preserved_fds.clone(),
            listen_fds: inherited::count(),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            cgroup_manager: context.cgroup_manager,
        }
    }
}

pub fn run(args: Args, context: &Context) -> Result<u8> {
    create(&args.common.options(context), &context.log)?;
    Ok(0)
}
