//! Property test: random profiles, compared with a naive evaluation of their rules.

use super::abi::{AUDIT_I386, AUDIT_X86_64, Abi, X32_BIT};
use super::arch::lookup;
use super::interpret::{Call, run};
use super::profile::{ALLOW, ERRNO, KILL_THREAD, LOG};
use super::*;
use crate::spec::seccomp::{Argument, Rule};

const NAMES: [&str; 7] = ["read", "personality", "ptrace", "socket", "shmat", "listen", "close_range"];
const ACTIONS: [(&str, u32); 4] =
    [("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_ERRNO", ERRNO | 1), ("SCMP_ACT_KILL", KILL_THREAD), ("SCMP_ACT_LOG", LOG)];
const VALUES: [u64; 9] = [0, 1, 5, 21, 0xffff_ffff, 1 << 32, 1 << 32 | 5, 1 << 63, u64::MAX];

/// A deterministic pseudo-random generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn profile(&mut self) -> Seccomp {
        let mut rules: Vec<Rule> = (0..1 + self.below(12)).map(|_| self.rule()).collect();
        // The newest call, so that no other is newer than the profile.
        rules.push(Rule { names: vec!["rseq_slice_yield".into()], action: ACTIONS[0].0.into(), ..Rule::default() });
        let architectures = ["SCMP_ARCH_X86", "SCMP_ARCH_X32"].iter().filter(|_| self.below(2) == 0);
        Seccomp {
            architectures: architectures.map(|name| name.to_string()).collect(),
            default_action: self.of(&ACTIONS).0.into(),
            syscalls: rules,
            ..Seccomp::default()
        }
    }

    fn rule(&mut self) -> Rule {
        Rule {
            names: (0..1 + self.below(2)).map(|_| self.of(&NAMES).into()).collect(),
            action: self.of(&ACTIONS).0.into(),
            errno_ret: None,
            args: (0..self.below(4)).map(|_| self.argument()).collect(),
        }
    }

    fn argument(&mut self) -> Argument {
        Argument {
            index: self.below(4) as u32,
            value: self.of(&VALUES),
            value_two: self.of(&VALUES),
            op: self.of(&profile::OPERATORS).0.into(),
        }
    }
}

/// The verdicts that are allowed for a call that a rule names.
fn allowed(spec: &Seccomp, call: &Call) -> Vec<u32> {
    let value = |name: &str| ACTIONS.iter().find(|(known, _)| *known == name).unwrap().1;
    let default = value(&spec.default_action);
    let (mut without, mut with) = (None, Vec::new());
    for rule in spec.syscalls.iter().filter(|rule| value(&rule.action) != default) {
        for multiplexed in rule.names.iter().flat_map(|name| ways(name, call)) {
            let mut indices: Vec<u32> = rule.args.iter().map(|arg| arg.index).collect();
            indices.sort_unstable();
            let twice = indices.windows(2).any(|pair| pair[0] == pair[1]);
            let alternatives = if twice { rule.args.chunks(1).collect() } else { vec![&rule.args[..]] };
            for args in alternatives {
                let mut judged = args.iter().filter_map(|arg| holds(arg, call, multiplexed)).peekable();
                let always = judged.peek().is_none() && multiplexed.is_none();
                let first = multiplexed.is_none_or(|which| call.args[0] as u32 == which);
                if always {
                    without = without.or(Some(value(&rule.action)));
                } else if first && judged.all(|holds| holds) {
                    with.push(value(&rule.action));
                }
            }
        }
    }
    match without {
        Some(action) => vec![action],
        None if with.is_empty() => vec![default],
        None => with,
    }
}

/// How a name matches this call: directly, or by that first argument of socketcall(2) or ipc(2).
fn ways(name: &str, call: &Call) -> Vec<Option<u32>> {
    let known = lookup(name).unwrap();
    let i386 = call.arch == AUDIT_I386;
    let abis = if i386 { &[Abi::I386][..] } else { &[Abi::X86_64, Abi::X32] };
    let direct = abis.iter().any(|abi| known.number(*abi) == Some(call.number));
    let other = known.multiplexed().filter(|(number, _)| i386 && *number == call.number);
    direct.then_some(None).into_iter().chain(other.map(|(_, which)| Some(which))).collect()
}

/// Whether a condition holds; None if it can't fail.
fn holds(arg: &Argument, call: &Call, multiplexed: Option<u32>) -> Option<bool> {
    if arg.index == 0 && multiplexed.is_some() {
        return None;
    }
    let half = call.arch == AUDIT_I386 || call.number & X32_BIT != 0;
    let cut = |value: u64| if half { u64::from(value as u32) } else { value };
    let (given, value, two) = (cut(call.args[arg.index as usize]), cut(arg.value), cut(arg.value_two));
    Some(match arg.op.as_str() {
        "SCMP_CMP_EQ" => given == value,
        "SCMP_CMP_NE" => given != value,
        "SCMP_CMP_LT" => given < value,
        "SCMP_CMP_LE" => given <= value,
        "SCMP_CMP_GT" => given > value,
        "SCMP_CMP_GE" => given >= value,
        _ if value == 0 => return None,
        _ => given & value == two & value,
    })
}

#[test]
fn a_verdict_comes_from_a_rule_that_holds() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut probes, mut conflicting) = (0, 0);
    for _ in 0..300 {
        let spec = random.profile();
        let Ok(Filter { program, .. }) = compile(&spec, &Log::quiet()) else {
            conflicting += 1;
            continue;
        };
        let abis = arch::Abis::parse(&spec.architectures).unwrap();
        for name in spec.syscalls.iter().flat_map(|rule| &rule.names) {
            let known = lookup(name).unwrap();
            let mut ways = vec![(AUDIT_X86_64, known.number(Abi::X86_64))];
            if abis.x32 {
                ways.push((AUDIT_X86_64, known.number(Abi::X32)));
            }
            if abis.i386 {
                ways.push((AUDIT_I386, known.number(Abi::I386)));
                ways.push((AUDIT_I386, known.multiplexed().map(|(number, _)| number)));
            }
            for (arch, number) in ways.into_iter().filter_map(|(arch, number)| Some((arch, number?))) {
                for _ in 0..20 {
                    let near = [0, 1, u64::MAX, 1 << 32];
                    let args = std::array::from_fn(|_| random.of(&VALUES).wrapping_add(random.of(&near)));
                    let call = Call { arch, number, args };
                    let (verdict, allowed) = (run(&program, &call).action, allowed(&spec, &call));
                    assert!(allowed.contains(&verdict), "{call:x?}: {verdict:x}, not {allowed:x?}: {spec:#?}");
                    probes += 1;
                }
            }
        }
    }
    assert!(probes > 100_000 && conflicting < 30, "{probes} probes, {conflicting} profiles in conflict");
}
