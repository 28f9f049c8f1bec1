//! Which store paths of a closure share a layer.
//!
//! The paths that most others need get a layer of their own, from the bottom up, and what is left is
//! merged into the last. A path is needed by whatever leads to it, directly or not, so it always lies
//! below what needs it. Since a change of a path changes all that need it and nothing else (their
//! hashes depend on it), a changed image has the layers of before up to the lowest change: those that
//! share layers by their digest and those that share by what lies below (podman, Docker) both profit.

use crate::source::nix::store_path::{HASH_LENGTH, StorePath};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Store paths and what each refers to.
pub(crate) type References = BTreeMap<StorePath, BTreeSet<StorePath>>;

/// Why there is no plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PlanError {
    #[error("layer group: {0} is not in the closure")]
    NotInClosure(StorePath),
    #[error("layer group: {0} is in two groups")]
    Twice(StorePath),
    #[error("--max-layers {limit}: {needed} layers are needed for the directories and layer groups alone")]
    TooFew { limit: usize, needed: usize },
}

/// Paths that are not taken apart.
#[derive(Debug)]
struct Unit {
    paths: Vec<StorePath>,
    /// Asked for, and so not merged with others.
    is_group: bool,
}

/// The store paths of each layer, lowest first, at most `limit` layers. Paths of a group share a
/// layer, which lies where its most needed path would.
pub(crate) fn layers(
    references: &References,
    groups: &[Vec<StorePath>],
    limit: usize,
) -> Result<Vec<Vec<StorePath>>, PlanError> {
    check_groups(references, groups)?;
    let popularity = popularity(references);
    let grouped: BTreeSet<&StorePath> = groups.iter().flatten().collect();
    let single = references.keys().filter(|path| !grouped.contains(path));
    let single = single.map(|path| Unit { paths: vec![path.clone()], is_group: false });
    let groups = groups.iter().map(|group| Unit { paths: sorted(group.clone()), is_group: true });
    let mut units: Vec<Unit> = groups.chain(single).collect();
    units.sort_by_cached_key(|unit| unit.paths.iter().map(|path| order(path, &popularity)).min());
    merge_last(units, limit)
}

/// Most needed first; then by name, so that a new version takes the place of the old one; by hash.
fn order(path: &StorePath, popularity: &BTreeMap<&StorePath, usize>) -> (Reverse<usize>, String, String) {
    let (hash, name) = path.base().split_at(HASH_LENGTH);
    (Reverse(popularity.get(path).copied().unwrap_or(0)), name.to_owned(), hash.to_owned())
}

fn check_groups(references: &References, groups: &[Vec<StorePath>]) -> Result<(), PlanError> {
    let mut seen = BTreeSet::new();
    for path in groups.iter().flatten() {
        if !references.contains_key(path) {
            return Err(PlanError::NotInClosure(path.clone()));
        }
        if !seen.insert(path) {
            return Err(PlanError::Twice(path.clone()));
        }
    }
    Ok(())
}

/// Merges the least needed paths into the last layer, and no group with others.
fn merge_last(units: Vec<Unit>, limit: usize) -> Result<Vec<Vec<StorePath>>, PlanError> {
    if units.len() <= limit {
        return Ok(units.into_iter().map(|unit| unit.paths).collect());
    }
    let groups = units.iter().filter(|unit| unit.is_group).count();
    // What is no group needs one layer at least.
    let needed = groups + usize::from(groups < units.len());
    let Some(mut own_layers) = limit.checked_sub(needed) else {
        return Err(PlanError::TooFew { limit, needed });
    };
    let (mut layers, mut rest) = (Vec::new(), Vec::new());
    for unit in units {
        if unit.is_group {
            layers.push(unit.paths);
        } else if own_layers > 0 {
            own_layers -= 1;
            layers.push(unit.paths);
        } else {
            rest.extend(unit.paths);
        }
    }
    layers.push(sorted(rest));
    Ok(layers)
}

fn sorted(mut paths: Vec<StorePath>) -> Vec<StorePath> {
    paths.sort();
    paths
}

/// How many paths need each, directly or not, itself not counted.
fn popularity(references: &References) -> BTreeMap<&StorePath, usize> {
    let number: BTreeMap<&StorePath, usize> = references.keys().zip(0..).collect();
    let edges: Vec<Vec<usize>> = references
        .values()
        .map(|needed| needed.iter().filter_map(|path| number.get(path).copied()).collect())
        .collect();
    let mut counts = vec![0; edges.len()];
    // By whom each was seen last.
    let mut seen_by = vec![usize::MAX; edges.len()];
    let mut next = Vec::new();
    for start in 0..edges.len() {
        seen_by[start] = start;
        next.push(start);
        while let Some(path) = next.pop() {
            for &needed in &edges[path] {
                if seen_by[needed] != start {
                    seen_by[needed] = start;
                    counts[needed] += 1;
                    next.push(needed);
                }
            }
        }
    }
    references.keys().zip(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From "a>b,c": path a refers to b and c. A path is named by a letter, its hash repeats it.
    fn graph(text: &str) -> References {
        let line = |line: &str| {
            let (from, to) = line.split_once('>').unwrap();
            (path(from), to.split(',').filter(|name| !name.is_empty()).map(path).collect())
        };
        text.split(' ').map(line).collect()
    }

    fn path(name: &str) -> StorePath {
        StorePath::parse(&format!("/nix/store/{}-{name}", name[..1].repeat(32))).unwrap()
    }

    fn names(layers: &[Vec<StorePath>]) -> Vec<String> {
        let name = |path: &StorePath| path.base()[33..].to_owned();
        layers.iter().map(|paths| paths.iter().map(name).collect::<Vec<_>>().join("+")).collect()
    }

    #[test]
    fn what_others_need_lies_below_them() {
        let chain = graph("s>a,w w>c,w c>b b> a>b");
        assert_eq!(names(&layers(&chain, &[], 100).unwrap()), ["b", "c", "a", "w", "s"]);
        assert_eq!(names(&layers(&chain, &[], 3).unwrap()), ["b", "c", "a+s+w"]);
        assert_eq!(names(&layers(&chain, &[], 1).unwrap()), ["a+b+c+s+w"]);
    }

    #[test]
    fn a_group_shares_a_layer_of_its_own() {
        let chain = graph("s>a,w w>c,w c>b b> a>b");
        let group = [vec![path("w"), path("c")]];
        assert_eq!(names(&layers(&chain, &group, 100).unwrap()), ["b", "c+w", "a", "s"]);
        assert_eq!(names(&layers(&chain, &group, 2).unwrap()), ["c+w", "a+b+s"]);
        assert_eq!(names(&layers(&chain, &[vec![path("s")]], 2).unwrap()), ["s", "a+b+c+w"]);
        assert_eq!(layers(&chain, &group, 1), Err(PlanError::TooFew { limit: 1, needed: 2 }));
        assert_eq!(layers(&chain, &[vec![path("x")]], 9), Err(PlanError::NotInClosure(path("x"))));
        let twice = [vec![path("a")], vec![path("a"), path("b")]];
        assert_eq!(layers(&chain, &twice, 9), Err(PlanError::Twice(path("a"))));
    }
}
