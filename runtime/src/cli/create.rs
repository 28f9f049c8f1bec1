//! `firn create`.

use super::context::Context;
use crate::error::Result;
use crate::ipc::inherited;
use crate::lifecycle::create::create;
use crate::lifecycle::prepare::Options;
use crate::plan::request::Console;
use std::path::PathBuf;

/// Options of both `create` and `run`.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// The container's name
    #[arg(value_name = "ID")]
    pub id: String,
    /// Bundle: the directory with config.json and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,
    /// Use this file instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Unix socket to which the pty master is sent
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Unix socket to which a pidfd of init is sent
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// Write the pid of init to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Move the root to / with MS_MOVE instead of pivot_root(2) (host on a ramfs)
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass N descriptors to the program, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub preserve_fds: u32,
    /// Accepted for compatibility with runc
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
    /// Number of descriptors, from 3 on, to pass.
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
