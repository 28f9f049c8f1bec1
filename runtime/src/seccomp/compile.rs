//! From a profile to a program: a binary search over ranges of numbers, with
//! the comparisons of arguments at its leaves.

use super::arch::{self, AUDIT_I386, AUDIT_X86_64, Abi};
use super::bpf::{ARCH, ARGUMENTS, Assembler, NUMBER, Target, Test};
use super::order::{self, Conditional, Treatment, Width};
use super::profile::{Condition, KILL_THREAD, Operator, Profile};
use super::ranges::{self, Base, Range};
use crate::error::{Context, Result};
use crate::sys::seccomp::Instruction;

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

/// One way in which one rule matches one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    number: u32,
    rule: u32,
    alternative: u32,
    /// i386: the first argument is this, whatever the rule says of it.
    multiplexed: u32,
}

/// The rules by number.
struct Rules<'p> {
    profile: &'p Profile<'p>,
    x86_64: Vec<Entry>,
    i386: Vec<Entry>,
}

impl<'p> Rules<'p> {
    /// Rules that only repeat the default are left out, as runc does.
    fn collect(profile: &'p Profile<'p>) -> Self {
        let size = profile.rules.iter().map(|rule| rule.calls.len()).sum();
        let mut rules = Rules { profile, x86_64: Vec::with_capacity(2 * size), i386: Vec::with_capacity(size) };
        for (index, rule) in profile.rules.iter().enumerate() {
            if rule.action == profile.default {
                continue;
            }
            for name in rule.calls {
                let Some((name, numbers)) = arch::lookup(name) else { continue };
                for alternative in 0..rule.alternatives.len() {
                    let entry = |number, multiplexed| Entry {
                        number,
                        rule: index as u32,
                        alternative: alternative as u32,
                        multiplexed,
                    };
                    rules.x86_64.extend(numbers.of(Abi::X86_64).map(|number| entry(number, 0)));
                    if profile.abis.x32 {
                        rules.x86_64.extend(numbers.of(Abi::X32).map(|number| entry(number, 0)));
                    }
                    if profile.abis.i386 {
                        let (direct, other) = (numbers.of(Abi::I386), arch::multiplexed(name));
                        rules.i386.extend(direct.map(|number| entry(number, 0)));
                        rules.i386.extend(other.map(|(number, which)| entry(number, which)));
                    }
                }
            }
        }
        rules.x86_64.sort_unstable();
        rules.i386.sort_unstable();
        rules
    }

    fn x86_64(&self, base: &Base) -> Result<Vec<Range>> {
        self.ranges(base, &self.x86_64, |number| if number < arch::X32_BIT { Width::Full } else { Width::Half })
    }

    fn i386(&self, base: &Base) -> Result<Vec<Range>> {
        self.ranges(base, &self.i386, |_| Width::Half)
    }

    fn ranges(&self, base: &Base, entries: &[Entry], width: impl Fn(u32) -> Width) -> Result<Vec<Range>> {
        let mut decided = Vec::with_capacity(entries.len());
        for same in entries.chunk_by(|a, b| a.number == b.number) {
            let number = same[0].number;
            let treatment = order::decide(same.iter().map(|entry| self.conditional(entry, width(number))))
                .doing(|| self.name_of(&same[0]))?;
            decided.push((number, treatment));
        }
        Ok(ranges::lay(base, decided.into_iter()))
    }

    fn conditional(&self, entry: &Entry, width: Width) -> Conditional {
        let rule = &self.profile.rules[entry.rule as usize];
        let conditions = &rule.alternatives[entry.alternative as usize];
        let conditions = match entry.multiplexed {
            0 => conditions.clone(),
            which => {
                let others = conditions.iter().filter(|condition| condition.argument != 0);
                std::iter::once(Condition::equals(0, which.into())).chain(others.copied()).collect()
            }
        };
        Conditional { conditions, action: rule.action, width }
    }

    /// The rule's own name of the call, for errors.
    fn name_of(&self, entry: &Entry) -> String {
        let names = &self.profile.rules[entry.rule as usize].calls;
        let number = |name: &str, abi| arch::lookup(name).and_then(|(_, numbers)| numbers.of(abi));
        let named = names
            .iter()
            .find(|name| [Abi::X86_64, Abi::X32, Abi::I386].iter().any(|abi| number(name, *abi) == Some(entry.number)));
        format!("system call {}", named.map_or_else(|| entry.number.to_string(), String::clone))
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

    /// The halves of an argument whose mask is zero are not looked at.
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

    /// `test` is for the low half; the high one decides alone unless equal.
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

    /// Where seccomp_data, little-endian here, has this half of the argument.
    fn offset(self, condition: &Condition) -> u32 {
        ARGUMENTS + 8 * u32::from(condition.argument) + if self == Half::High { 4 } else { 0 }
    }
}
