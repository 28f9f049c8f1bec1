//! What the tests stand on. They run real binaries on a real kernel, as root.
//!
//! | module | what it holds |
//! |---|---|
//! | [`harness::place`] | where the binaries are, and scratch folders |
//! | [`harness::bundle`] | root file systems and config.json |
//! | [`harness::runtime`] | calling a runtime, and what it answered |
//! | [`harness::left`] | what a container may leave behind: nothing |
//! | [`view`] | the machine's cgroups as v1 alone or v2 alone |
//! | [`score`] | what firn-floor plays: the least that a container costs |
//! | [`engine`] | config.json as podman writes it |
//! | [`counts`] | system calls and instructions of each command |
//!
//! The tests themselves are in `tests/`, one file for each part of a runtime.

#![forbid(unsafe_code)]

pub mod counts;
pub mod engine;
pub mod harness;
pub mod score;
pub mod view;
