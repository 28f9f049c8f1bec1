//! Which of several rules for a system call decides.
//!
//! A rule without conditions decides, the first if there are several. The order of rules with
//! conditions in the profile is not significant: they are tried in libseccomp's order, on which
//! profiles with overlapping rules rely. libseccomp makes a tree of 32-bit comparisons; rules share
//! equal first comparisons, and each level is sorted by argument, operator and constant.

use super::profile::{Action, Condition, Operator};
use crate::bail;
use crate::error::Result;

/// Bits of an argument that are compared: 32 for i386 and x32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Half,
    Full,
}

/// A rule with conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditional {
    /// Sorted by argument; not empty.
    pub conditions: Vec<Condition>,
    pub action: Action,
    pub width: Width,
}

/// The result of all rules of a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    Always(Action),
    /// The action of the first whose conditions hold; otherwise the default.
    When(Vec<Conditional>),
}

/// Orders the rules of a system call. Errors: different actions for the same conditions.
pub fn decide(rules: impl Iterator<Item = Conditional>) -> Result<Treatment> {
    let mut kept: Vec<Conditional> = Vec::new();
    for mut rule in rules {
        rule.conditions.retain(|condition| !always_holds(condition, rule.width));
        if rule.conditions.is_empty() {
            return Ok(Treatment::Always(rule.action));
        }
        kept.push(rule);
    }
    if kept.iter().any(|rule| rule.action != kept[0].action) {
        kept = arrange(kept)?;
    }
    Ok(Treatment::When(kept))
}

fn always_holds(condition: &Condition, width: Width) -> bool {
    let mask = match width {
        Width::Full => condition.mask,
        Width::Half => u64::from(condition.mask as u32),
    };
    condition.operator == Operator::MaskedEq && mask == 0
}

/// A 32-bit comparison, as a sort key.
#[derive(Debug, Clone, Copy)]
struct Key {
    /// Twice the argument's index, plus one for its high half.
    word: u8,
    rank: u8,
    downwards: bool,
    /// The rule continues if the comparison fails.
    negated: bool,
    /// The BPF comparison: `Eq`, `Gt`, `Ge` or `MaskedEq`.
    test: Operator,
    mask: u32,
    value: u32,
}

impl Key {
    /// Whether both are the same comparison; one rule may need it to hold, the other to fail.
    fn same(&self, other: &Key) -> bool {
        (self.word, self.test, self.mask, self.value) == (other.word, other.test, other.mask, other.value)
    }

    fn after(&self, other: &Key) -> bool {
        if (self.word, self.rank) != (other.word, other.rank) {
            return (self.word, self.rank) < (other.word, other.rank);
        }
        if self.downwards { self.value > other.value } else { self.value < other.value }
    }
}

#[derive(Debug)]
struct Node {
    key: Key,
    holds: Next,
    fails: Next,
}

/// What follows a comparison: rules with further conditions, then the one without.
#[derive(Debug, Default)]
struct Next {
    level: Vec<Node>,
    rule: Option<usize>,
}

fn arrange(rules: Vec<Conditional>) -> Result<Vec<Conditional>> {
    let mut tree = Next::default();
    for (index, rule) in rules.iter().enumerate() {
        tree.insert(&path(rule), index, &rules)?;
    }
    let mut order = Vec::with_capacity(rules.len());
    tree.walk(&mut order);
    Ok(order.into_iter().map(|index| rules[index].clone()).collect())
}

fn path(rule: &Conditional) -> Vec<Key> {
    let mut path = Vec::with_capacity(2 * rule.conditions.len());
    for condition in &rule.conditions {
        let low = key(condition, condition.argument * 2, condition.mask as u32, condition.value as u32);
        if rule.width == Width::Full {
            let (mask, value) = ((condition.mask >> 32) as u32, (condition.value >> 32) as u32);
            let mut high = key(condition, condition.argument * 2 + 1, mask, value);
            high.negated = false;
            if high.test == Operator::Ge {
                high.test = Operator::Gt;
            }
            path.push(high);
        }
        path.push(low);
    }
    path
}

fn key(condition: &Condition, word: u8, mask: u32, value: u32) -> Key {
    use Operator::*;
    let (rank, test) = match condition.operator {
        Eq | Ne => (3, Eq),
        MaskedEq => (3, MaskedEq),
        Lt => (2, Ge),
        Le => (2, Gt),
        Ge => (1, Ge),
        Gt => (1, Gt),
    };
    let negated = matches!(condition.operator, Ne | Lt | Le);
    Key { word, rank, downwards: matches!(condition.operator, Lt | Le), negated, test, mask, value: value & mask }
}

impl Next {
    /// Inserts a rule. It is dropped if its first conditions are all conditions of an earlier one.
    fn insert(&mut self, path: &[Key], rule: usize, rules: &[Conditional]) -> Result<()> {
        let Some((key, rest)) = path.split_first() else { return self.end(rule, rules) };
        if self.rule.is_some() {
            return Ok(());
        }
        let found = self.level.iter().position(|node| node.key.same(key) || node.key.after(key));
        let place = found.unwrap_or(self.level.len());
        if !self.level.get(place).is_some_and(|node| node.key.same(key)) {
            self.level.insert(place, Node { key: *key, holds: Next::default(), fails: Next::default() });
        }
        let node = &mut self.level[place];
        let next = if key.negated { &mut node.fails } else { &mut node.holds };
        next.insert(rest, rule, rules)
    }

    /// Ends a rule here.
    fn end(&mut self, rule: usize, rules: &[Conditional]) -> Result<()> {
        let action = rules[rule].action;
        match self.rule {
            Some(earlier) if rules[earlier].action != action => {
                bail!("rules with the same conditions have different actions")
            }
            Some(_) => {}
            None => self.rule = Some(rule),
        }
        Ok(())
    }

    fn walk(&self, order: &mut Vec<usize>) {
        for node in &self.level {
            node.holds.walk(order);
            node.fails.walk(order);
        }
        order.extend(self.rule);
    }
}
