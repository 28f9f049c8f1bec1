//! The OCI runtime, as a program: its commands, the queue that runs them, and its errors.

pub(crate) mod command;
pub(crate) mod errors;
pub(crate) mod queue;
