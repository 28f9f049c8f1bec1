//! What lies in the state directory of a container.

pub(crate) mod adopt;
pub(crate) mod dir;
pub(crate) mod exit_record;
pub(crate) mod owner;
