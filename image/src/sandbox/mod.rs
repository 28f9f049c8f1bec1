//! Processes for what others have written. Each is forked where firn-image has one thread, keeps the
//! descriptors that it needs, gives up privileges, and gets a seccomp filter before it reads a byte.
//!
//! | process | may | has |
//! |---|---|---|
//! | decoder | read a blob, write a pipe | no capabilities, no path |
//! | writer (`store::unpack`) | make files | capabilities for owners, nodes and attributes; by Landlock only the layer's directory |
//!
//! The decoder is separate, since it holds unsafe code of others (zlib-rs, libzstd): what it puts out
//! is checked against the layer's diff id by the writer, so it can't make a layer of other contents.

pub(crate) mod decoder;
pub(crate) mod filter;
pub(crate) mod privileges;
pub(crate) mod process;
