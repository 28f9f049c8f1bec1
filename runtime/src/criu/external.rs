//! Names that images have for what stays outside of them.

/// Under these names runc's images, too, have the namespaces that were joined.
pub const NET: &str = "extRootNetNS";
pub const PID: &str = "extRootPidNS";
