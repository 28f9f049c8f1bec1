//! The ids of a container with a user namespace.

use crate::caller::IdMaps;

/// Ids when no number is given: those that systems use (login.defs(5), and nobody, 65534).
const SIZE: u32 = 1 << 16;

/// Ids of the host for the container's users and groups alike: its 0 is the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrivateUsers {
    base: u32,
    size: u32,
}

impl PrivateUsers {
    /// Parses `BASE[:SIZE]`, as systemd-nspawn --private-users= has it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (base, size) = text.split_once(':').unzip();
        let number = |text: &str| text.parse::<u32>().map_err(|_| "give BASE or BASE:SIZE, as in 100000:65536");
        let (base, size) = (number(base.unwrap_or(text))?, size.map_or(Ok(SIZE), number)?);
        if base == 0 || size == 0 {
            return Err("BASE and SIZE are at least 1: id 0 of the host is its root".into());
        }
        // The last one, -1, is no id (user_namespaces(7)).
        if base.checked_add(size).is_none() {
            return Err(format!("the last id would be larger than {}", u32::MAX - 1));
        }
        Ok(Self { base, size })
    }

    pub(crate) fn maps(self) -> IdMaps {
        let map = vec![(0, self.base, self.size)];
        IdMaps { uids: map.clone(), gids: map }
    }

    /// An id that the container does not have.
    pub(crate) fn find_missing(self, ids: impl IntoIterator<Item = u32>) -> Option<u32> {
        ids.into_iter().find(|id| *id >= self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed() {
        assert_eq!(PrivateUsers::parse("100000"), Ok(PrivateUsers { base: 100_000, size: 65_536 }));
        assert_eq!(PrivateUsers::parse("4294967294:1"), Ok(PrivateUsers { base: u32::MAX - 1, size: 1 }));
        for text in ["", "0", "0:5", "5:0", "a", "5:", ":5", "-1", "4294967295", "4294967294:2", "1:2:3"] {
            assert!(PrivateUsers::parse(text).is_err(), "{text}");
        }
    }
}
