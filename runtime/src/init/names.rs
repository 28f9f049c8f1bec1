//! Host name and NIS domain name.

use super::context::Init;
use crate::error::{Context, Result};
use crate::sys::prctl;

/// Sets both in the UTS namespace, where the config has them.
pub fn set_names(init: &mut Init<'_>) -> Result<()> {
    if let Some(name) = &init.plan.hostname {
        prctl::set_hostname(name).doing(|| format!("set the host name {name:?}"))?;
    }
    if let Some(name) = &init.plan.domainname {
        prctl::set_domainname(name).doing(|| format!("set the domain name {name:?}"))?;
    }
    Ok(())
}
