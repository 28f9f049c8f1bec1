//! firnctl: containers by definition.
//!
//! ```text
//! argv ─ cli ─ definition (what shall be: read, checked, every mistake told)
//! ```

#![forbid(unsafe_code)]

pub mod cli;
pub mod definition;
