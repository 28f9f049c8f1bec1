//! Capability names and sets. The names are those of the `caps` crate. A set is a bit mask, bit
//! n for capability n, so that a capability that no table has is dropped as well.

use crate::log::Log;
use crate::spec::process::Capabilities;
use caps::Capability;

/// The highest capability number of a mask.
pub const MAX: u8 = 63;

/// The capability sets of a process as bit masks (capabilities(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// All names, indexed by their numbers in linux/capability.h.
pub fn names() -> Vec<String> {
    let mut all: Vec<Capability> = caps::all().into_iter().collect();
    all.sort_by_key(Capability::index);
    all.iter().map(ToString::to_string).collect()
}

/// The number of a name as in `CAP_CHOWN`. Other spellings are unknown to every runtime, and
/// must not grant more here.
pub fn number(name: &str) -> Option<u8> {
    name.parse::<Capability>().ok().map(|capability| capability.index())
}

/// The number of a name as users type it: `chown`, `CAP_CHOWN`.
pub fn typed(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    number(&upper).or_else(|| number(&format!("CAP_{upper}")))
}

/// The sets of config.json, limited to `available`, the caller's. A name that is unknown to firn
/// or the kernel, or not available, is logged and left out (runtime-spec, config.md,
/// "process.capabilities").
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
        // A debug message: all of buildah's configs have such names, and the output of a build
        // is compared.
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
