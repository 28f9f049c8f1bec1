//! Tar archives, read from a stream, and their compression.

pub(crate) mod decompress;
mod header;
mod pax;
pub(crate) mod read;
pub(crate) mod sparse;
