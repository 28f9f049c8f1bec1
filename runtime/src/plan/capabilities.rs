//! Capability names and sets. A set is a mask, bit n for capability n, so that
//! one that this table does not know yet is dropped all the same.

use crate::log::Log;
use crate::spec::process::Capabilities;

/// linux/capability.h, in order of their numbers.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

pub const SYS_ADMIN: u64 = 1 << 21;
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

/// A name exactly as in `CAP_CHOWN`: what a config writes otherwise is unknown to
/// every runtime, and must not give more here than elsewhere.
pub fn number(name: &str) -> Option<u8> {
    NAMES.iter().position(|known| *known == name).map(|at| at as u8)
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
    if !unknown.is_empty() {
        log.warn(&format!("ignoring unknown or unavailable capabilities: {}", unknown.join(", ")));
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

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
