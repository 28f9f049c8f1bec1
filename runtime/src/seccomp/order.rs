//! Which of several rules for one system call decides.
//!
//! A rule without conditions does, the first one if there are several. Among
//! rules with conditions the order of the profile does not matter; they are
//! tried in the order in which libseccomp tries them, on which profiles with
//! overlapping rules rely: it makes a tree of 32-bit comparisons, where rules
//! with common first comparisons share them, and on each level sorts by
//! argument, operator and constant.

use super::profile::{Action, Condition, Operator};
use crate::bail;
use crate::error::Result;

/// How much of an argument is compared: i386 and x32 have 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Half,
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditional {
    /// By argument; never empty.
    pub conditions: Vec<Condition>,
    pub action: Action,
    pub width: Width,
}

/// What the rules of one system call come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    Always(Action),
    /// What the first that holds says; where none does, the default.
    When(Vec<Conditional>),
}

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

/// One comparison of 32 bits, as a place in the order.
#[derive(Debug, Clone, Copy)]
struct Key {
    /// Twice the argument, and one more for its high half.
    word: u8,
    rank: u8,
    downwards: bool,
    /// The rule goes on where the comparison fails.
    negated: bool,
    /// What the processor does: `Eq`, `Gt`, `Ge` or `MaskedEq`.
    test: Operator,
    mask: u32,
    value: u32,
}

impl Key {
    /// Whether the two are one comparison (which one rule may want to hold and
    /// the other to fail).
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
    holds: Option<Next>,
    fails: Option<Next>,
}

#[derive(Debug)]
enum Next {
    Rule(usize),
    Level(Vec<Node>),
}

fn arrange(rules: Vec<Conditional>) -> Result<Vec<Conditional>> {
    let mut tree = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        insert(&mut tree, &path(rule), index, &rules)?;
    }
    let mut order = Vec::with_capacity(rules.len());
    walk(&tree, &mut order);
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

/// Adds a rule. One that another covers, because that has the same first
/// conditions and no more, is dropped.
fn insert(level: &mut Vec<Node>, path: &[Key], rule: usize, rules: &[Conditional]) -> Result<()> {
    let Some((key, rest)) = path.split_first() else { return Ok(()) };
    let mut place = level.len();
    for (index, node) in level.iter_mut().enumerate() {
        if node.key.same(key) {
            let next = if key.negated { &mut node.fails } else { &mut node.holds };
            return match next {
                None => {
                    *next = Some(branch(rest, rule));
                    Ok(())
                }
                Some(next) => merge(next, rest, rule, rules),
            };
        }
        if node.key.after(key) {
            place = index;
            break;
        }
    }
    level.insert(place, node(*key, rest, rule));
    Ok(())
}

fn node(key: Key, rest: &[Key], rule: usize) -> Node {
    let (next, negated) = (Some(branch(rest, rule)), key.negated);
    if negated { Node { key, holds: None, fails: next } } else { Node { key, holds: next, fails: None } }
}

fn branch(rest: &[Key], rule: usize) -> Next {
    match rest.split_first() {
        None => Next::Rule(rule),
        Some((first, rest)) => Next::Level(vec![node(*first, rest, rule)]),
    }
}

fn merge(next: &mut Next, rest: &[Key], rule: usize, rules: &[Conditional]) -> Result<()> {
    match next {
        Next::Level(level) if !rest.is_empty() => return insert(level, rest, rule, rules),
        Next::Rule(_) if !rest.is_empty() => return Ok(()),
        _ => {}
    }
    let mut covered = Vec::new();
    collect(next, &mut covered);
    if covered.iter().any(|earlier| rules[*earlier].action != rules[rule].action) {
        bail!("rules with the same conditions have different actions");
    }
    *next = Next::Rule(rule);
    Ok(())
}

fn walk(level: &[Node], order: &mut Vec<usize>) {
    for node in level {
        for next in node.holds.iter().chain(&node.fails) {
            collect(next, order);
        }
    }
}

fn collect(next: &Next, order: &mut Vec<usize>) {
    match next {
        Next::Rule(rule) => order.push(*rule),
        Next::Level(level) => walk(level, order),
    }
}
