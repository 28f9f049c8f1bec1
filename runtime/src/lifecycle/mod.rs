//! A container's life: each verb of the command line as a function, with the order of
//! its events on one screen.
//!
//! | module | verb |
//! |---|---|
//! | [`prepare`] | options and bundle → plan |
//! | [`create`], [`start`], [`run`] | a container comes to be |
//! | [`exec`], [`mounts`] | something joins one that runs |
//! | [`state`], [`processes`], [`events`] | what is known of it |
//! | [`update`], [`pause`], [`kill`] | it is changed |
//! | [`checkpoint`], [`restore`] | images |
//! | [`delete`] | its end, also after `run` and `checkpoint` |
//! | [`foreground`] | standing in for a process: terminal, streams, signals, status |
//!
//! `create`, `run`, `exec` and `restore` clone, and may execute the program anew before
//! that ([`crate::cli::run`]): they refuse a process with threads. A program that has
//! threads runs the binary for them, and uses the others as they are.

pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod foreground;
pub mod kill;
pub mod mounts;
pub mod pause;
pub mod prepare;
pub mod processes;
pub mod restore;
pub mod run;
pub mod start;
pub mod state;
pub mod update;

use crate::error::{Context, Result};
use crate::sys;
use rustix::io::Errno;

/// A child has the caller's memory and one of its threads: a lock that another thread
/// held would stay locked in it for ever, clone(2).
fn need_one_thread() -> Result<()> {
    match sys::clone::has_one_thread() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Errno::BUSY).doing(|| "this process has threads: run the firn program instead"),
        Err(errno) => Err(errno).doing(|| "count this process's threads"),
    }
}
