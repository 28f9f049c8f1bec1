//! How processes of ours, the caller's and the container's speak to each other:
//! sockets, descriptors that are passed, streams and terminals.

pub mod child;
pub mod console;
pub mod inherited;
pub mod notify;
pub mod pair;
pub mod pidfd;
pub mod protocol;
pub mod seccomp_agent;
pub mod socket;
pub mod streams;
pub mod watch;
