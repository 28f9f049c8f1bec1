//! Capability names, which are those of the `caps` crate, and sets. A set is a
//! mask, bit n for capability n, so that one that no table knows yet is dropped
//! all the same.

use crate::log::Log;
use crate::spec::process::Capabilities;
use caps::Capability;

/// The highest number a mask has room for.
pub const MAX: u8 = 63;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// All names, by their numbers in linux/capability.h.
pub fn names() -> Vec<String> {
    let mut all: Vec<Capability> = caps::all().into_iter().collect();
    all.sort_by_key(Capability::index);
    all.iter().map(ToString::to_string).collect()
}

/// A name exactly as in `CAP_CHOWN`: what a config writes otherwise is unknown to
/// every runtime, and must not give more here than elsewhere.
pub fn number(name: &str) -> Option<u8> {
    name.parse::<Capability>().ok().map(|capability| capability.index())
}

/// A name as people type it: `chown`, `CAP_CHOWN`.
pub fn typed(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    number(&upper).or_else(|| number(&format!("CAP_{upper}")))
}

/// The sets that config.json asks for, within what this process has
/// (`available`). A name that firn or the kernel does not know, or that can't
/// be given, is logged and left out: config.md, "process.capabilities".
pub fn sets(spec: &Capabilities, available: u64, log: &Log) -> CapSets {
    let mut unknown = Vec::new();
    let mut mask = |names: &[String]| {
        names.iter().fold(0u64, |mask, name| match number(name) {
            Some(bit) if available & (1 << bit) != 0 => mask | 1 << bit,
            _ => {
                if !unknown.contains(name) {
                    unknown.push(name.clone());
                }
                mask
            }
        })
    };
    let sets = CapSets {
        bounding: mask(&spec.bounding),
        effective: mask(&spec.effective),
        permitted: mask(&spec.permitted),
        inheritable: mask(&spec.inheritable),
        ambient: mask(&spec.ambient),
    };
    let vain = sets.ambient & !(sets.permitted & sets.inheritable);
    for bit in (0..=MAX).filter(|bit| vain & 1 << bit != 0) {
        let name = names().swap_remove(bit as usize);
        // Not a warning: buildah's configs all have such, and what a build prints is
        // compared.
        log.debug(|| format!("can't raise ambient capability {name}: it is not both permitted and inheritable"));
    }
    if !unknown.is_empty() {
        log.warn(&format!("ignoring unknown or unavailable capabilities: {}", unknown.join(", ")));
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::caps::SYS_ADMIN;

    #[test]
    fn names_stand_at_their_numbers() {
        assert_eq!(number("CAP_SYS_ADMIN"), Some(21));
        assert_eq!(number("sys_admin"), None);
        assert_eq!(typed("checkpoint_restore"), Some(40));
        assert_eq!(number("CAP_TIME_TRAVEL"), None);
        assert_eq!(1 << number("CAP_SYS_ADMIN").unwrap(), SYS_ADMIN);
    }

    #[test]
    fn unknown_and_unavailable_names_are_left_out() {
        let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let spec = Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_NOVELTY", "CAP_SYS_RESOURCE"]),
            ..Capabilities::default()
        };
        assert_eq!(sets(&spec, 1, &Log::quiet()), CapSets { bounding: 1, ..CapSets::default() });
    }
}
