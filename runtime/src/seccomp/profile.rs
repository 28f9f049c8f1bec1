//! `linux.seccomp`, parsed. Every mistake in a profile is found here.

use super::abi::Call;
use super::arch::{self, Abis};
use crate::bail;
use crate::error::Result;
use crate::spec::seccomp::{Argument, Seccomp};

/// A return value of a filter: SECCOMP_RET_*, with data in the low 16 bits.
pub type Action = u32;
pub const ALLOW: Action = 0x7fff_0000;
pub const KILL_THREAD: Action = 0;
pub const NOTIFY: Action = 0x7fc0_0000;
pub const ERRNO: Action = 0x0005_0000;
pub const TRACE: Action = 0x7ff0_0000;
pub const LOG: Action = 0x7ffc_0000;

/// Names of actions, runtime-spec, config-linux.md, "Seccomp".
pub const ACTIONS: [(&str, Action); 9] = [
    ("SCMP_ACT_ALLOW", ALLOW),
    ("SCMP_ACT_ERRNO", ERRNO),
    ("SCMP_ACT_KILL", KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
    ("SCMP_ACT_KILL_THREAD", KILL_THREAD),
    ("SCMP_ACT_LOG", LOG),
    ("SCMP_ACT_NOTIFY", NOTIFY),
    ("SCMP_ACT_TRACE", TRACE),
    ("SCMP_ACT_TRAP", 0x0003_0000),
];

/// The action without data: SECCOMP_RET_ACTION_FULL.
pub fn kind(action: Action) -> Action {
    action & 0xffff_0000
}

/// An operator of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    MaskedEq,
}

/// Names of operators.
pub const OPERATORS: [(&str, Operator); 7] = [
    ("SCMP_CMP_EQ", Operator::Eq),
    ("SCMP_CMP_GE", Operator::Ge),
    ("SCMP_CMP_GT", Operator::Gt),
    ("SCMP_CMP_LE", Operator::Le),
    ("SCMP_CMP_LT", Operator::Lt),
    ("SCMP_CMP_MASKED_EQ", Operator::MaskedEq),
    ("SCMP_CMP_NE", Operator::Ne),
];

/// SECCOMP_FILTER_FLAG_*. All exist in the oldest supported kernel; the newest is of Linux 5.19.
/// TSYNC is accepted and ignored: it is for other threads, of which init has none, and the kernel
/// refuses it with NEW_LISTENER.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", WAIT_KILLABLE_RECV),
];
pub const SPEC_ALLOW: u32 = 1 << 2;
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// A comparison of an argument with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    pub argument: u8,
    pub operator: Operator,
    /// Bits of the argument that are compared.
    pub mask: u64,
    pub value: u64,
}

impl Condition {
    /// A comparison of all 64 bits.
    pub fn equals(argument: u8, value: u64) -> Self {
        Condition { argument, operator: Operator::Eq, mask: u64::MAX, value }
    }
}

/// The action for system calls if all conditions hold.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Without those that no architecture has.
    pub calls: Vec<&'static Call>,
    pub action: Action,
    /// The alternatives by which the rule matches; each is sorted by argument.
    pub alternatives: Vec<Vec<Condition>>,
}

#[derive(Debug)]
pub struct Profile<'s> {
    pub default: Action,
    pub abis: Abis,
    pub rules: Vec<Rule>,
    pub flags: u32,
    /// Names of system calls that no architecture has.
    pub unknown: Vec<&'s str>,
}

impl<'s> Profile<'s> {
    /// Errors: unknown names of actions, operators, flags, architectures; a bad index or errno.
    pub fn parse(spec: &'s Seccomp) -> Result<Self> {
        // Without flags: SECCOMP_FILTER_FLAG_SPEC_ALLOW, so no mitigation of Spectre v4 (Speculative
        // Store Bypass) and its cost, as under runc and crun.
        let mut flags = if spec.flags.is_some() { 0 } else { SPEC_ALLOW };
        for name in spec.flags.iter().flatten() {
            match FLAGS.iter().find(|(known, _)| known == name) {
                Some((_, bit)) => flags |= bit,
                None => bail!("unknown flag {name:?}"),
            }
        }
        let default = action(&spec.default_action, spec.default_errno_ret)?;
        let mut rules = Vec::with_capacity(spec.syscalls.len());
        let mut unknown = Vec::new();
        for rule in &spec.syscalls {
            let mut calls = Vec::with_capacity(rule.names.len());
            for name in &rule.names {
                match arch::lookup(name) {
                    Some(call) => calls.push(call),
                    None if name.is_empty() => bail!("a rule has an empty name"),
                    None => unknown.push(name.as_str()),
                }
            }
            let action = action(&rule.action, rule.errno_ret)?;
            rules.push(Rule { calls, action, alternatives: alternatives(&rule.args)? });
        }
        Ok(Profile { default, abis: Abis::parse(&spec.architectures)?, rules, flags, unknown })
    }

    /// Whether a rule has SCMP_ACT_NOTIFY.
    pub fn notifies(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == NOTIFY)
    }
}

/// errnoRet is ignored for an action without one, as by runc.
fn action(name: &str, errno: Option<u32>) -> Result<Action> {
    let Some((_, action)) = ACTIONS.iter().find(|(known, _)| *known == name) else {
        bail!("unknown action {name:?}");
    };
    if *action != ERRNO && *action != TRACE {
        return Ok(*action);
    }
    match u16::try_from(errno.unwrap_or(libc::EPERM as u32)) {
        Ok(data) => Ok(action | u32::from(data)),
        Err(_) => bail!("errnoRet of {name} is larger than {}", u16::MAX),
    }
}

/// All conditions of a rule must hold. If two are for the same argument, any single condition of
/// the rule suffices: the meaning from before a rule could have several arguments, on which
/// profiles rely.
fn alternatives(args: &[Argument]) -> Result<Vec<Vec<Condition>>> {
    let mut conditions = args.iter().map(condition).collect::<Result<Vec<_>>>()?;
    conditions.sort_by_key(|condition| condition.argument);
    if conditions.windows(2).any(|pair| pair[0].argument == pair[1].argument) {
        return Ok(conditions.into_iter().map(|condition| vec![condition]).collect());
    }
    Ok(vec![conditions])
}

fn condition(arg: &Argument) -> Result<Condition> {
    let Some((_, operator)) = OPERATORS.iter().find(|(known, _)| *known == arg.op) else {
        bail!("unknown operator {:?}", arg.op);
    };
    let Some(argument) = u8::try_from(arg.index).ok().filter(|index| *index < 6) else {
        bail!("a system call has no argument {}", arg.index);
    };
    let (mask, value) = match operator {
        Operator::MaskedEq => (arg.value, arg.value_two & arg.value),
        _ => (u64::MAX, arg.value),
    };
    Ok(Condition { argument, operator: *operator, mask, value })
}
