//! Several containers, each after those that it waits for, the others at the same time.

use anyhow::{Result, anyhow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex};

/// What came of each.
pub type Outcomes<T> = BTreeMap<String, Result<T>>;

/// Which containers each waits for.
pub type Waits = BTreeMap<String, BTreeSet<String>>;

/// The reverse: for stopping.
pub fn reversed(waits: &Waits) -> Waits {
    let mut reversed: Waits = waits.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (name, others) in waits {
        for other in others {
            reversed.entry(other.clone()).or_default().insert(name.clone());
        }
    }
    reversed
}

/// Does `work` for all, at most `limit` at a time, and none before those that it waits for have
/// succeeded. One whose turn never comes has an error that names the one that failed.
pub fn run<T: Send>(waits: &Waits, limit: usize, work: impl Fn(&str) -> Result<T> + Sync) -> Outcomes<T> {
    let state = Mutex::new(State::new(waits));
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..limit.min(waits.len()) {
            scope.spawn(|| {
                let mut held = lock(&state);
                loop {
                    held.give_up();
                    let Some(name) = held.next() else {
                        if held.waiting.is_empty() {
                            return;
                        }
                        held = changed.wait(held).unwrap_or_else(std::sync::PoisonError::into_inner);
                        continue;
                    };
                    held.working += 1;
                    drop(held);
                    let outcome = work(&name);
                    held = lock(&state);
                    held.working -= 1;
                    held.outcomes.insert(name, outcome);
                    changed.notify_all();
                }
            });
        }
    });
    state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).outcomes
}

fn lock<T>(state: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct State<T> {
    waiting: Waits,
    outcomes: Outcomes<T>,
    working: usize,
}

impl<T> State<T> {
    /// What is none of these is nobody's to wait for.
    fn new(waits: &Waits) -> Self {
        let known =
            |others: &BTreeSet<String>| others.iter().filter(|name| waits.contains_key(*name)).cloned().collect();
        let waiting = waits.iter().map(|(name, others)| (name.clone(), known(others))).collect();
        State { waiting, outcomes: BTreeMap::new(), working: 0 }
    }

    /// One that may begin.
    fn next(&mut self) -> Option<String> {
        let may_begin = |others: &BTreeSet<String>| others.iter().all(|other| self.outcomes.contains_key(other));
        let name = self.waiting.iter().find(|(_, others)| may_begin(others))?.0.clone();
        self.waiting.remove(&name);
        Some(name)
    }

    /// Gives up those that wait for one that has failed, and those that wait for them.
    fn give_up(&mut self) {
        while let Some((name, other)) = self.hopeless() {
            self.waiting.remove(&name);
            let error = anyhow!("container {name}: waits for {other}, which has failed");
            self.outcomes.insert(name, Err(error));
        }
    }

    /// One that waits for a failed one, and that.
    fn hopeless(&self) -> Option<(String, String)> {
        let failed = |other: &&String| matches!(self.outcomes.get(*other), Some(Err(_)));
        self.waiting.iter().find_map(|(name, others)| Some((name.clone(), others.iter().find(failed)?.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(list: &[(&str, &[&str])]) -> Waits {
        list.iter().map(|(name, others)| ((*name).into(), others.iter().map(ToString::to_string).collect())).collect()
    }

    #[test]
    fn none_begins_before_those_that_it_waits_for() {
        let waits = waits(&[("a", &["b", "elsewhere"]), ("b", &["c"]), ("c", &[]), ("d", &[])]);
        for limit in [1, 2, 8] {
            let done = Mutex::new(Vec::new());
            let outcomes = run(&waits, limit, |name| {
                done.lock().unwrap().push(name.to_owned());
                Ok(())
            });
            assert_eq!(outcomes.len(), 4);
            let done = done.into_inner().unwrap();
            let at = |name: &str| done.iter().position(|other| other == name).unwrap();
            assert!(at("c") < at("b") && at("b") < at("a"), "{done:?}");
        }
    }

    #[test]
    fn what_waits_for_a_failure_is_not_begun() {
        let waits = waits(&[("a", &["b"]), ("b", &["c"]), ("c", &[]), ("d", &[])]);
        let outcomes = run(&waits, 2, |name| if name == "c" { Err(anyhow!("no")) } else { Ok(()) });
        assert!(outcomes["d"].is_ok());
        assert_eq!(outcomes["b"].as_ref().unwrap_err().to_string(), "container b: waits for c, which has failed");
        assert_eq!(outcomes["a"].as_ref().unwrap_err().to_string(), "container a: waits for b, which has failed");
    }

    #[test]
    fn the_reverse_is_the_order_of_stopping() {
        let reversed = reversed(&waits(&[("a", &["b"]), ("b", &[])]));
        assert_eq!(reversed, waits(&[("a", &[]), ("b", &["a"])]));
    }
}
