//! Removes duplicates.

use std::collections::HashSet;
use std::hash::Hash;

/// Each element once, at its first position.
pub fn unique<T: Eq + Hash + Clone>(mut list: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::with_capacity(list.len());
    list.retain(|element| seen.insert(element.clone()));
    list
}
