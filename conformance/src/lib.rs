//! What the tests stand on. They run real binaries on a real kernel, as root.
//!
//! | module | what it holds |
//! |---|---|
//! | [`harness::place`] | where the binaries are, and scratch directories |
//! | [`harness::bundle`] | root file systems and config.json |
//! | [`harness::runtime`] | calling a runtime, and what it answered |
//! | [`harness::left`] | what a container may leave behind: nothing |
//!
//! The tests themselves are in `tests/`, one file for each part of a runtime.

#![forbid(unsafe_code)]

pub mod harness;
