//! From `linux.seccomp` to classic BPF. The verdict for each system call is that of runc, which
//! uses libseccomp, except where libseccomp's follows from no rule of the profile.
//!
//! | module | contents |
//! |---|---|
//! | `profile` | the parsed profile |
//! | `abi` | the kernel's ABIs, and the number of a call in each |
//! | `arch`, `names` | architectures, and system calls by name |
//! | `order` | which of several rules decides |
//! | `ranges` | numbers as ranges with the same treatment; ENOSYS for new ones |
//! | `compile` | ranges → binary search, conditions → comparisons |
//! | `bpf` | the assembler |
//! | `interpret` | the verdict of a program for a call |

mod abi;
mod arch;
mod bpf;
mod compile;
pub mod interpret;
mod names;
mod order;
mod profile;
#[cfg(test)]
mod property;
mod ranges;
#[cfg(test)]
mod tests;

use crate::bail;
use crate::error::Result;
use crate::log::Log;
use crate::spec::seccomp::Seccomp;
use crate::sys::seccomp::{FLAG_NEW_LISTENER, Instruction};
use profile::{NOTIFY, Profile};

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub program: Vec<Instruction>,
    /// SECCOMP_FILTER_FLAG_*
    pub flags: u32,
    /// The agent for SCMP_ACT_NOTIFY.
    pub listener: Option<Listener>,
}

/// The seccomp agent (`listenerPath`, `listenerMetadata`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Path of a stream socket on the host.
    pub path: String,
    /// Passed to the agent unchanged.
    pub metadata: String,
}

impl Filter {
    /// Whether the filter allows a call of x86-64 with these first two arguments, independent of the
    /// other arguments, and without a notification.
    pub fn allows(&self, number: libc::c_long, [first, second]: [u64; 2]) -> bool {
        const X86_64: u32 = 0xc000_003e;
        let call = interpret::Call { arch: X86_64, number: number as u32, args: [first, second, 0, 0, 0, 0] };
        [ALLOW, LOG].contains(&interpret::run(&self.program, &call).action)
    }
}

/// SECCOMP_RET_* of linux/seccomp.h.
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;

/// The agent of a profile that `compile` has accepted, if it needs one.
pub fn listener(spec: &Seccomp) -> Option<Listener> {
    let notifies = spec.syscalls.iter().any(|rule| rule.action == "SCMP_ACT_NOTIFY");
    notifies.then(|| Listener { path: spec.listener_path.clone(), metadata: spec.listener_metadata.clone() })
}

/// Compiles a profile. System calls that no architecture has are left out, with one warning.
/// Errors: a mistake in the profile; SCMP_ACT_NOTIFY that can't work; another architecture than
/// x86-64.
pub fn compile(spec: &Seccomp, log: &Log) -> Result<Filter> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("seccomp is supported on x86-64 only");
    }
    // Engines write an empty object if seccomp is disabled.
    if spec.default_action.is_empty() && spec.syscalls.is_empty() {
        return compile(&Seccomp { default_action: "SCMP_ACT_ALLOW".into(), ..Seccomp::default() }, log);
    }
    let profile = Profile::parse(spec)?;
    if profile.default == NOTIFY {
        bail!("SCMP_ACT_NOTIFY cannot be used as default action");
    }
    // runc refuses this, because it writes to its parent between loading the filter and sending
    // the notify descriptor; here it is refused so that the profile does not work by chance.
    if spec.syscalls.iter().any(|rule| rule.action == "SCMP_ACT_NOTIFY" && rule.names.iter().any(|n| n == "write")) {
        bail!("SCMP_ACT_NOTIFY cannot be used for the write syscall");
    }
    if profile.notifies() && spec.listener_path.is_empty() {
        bail!("seccomp listenerPath is not set");
    }
    if !profile.unknown.is_empty() {
        log.warn(&format!("seccomp: unknown system calls are ignored: {}", profile.unknown.join(", ")));
    }
    Ok(Filter { listener: listener(spec), ..filter(&profile)? })
}

/// The program and its flags.
fn filter(profile: &Profile<'_>) -> Result<Filter> {
    let mut flags = profile.flags;
    if profile.notifies() {
        flags |= FLAG_NEW_LISTENER;
    } else if flags & profile::WAIT_KILLABLE_RECV != 0 {
        bail!("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY");
    }
    Ok(Filter { program: compile::program(profile)?, flags, listener: None })
}

/// `linux.seccomp` of `features` (runtime-spec, features-linux.md).
pub fn features() -> serde_json::Value {
    let known = profile::FLAGS.map(|(name, _)| name);
    serde_json::json!({
        "enabled": cfg!(target_arch = "x86_64"),
        "actions": profile::ACTIONS.map(|(name, _)| name),
        "operators": profile::OPERATORS.map(|(name, _)| name),
        "archs": arch::ARCHITECTURES.map(|(name, _)| name).as_slice(),
        "knownFlags": known,
        "supportedFlags": known,
    })
}
