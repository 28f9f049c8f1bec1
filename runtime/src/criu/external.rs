//! Keys of external namespaces in images.

/// A joined network namespace; the key that runc's images have.
pub const NET: &str = "extRootNetNS";
/// A joined pid namespace; the key that runc's images have.
pub const PID: &str = "extRootPidNS";
