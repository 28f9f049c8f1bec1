//! firnctl: containers by definition.
//!
//! ```text
//! argv ─ cli ─ definition (what shall be: read, checked, every mistake told)
//!               └ generation (what is installed, what runs, what ran) ─ difference (what has to be done)
//!                   └ apply (in order: bundle by firn-image, monitor by firn-shim, live changes by firn)
//!                       └ wanted (what those programs are told)
//!        access (who enters: users of containers, keys)
//!        service (systemd, where it runs: units, machined)
//!        view (what people see: states, logs, progress)
//! ```

#![forbid(unsafe_code)]

pub mod access;
pub mod apply;
pub mod cli;
pub mod definition;
pub mod difference;
pub mod generation;
pub mod host;
pub mod interrupt;
pub mod log;
pub mod service;
pub mod view;
pub mod wanted;
pub mod xdg;
