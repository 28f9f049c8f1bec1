//! The identity of a container: host name and UUID.

use std::fmt;

/// Bytes of a DNS label; the kernel's limit for a host name is 64 (HOST_NAME_MAX).
const MAX_HOSTNAME: usize = 63;

/// Host name and UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) hostname: Hostname,
    /// In lower case, with dashes.
    pub(crate) uuid: String,
}

impl Identity {
    /// The identity of the bundle `name` on the host with this machine-id(5).
    ///
    /// The same for the same name and host, as systemd derives the container's machine id from
    /// the UUID, by which DHCP servers know it. Another one on another host, as two containers
    /// would else get the same lease.
    pub(crate) fn new(name: &str, hostname: Option<Hostname>, machine: &str) -> Self {
        let hash = fnv(&[machine.trim().as_bytes(), b"\0firn\0", name.as_bytes()].concat());
        Self { hostname: hostname.unwrap_or_else(|| Hostname::from_name(name)), uuid: uuid(hash) }
    }
}

/// A valid host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hostname(String);

impl Hostname {
    /// Parses a host name: labels of letters, digits and dashes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let valid = text.split('.').all(is_label) && text.len() <= MAX_HOSTNAME;
        if valid {
            Ok(Self(text.into()))
        } else {
            Err("a host name has at most 63 letters, digits, dashes and single dots".into())
        }
    }

    /// A host name that resembles the name of a bundle.
    fn from_name(name: &str) -> Self {
        let labels = name.split('.').map(label).filter(|label| !label.is_empty());
        let mut hostname = labels.collect::<Vec<_>>().join(".");
        hostname.truncate(MAX_HOSTNAME);
        let hostname = hostname.trim_matches(['-', '.']);
        Self(if hostname.is_empty() { "firn".into() } else { hostname.into() })
    }
}

fn label(text: &str) -> String {
    let letters = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    letters.collect::<String>().trim_matches('-').into()
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// FNV-1a with 128 bits. It is the same in every release, and nothing relies on it being hard to
/// invert.
fn fnv(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

/// A UUID of version 8, whose other bits are free (RFC 9562).
fn uuid(hash: u128) -> String {
    let version = hash & !(0xf << 76) | 8 << 76;
    let variant = version & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{variant:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_stable_and_apart() {
        let uuid = |name: &str, machine: &str| Identity::new(name, None, machine).uuid;
        assert_eq!(uuid("web", "m"), uuid("web", "m\n"));
        assert_ne!(uuid("web", "m"), uuid("web", "n"));
        assert_ne!(uuid("web", "m"), uuid("db", "m"));
        let text = uuid("web", "m");
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "8");
        assert!("89ab".contains(&text[19..20]), "{text}");
        assert_eq!(fnv(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn any_name_gives_a_host_name() {
        for (name, wanted) in [
            ("web", "web"),
            ("my_web.1", "my-web.1"),
            ("..", "firn"),
            ("-a-", "a"),
            ("a..b", "a.b"),
            ("größe", "gr--e"),
            ("_", "firn"),
        ] {
            let hostname = Hostname::from_name(name);
            assert_eq!(hostname.to_string(), wanted, "{name}");
            assert!(Hostname::parse(wanted).is_ok(), "{wanted}");
        }
        assert_eq!(Hostname::from_name(&"x".repeat(99)).to_string().len(), 63);
        for bad in ["", "a_b", "a..b", "-a", "a-", ".a", &"x".repeat(64)] {
            assert!(Hostname::parse(bad).is_err(), "{bad}");
        }
    }
}
