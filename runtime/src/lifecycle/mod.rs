//! The verbs of the command line as functions; each shows the order of its steps.
//!
//! | module | verb |
//! |---|---|
//! | [`prepare`] | options and bundle → plan |
//! | [`create`], [`start`], [`run`] | create and start a container |
//! | [`exec`], [`mounts`] | join a running one |
//! | [`state`], [`processes`], [`events`] | report on it |
//! | [`update`], [`pause`], [`kill`] | change it |
//! | [`checkpoint`], [`restore`] | CRIU images |
//! | [`delete`] | remove it, also after `run` and `checkpoint` |
//! | [`foreground`] | terminal, streams, signals and exit status of a foreground process |
//!
//! `create`, `run`, `exec`, `mounts`, `checkpoint` and `restore` clone, so they refuse a
//! process with several threads. A program with threads runs the firn binary for them; the
//! other functions have no such limit.

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

/// Refuses a multi-threaded caller: in the child of a raw clone only one thread exists, and
/// a lock that another held stays locked (fork(2)).
fn require_single_thread() -> Result<()> {
    match sys::clone::has_one_thread() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Errno::BUSY).doing(|| "this process has several threads: run the firn program instead"),
        Err(errno) => Err(errno).doing(|| "count this process's threads"),
    }
}
