//! Who enters a container: users by its own passwd(5), keys that log in over the host's sshd.

pub mod keys;
pub mod user;
