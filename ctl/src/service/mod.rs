//! systemd beside the monitor, where it runs: a container is a unit, and a machine of machined's.
//!
//! The template is `ctl/firn@.service`. The programs `systemctl` and `busctl` speak to systemd.

pub mod files;
pub mod machine;
pub mod unit;
