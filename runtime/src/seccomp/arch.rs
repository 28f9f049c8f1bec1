//! Architectures of a profile, and lookup of system calls by name.

use super::abi::{Abi, Call};
use super::names::NAMES;
use crate::bail;
use crate::error::Result;

/// The first eight bytes of a name as an integer, which sorts as the name does: most steps of the
/// binary search compare only that.
const fn prefix(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut word = 0;
    let mut index = 0;
    while index < 8 {
        word = word << 8 | if index < bytes.len() { bytes[index] as u64 } else { 0 };
        index += 1;
    }
    word
}

static PREFIXES: [u64; NAMES.len()] = {
    let mut prefixes = [0; NAMES.len()];
    let mut index = 0;
    while index < NAMES.len() {
        prefixes[index] = prefix(NAMES[index].0);
        index += 1;
    }
    prefixes
};

/// Finds a system call of any architecture by its name.
pub fn lookup(name: &str) -> Option<&'static Call> {
    let prefix = prefix(name);
    let first = PREFIXES.partition_point(|known| *known < prefix);
    let same = PREFIXES[first..].iter().take_while(|known| **known == prefix).count();
    NAMES[first..first + same].iter().find(|(known, _)| *known == name).map(|(_, call)| call)
}

/// All architectures of the runtime-spec. Those without an ABI have no effect: no process on this
/// kernel has them.
pub const ARCHITECTURES: [(&str, Option<Abi>); 23] = [
    ("SCMP_ARCH_AARCH64", None),
    ("SCMP_ARCH_ARM", None),
    ("SCMP_ARCH_LOONGARCH64", None),
    ("SCMP_ARCH_M68K", None),
    ("SCMP_ARCH_MIPS", None),
    ("SCMP_ARCH_MIPS64", None),
    ("SCMP_ARCH_MIPS64N32", None),
    ("SCMP_ARCH_MIPSEL", None),
    ("SCMP_ARCH_MIPSEL64", None),
    ("SCMP_ARCH_MIPSEL64N32", None),
    ("SCMP_ARCH_PARISC", None),
    ("SCMP_ARCH_PARISC64", None),
    ("SCMP_ARCH_PPC", None),
    ("SCMP_ARCH_PPC64", None),
    ("SCMP_ARCH_PPC64LE", None),
    ("SCMP_ARCH_RISCV64", None),
    ("SCMP_ARCH_S390", None),
    ("SCMP_ARCH_S390X", None),
    ("SCMP_ARCH_SH", None),
    ("SCMP_ARCH_SHEB", None),
    ("SCMP_ARCH_X32", Some(Abi::X32)),
    ("SCMP_ARCH_X86", Some(Abi::I386)),
    ("SCMP_ARCH_X86_64", Some(Abi::X86_64)),
];

/// The ABIs of a filter: x86-64 always, and those that the profile lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abis {
    pub x32: bool,
    pub i386: bool,
}

impl Abis {
    /// Errors: an unknown architecture.
    pub fn parse(names: &[String]) -> Result<Self> {
        let mut abis = Abis::default();
        for name in names {
            match ARCHITECTURES.iter().find(|(known, _)| known == name) {
                None => bail!("unknown architecture {name:?}"),
                Some((_, Some(Abi::X32))) => abis.x32 = true,
                Some((_, Some(Abi::I386))) => abis.i386 = true,
                Some(_) => {}
            }
        }
        Ok(abis)
    }
}

#[cfg(test)]
mod tests {
    use super::super::abi::X32_BIT;
    use super::*;

    #[test]
    fn the_names_are_sorted() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn every_name_is_found() {
        for (name, call) in &NAMES {
            assert_eq!(lookup(name), Some(call), "{name}");
        }
        for name in ["", "r", "reads", "clock_gettime65", "zzz"] {
            assert_eq!(lookup(name), None, "{name}");
        }
    }

    #[test]
    fn numbers_of_each_abi() {
        let call = lookup("rt_sigaction").unwrap();
        assert_eq!(call.number(Abi::X86_64), Some(13));
        assert_eq!(call.number(Abi::X32), Some(X32_BIT | 512));
        assert_eq!(call.number(Abi::I386), Some(174));
        assert_eq!(lookup("s390_pci_mmio_read").unwrap().number(Abi::X86_64), None);
    }

    #[test]
    fn libc_agrees_on_the_numbers() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("futex_waitv", libc::SYS_futex_waitv),
            ("personality", libc::SYS_personality),
        ] {
            assert_eq!(lookup(name).unwrap().number(Abi::X86_64), u32::try_from(number).ok(), "{name}");
        }
    }

    #[test]
    fn multiplexed_calls() {
        let multiplexed = |name| lookup(name).unwrap().multiplexed();
        assert_eq!(multiplexed("socket"), Some((102, 1)));
        assert_eq!(multiplexed("sendmmsg"), Some((102, 20)));
        assert_eq!(multiplexed("shmctl"), Some((117, 24)));
        assert_eq!(multiplexed("read"), None);
    }

    #[test]
    fn architectures() {
        let abis = |names: &[&str]| Abis::parse(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(abis(&[]).unwrap(), Abis { x32: false, i386: false });
        assert_eq!(abis(&["SCMP_ARCH_X86", "SCMP_ARCH_ARM"]).unwrap(), Abis { x32: false, i386: true });
        assert_eq!(abis(&["SCMP_ARCH_X32"]).unwrap(), Abis { x32: true, i386: false });
        assert!(abis(&["SCMP_ARCH_VAX"]).is_err());
    }
}
