//! The user namespace of a container: `privateUsers`.

use crate::definition::schema::{Definition, PrivateUsers, UserNamespace};
use serde_json::{Value, json};

/// Ids of a container.
pub const COUNT: u32 = 65_536;
/// Ranges that are picked lie here, as systemd-nspawn(1) has it: above the ids of people, below 2³¹.
const PICKED: std::ops::Range<u32> = 524_288..1_878_982_656;

/// The first id on the host, of a container with a user namespace. `picked`: what was picked for it.
pub fn first_id(definition: &Definition, picked: Option<u32>) -> Option<u32> {
    match definition.private_users {
        PrivateUsers::Kind(UserNamespace::No) => None,
        PrivateUsers::Kind(UserNamespace::Identity) => Some(0),
        PrivateUsers::Kind(UserNamespace::Pick) => picked,
        PrivateUsers::First(first) => Some(first),
    }
}

/// Whether a range has to be picked for it.
pub fn is_picked(definition: &Definition) -> bool {
    definition.private_users == PrivateUsers::Kind(UserNamespace::Pick)
}

/// A range that overlaps none of `taken`, each a first id and a count; the same for the same name
/// wherever it is free. `None` if all are taken.
pub fn pick(name: &str, taken: &[(u32, u32)]) -> Option<u32> {
    let places = (PICKED.end - PICKED.start) / COUNT;
    let begin = hash(name) % places;
    let candidates = (0..places).map(|step| PICKED.start + (begin + step) % places * COUNT);
    let is_free = |first: &u32| {
        taken
            .iter()
            .all(|(other, count)| first + COUNT <= *other || u64::from(*first) >= u64::from(*other) + u64::from(*count))
    };
    candidates.into_iter().find(is_free)
}

/// FNV-1a: the same on every machine and for every version.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// `linux.uidMappings` and `linux.gidMappings`.
pub fn mappings(first: u32) -> Value {
    json!([{"containerID": 0, "hostID": first, "size": COUNT}])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picked_ranges_are_stable_and_overlap_nothing() {
        let mut taken = Vec::new();
        for number in 0..200 {
            let name = format!("c{number}");
            let first = pick(&name, &taken).unwrap();
            assert!(PICKED.contains(&first) && first.is_multiple_of(COUNT));
            assert!(taken.iter().all(|(other, _)| *other != first));
            assert_eq!(pick(&name, &[]), pick(&name, &[]));
            taken.push((first, COUNT));
        }
        let alone = pick("web", &[]).unwrap();
        assert_eq!(pick("web", &[(alone - 5, 10)]), Some(alone + COUNT));
        assert_eq!(pick("web", &[(0, u32::MAX)]), None);
    }
}
