//! Communication between firn's processes, with the caller and with the container:
//! sockets, passed descriptors, streams and terminals.

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
