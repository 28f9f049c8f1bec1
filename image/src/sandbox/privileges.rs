//! What a process gives up before it reads what others have written.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
};
use rustix::fd::AsFd;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::io;

/// For files of any owner, mode and attribute, and device nodes. SYS_ADMIN is for attributes
/// `trusted.` alone: the filter has no other system call that asks for it.
pub(crate) const WRITER: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_ADMIN);

/// Keeps these capabilities, as far as the process has them, and no others.
pub(crate) fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    let kept = capabilities(None)?.permitted & kept;
    let inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?)
}

/// Lets the process open, make and remove files below a directory only (Landlock), if the kernel has
/// that: Linux 5.19 for links between directories, and not disabled.
pub(crate) fn confine_to(directory: impl AsFd) -> io::Result<()> {
    let all = AccessFs::from_all(ABI::V2);
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(all);
    let Ok(Ok(ruleset)) = ruleset.map(Ruleset::create) else { return Ok(()) };
    let restrict = || -> Result<(), RulesetError> {
        ruleset.add_rule(PathBeneath::new(directory, all))?.restrict_self().map(|_| ())
    };
    restrict().map_err(|error| io::Error::other(format!("confine to the layer's directory: {error}")))
}
