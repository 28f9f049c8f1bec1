//! What lies in the state directory of a container.

pub(crate) mod adopt;
pub(crate) mod boot;
pub(crate) mod dir;
pub(crate) mod exit_record;
pub(crate) mod init_pidfd;
pub(crate) mod owner;
