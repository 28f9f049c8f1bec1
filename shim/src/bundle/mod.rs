//! The caller's bundle, and the derived bundle that the runtime is given.

mod derive;
pub(crate) mod load;
