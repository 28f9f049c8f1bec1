//! The `firn` binary: arguments in, exit code out.

#![no_main]
#![deny(unsafe_code)]

#[allow(unsafe_code)]
#[path = "sys/entry.rs"]
mod entry;
