//! From a profile to BPF: a binary search over ranges of system call numbers, then comparisons of
//! arguments.

use super::abi::{AUDIT_I386, AUDIT_X86_64, Abi, X32_BIT};
use super::arch::Abis;
use super::bpf::{ARCH, ARGUMENTS, Assembler, NUMBER, Target, Test};
use super::order::{self, Conditional, Treatment, Width};
use super::profile::{Action, Condition, KILL_THREAD, Operator, Profile, Rule};
use super::ranges::{self, Base, Range, Ranges};
use crate::error::{Context, Result};
use crate::sys::seccomp::Instruction;

/// Compiles a profile. Errors: conflicting rules; more than 4096 instructions.
pub fn program(profile: &Profile<'_>) -> Result<Vec<Instruction>> {
    let rules = Rules::collect(profile);
    let mut code = Code { out: Assembler::new(), default: Target::Return(profile.default) };
    let mut start = Target::Return(KILL_THREAD);
    if profile.abis.i386 {
        let i386 = code.search(&rules.i386(&ranges::base_i386(profile))?);
        let i386 = code.out.load(NUMBER, i386);
        start = code.out.branch(Test::Equal, AUDIT_I386, i386, start);
    }
    let native = code.search(&rules.x86_64(&ranges::base_x86_64(profile))?);
    let native = code.out.load(NUMBER, native);
    start = code.out.branch(Test::Equal, AUDIT_X86_64, native, start);
    start = code.out.load(ARCH, start);
    code.out.finish(start)
}

/// An alternative of a rule: its conditions and action.
#[derive(Debug)]
struct Alternative {
    action: Action,
    conditions: Vec<Condition>,
}

/// An alternative for a number; sorts by number, then by position in the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u64);

impl Entry {
    fn new(number: u32, alternative: usize) -> Self {
        Entry(u64::from(number) << 32 | alternative as u64)
    }

    fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn alternative(self) -> usize {
        self.0 as u32 as usize
    }
}

/// The rules by number.
#[derive(Debug, Default)]
struct Rules {
    alternatives: Vec<Alternative>,
    x86_64: Vec<Entry>,
    i386: Vec<Entry>,
}

impl Rules {
    /// Rules with the default action are left out, as by runc.
    fn collect(profile: &Profile<'_>) -> Self {
        let mut rules = Rules::default();
        for rule in profile.rules.iter().filter(|rule| rule.action != profile.default) {
            for conditions in &rule.alternatives {
                rules.add(rule, conditions, profile.abis);
            }
        }
        rules.x86_64.sort_unstable();
        rules.i386.sort_unstable();
        rules
    }

    fn add(&mut self, rule: &Rule, conditions: &[Condition], abis: Abis) {
        let alternative = self.alternative(rule.action, conditions.to_vec());
        self.x86_64
            .extend(rule.calls.iter().filter_map(|call| Some(Entry::new(call.number(Abi::X86_64)?, alternative))));
        if abis.x32 {
            self.x86_64
                .extend(rule.calls.iter().filter_map(|call| Some(Entry::new(call.number(Abi::X32)?, alternative))));
        }
        if !abis.i386 {
            return;
        }
        for call in &rule.calls {
            self.i386.extend(call.number(Abi::I386).map(|number| Entry::new(number, alternative)));
            if let Some((number, which)) = call.multiplexed() {
                // The other arguments are behind a pointer; as by libseccomp, the rule's conditions
                // apply to the arguments of socketcall(2) or ipc(2) themselves.
                let mut conditions = conditions.to_vec();
                conditions.retain(|condition| condition.argument != 0);
                conditions.insert(0, Condition::equals(0, which.into()));
                let alternative = self.alternative(rule.action, conditions);
                self.i386.push(Entry::new(number, alternative));
            }
        }
    }

    fn alternative(&mut self, action: Action, conditions: Vec<Condition>) -> usize {
        self.alternatives.push(Alternative { action, conditions });
        self.alternatives.len() - 1
    }

    fn x86_64(&self, base: &Base) -> Result<Vec<Range>> {
        self.lay(base, &self.x86_64, |number| if number < X32_BIT { Width::Full } else { Width::Half })
    }

    fn i386(&self, base: &Base) -> Result<Vec<Range>> {
        self.lay(base, &self.i386, |_| Width::Half)
    }

    fn lay(&self, base: &Base, entries: &[Entry], width: impl Fn(u32) -> Width) -> Result<Vec<Range>> {
        let mut ranges = Ranges::over(base);
        for same in entries.chunk_by(|a, b| a.number() == b.number()) {
            let (number, first) = (same[0].number(), &self.alternatives[same[0].alternative()]);
            // The common case.
            if first.conditions.is_empty() {
                ranges.insert(number, Treatment::Always(first.action));
                continue;
            }
            let rules = same.iter().map(|entry| {
                let Alternative { action, conditions } = &self.alternatives[entry.alternative()];
                Conditional { conditions: conditions.clone(), action: *action, width: width(number) }
            });
            ranges.insert(number, order::decide(rules).doing(|| format!("system call {number}"))?);
        }
        Ok(ranges.finish())
    }
}

struct Code {
    out: Assembler,
    default: Target,
}

impl Code {
    /// Finds the range of the number in the accumulator.
    fn search(&mut self, ranges: &[Range]) -> Target {
        match ranges {
            [] => self.default,
            [range] => self.treat(&range.treatment),
            _ => {
                let (below, above) = ranges.split_at(ranges.len() / 2);
                let yes = self.search(above);
                let no = self.search(below);
                self.out.branch(Test::GreaterOrEqual, above[0].start, yes, no)
            }
        }
    }

    fn treat(&mut self, treatment: &Treatment) -> Target {
        match treatment {
            Treatment::Always(action) => Target::Return(*action),
            Treatment::When(rules) => rules.iter().rev().fold(self.default, |no, rule| {
                let yes = Target::Return(rule.action);
                rule.conditions.iter().rev().fold(yes, |yes, condition| self.compare(condition, rule.width, yes, no))
            }),
        }
    }

    fn compare(&mut self, condition: &Condition, width: Width, yes: Target, no: Target) -> Target {
        use Operator::*;
        match condition.operator {
            Eq | MaskedEq => self.equal(condition, width, yes, no),
            Ne => self.equal(condition, width, no, yes),
            Gt => self.above(Test::Greater, condition, width, yes, no),
            Ge => self.above(Test::GreaterOrEqual, condition, width, yes, no),
            Le => self.above(Test::Greater, condition, width, no, yes),
            Lt => self.above(Test::GreaterOrEqual, condition, width, no, yes),
        }
    }

    /// A half of an argument with mask 0 is not compared.
    fn equal(&mut self, condition: &Condition, width: Width, yes: Target, no: Target) -> Target {
        let low = self.half(condition, Half::Low, yes, no);
        match width {
            Width::Half => low,
            Width::Full => self.half(condition, Half::High, low, no),
        }
    }

    fn half(&mut self, condition: &Condition, half: Half, yes: Target, no: Target) -> Target {
        let (mask, value) = (half.of(condition.mask), half.of(condition.value));
        if mask == 0 {
            return yes;
        }
        let mut at = self.out.branch(Test::Equal, value, yes, no);
        if mask != u32::MAX {
            at = self.out.and(mask, at);
        }
        self.out.load(half.offset(condition), at)
    }

    /// `test` compares the low halves; different high halves decide alone.
    fn above(&mut self, test: Test, condition: &Condition, width: Width, yes: Target, no: Target) -> Target {
        let low = self.out.branch(test, Half::Low.of(condition.value), yes, no);
        let low = self.out.load(Half::Low.offset(condition), low);
        if width == Width::Half {
            return low;
        }
        let high = Half::High.of(condition.value);
        let equal = self.out.branch(Test::Equal, high, low, no);
        let greater = self.out.branch(Test::Greater, high, yes, equal);
        self.out.load(Half::High.offset(condition), greater)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Low,
    High,
}

impl Half {
    fn of(self, value: u64) -> u32 {
        match self {
            Half::Low => value as u32,
            Half::High => (value >> 32) as u32,
        }
    }

    /// Offset of this half of the argument in seccomp_data (little-endian).
    fn offset(self, condition: &Condition) -> u32 {
        ARGUMENTS + 8 * u32::from(condition.argument) + if self == Half::High { 4 } else { 0 }
    }
}
