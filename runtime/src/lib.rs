//! firn's OCI runtime. Read in the order in which a container comes to be:
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line: one file for each verb |
//! | [`spec`] | config.json and firn.json, as they are written |
//! | [`host`] | what is asked of the host, once |
//! | [`plan`] | spec + host → what will be done; every mistake is found here |
//! | [`state`] | the container's directory: lock, record, status, start FIFO |
//! | [`create`] | lock → sources → cgroup → clone → serve init → record |
//! | [`init`] | inside: the list of steps from clone to execve |
//! | [`join`] | another process in a container that runs |
//! | [`criu`] | checkpoint and restore |
//! | [`cgroup`] | limits, devices, freezing, killing |
//! | [`child`] | ends of this process's children, whoever traces them |
//! | [`resctrl`] | shares of caches and memory bandwidth |
//! | [`network`] | the loopback device, devices that move in |
//! | [`seccomp`] | profile → BPF program |
//! | [`path`] | descriptors instead of paths inside the container |
//! | [`sys`] | the only unsafe code |
//! | [`log`], [`error`] | what people and engines are told |
//!
//! The other crates use the types of [`spec`]; the tests use more of it.

#![deny(unsafe_code)]

pub mod cgroup;
pub mod child;
pub mod cli;
pub mod create;
pub mod criu;
pub mod error;
pub mod host;
pub mod init;
pub mod join;
pub mod log;
pub mod network;
pub mod path;
pub mod plan;
pub mod resctrl;
pub mod seccomp;
pub mod spec;
pub mod state;
#[allow(unsafe_code)]
pub mod sys;
