//! Names and MAC addresses of a container's interfaces: those that systemd-nspawn gives, so that firewall
//! rules and leases that were made for its containers stay right (systemd, src/nspawn/nspawn-network.c).

use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::path::Path;

/// Letters that a name of an interface may have, with the NUL byte after it (IFNAMSIZ, netdevice(7)).
const NAME_SIZE: usize = 16;

const SHORT_NAME: u128 = 0xe190_a404_a8ef_4b51_8ccc_c33a_9f11_fca2;

/// What a MAC address is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The host's end of the main link.
    Host,
    /// The container's.
    Container,
    /// The host's end of a further link.
    ExtraHost,
    /// The container's.
    ExtraContainer,
    Macvlan,
}

impl End {
    fn key(self) -> u128 {
        match self {
            End::Host => 0x1a37_6fc7_46ec_450b_ada3_d531_0660_5db1,
            End::Container => 0xc3c4_f919_b557_b21c_e6cf_1427_039c_eea2,
            End::ExtraHost => 0x48c7_f6b7_ea9d_4c9e_b728_d4de_91d5_bf66,
            End::ExtraContainer => 0xaf50_1761_cef9_4d35_840d_2b20_54be_ce59,
            End::Macvlan => 0x0013_6dbc_6683_4481_bb0c_f951_1f24_a66f,
        }
    }
}

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Six bytes in hexadecimal with colons.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: Vec<u8> = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>().ok()?;
        bytes.try_into().ok().map(Mac)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A name of an interface: itself where it fits, else its beginning and a hash of the whole.
pub fn interface(full: &str) -> String {
    if full.len() < NAME_SIZE {
        return full.to_owned();
    }
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let hash = hash(SHORT_NAME, full.as_bytes());
    let letters = [18, 12, 6, 0].map(|shift| char::from(LETTERS[(hash >> shift & 63) as usize]));
    full.chars().take(NAME_SIZE - 5).chain(letters).collect()
}

/// The MAC address of the link `index` of a kind: the same whenever a container of this name runs on this
/// machine (machine-id(5)).
pub fn mac(machine: [u8; 16], container: &str, end: End, index: u64) -> Mac {
    let mut bytes = [&machine[..], container.as_bytes()].concat();
    if index > 0 {
        bytes.extend(index.to_le_bytes());
    }
    let [first, b, c, d, e, f, ..] = hash(end.key(), &bytes).to_le_bytes();
    // One station's, and of this host's making (IEEE 802, 8.2).
    Mac([first & 0xfe | 0x02, b, c, d, e, f])
}

/// The nftables table of containers that are kept in a directory of their own.
pub fn table(directory: &Path) -> String {
    const TABLE: u128 = 0x6669_726e_2074_6162_6c65_7320_6e61_6d65;
    format!("firn-{:016x}", hash(TABLE, directory.as_os_str().as_encoded_bytes()))
}

fn hash(key: u128, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(&key.to_be_bytes());
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two long names are those of NixOS's test containers-names.
    #[test]
    fn long_names_are_shortened_as_nspawn_does() {
        assert_eq!(interface("ve-first"), "ve-first");
        assert_eq!(interface("ve-second"), "ve-second");
        assert_eq!(interface("ve-really-long-name"), "ve-really-l3QgY");
        assert_eq!(interface("ve-really-long-long-name-2"), "ve-really-lFYWO");
        assert_eq!(interface("ve-twelve-chars").len(), 15);
        assert_eq!(interface("ve-sixteen-chars").len(), 15);
    }

    #[test]
    fn addresses_are_stable_and_differ() {
        let machine = [7; 16];
        let ends = [End::Host, End::Container, End::ExtraHost, End::ExtraContainer, End::Macvlan];
        let all: Vec<Mac> = ends.iter().flat_map(|end| [0, 1].map(|index| mac(machine, "web", *end, index))).collect();
        for (index, one) in all.iter().enumerate() {
            assert_eq!(one.0[0] & 3, 2, "{one}");
            assert!(!all[..index].contains(one));
            assert_eq!(Mac::parse(&one.to_string()), Some(*one));
        }
        assert_ne!(mac([8; 16], "web", End::Host, 0), all[0]);
        assert_eq!(Mac::parse("02:00:00:00:00"), None);
    }
}
