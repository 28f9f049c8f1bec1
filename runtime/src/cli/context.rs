//! What all commands have: the globals of the command line, and a way to print.

use crate::error::{Context as _, Result};
use crate::lifecycle::prepare::Manager;
use crate::log::{Log, printable};
use rustix::fd::RawFd;
use std::path::PathBuf;

/// What the globals come to.
#[derive(Debug)]
pub struct Context {
    pub root: PathBuf,
    pub log: Log,
    /// The descriptors that --preserve-fds and LISTEN_FDS mean.
    pub preserved_fds: Vec<RawFd>,
    pub cgroup_manager: Manager,
}

/// Prints to stdout, where names and annotations of images stand too. A reader
/// that went away is no error of ours.
pub fn print(text: &str) -> Result<()> {
    match crate::path::write_all(rustix::stdio::stdout(), printable(text).as_bytes()) {
        Ok(()) | Err(rustix::io::Errno::PIPE) => Ok(()),
        Err(errno) => Err(errno).doing(|| "write to stdout"),
    }
}
