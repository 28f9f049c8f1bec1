//! What every command has: the global options, and printing.

use crate::error::{Context as _, Result};
use crate::lifecycle::prepare::Manager;
use crate::log::{Log, printable};
use rustix::fd::RawFd;
use std::path::PathBuf;

/// The global options, evaluated.
#[derive(Debug)]
pub struct Context {
    pub root: PathBuf,
    pub log: Log,
    /// Descriptors of --preserve-fds and LISTEN_FDS that are open.
    pub preserved_fds: Vec<RawFd>,
    pub cgroup_manager: Manager,
}

/// Prints to stdout without control characters: names and annotations come from images. EPIPE
/// is no error.
pub fn print(text: &str) -> Result<()> {
    match crate::path::write_all(rustix::stdio::stdout(), printable(text).as_bytes()) {
        Ok(()) | Err(rustix::io::Errno::PIPE) => Ok(()),
        Err(errno) => Err(errno).doing(|| "write to stdout"),
    }
}
