//! rtnetlink(7) as far as links and their addresses need it. Integers are in host byte order.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// NETLINK_ROUTE is protocol 0.
const NETLINK_ROUTE: Option<rustix::net::Protocol> = None;

const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;

const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE_NEW: u16 = 0x600;

/// sizeof(struct nlmsghdr).
const HEAD: usize = 16;
/// sizeof(struct ifinfomsg).
const LINK_HEAD: usize = 16;
/// sizeof(struct ifaddrmsg).
const ADDRESS_HEAD: usize = 8;

/// Buffer for a dump, whose packets are at most this long.
const LIST: usize = 32 << 10;

/// IFLA_* of linux/if_link.h.
pub const LINK_NAME: u16 = 3;
pub const LINK_NAMESPACE: u16 = 28;
/// IFA_* of linux/if_addr.h.
pub const ADDRESS_LABEL: u16 = 3;
pub const ADDRESS_LIFETIME: u16 = 6;
pub const ADDRESS_FLAGS: u16 = 8;
/// IFA_F_PERMANENT.
pub const PERMANENT: u32 = 0x80;
/// IFF_UP.
pub const UP: u32 = 1;

/// A request that is being built.
#[derive(Debug, Clone)]
pub struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        // nlmsg_len, set by `finished`.
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(head);
        Message(bytes)
    }

    fn link(kind: u16, flags: u16, index: u32, state: u32, change: u32) -> Self {
        let head = [[0; 4], index.to_ne_bytes(), state.to_ne_bytes(), change.to_ne_bytes()].concat();
        Self::new(kind, flags, &head)
    }

    /// RTM_NEWLINK: sets the flags in `change` to their values in `state` (IFF_*).
    pub fn change_link(index: u32, state: u32, change: u32) -> Self {
        Self::link(NEWLINK, ACK, index, state, change)
    }

    /// RTM_GETLINK of all links.
    pub fn all_links() -> Self {
        Self::link(GETLINK, DUMP, 0, 0, 0)
    }

    /// RTM_GETADDR of all links.
    pub fn all_addresses() -> Self {
        Self::new(GETADDR, DUMP, &[0; ADDRESS_HEAD])
    }

    /// RTM_NEWADDR: adds `address` to link `index`.
    pub fn add_address(address: &Address, index: u32) -> Self {
        let head = [&[address.family, address.prefix, 0, address.scope], index.to_ne_bytes().as_slice()].concat();
        let message = Self::new(NEWADDR, ACK | CREATE_NEW, &head);
        address.attributes.iter().fold(message, |message, (kind, value)| message.attribute(*kind, value))
    }

    /// Appends a struct rtattr.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finished(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        let length = (bytes.len() as u32).to_ne_bytes();
        bytes[..4].copy_from_slice(&length);
        bytes
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub family: u8,
    pub prefix: u8,
    pub scope: u8,
    /// IFA_F_*.
    pub flags: u32,
    /// Index of its link.
    pub index: u32,
    pub attributes: Vec<(u16, Vec<u8>)>,
}

/// A netlink socket. It belongs to the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens a socket in the caller's network namespace.
    pub fn open() -> rustix::io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let kind = SocketType::RAW;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, NETLINK_ROUTE)?;
        Ok(Socket(socket))
    }

    /// Sends a request and waits for its acknowledgement. Errors: the kernel's errno.
    pub fn request(&self, message: &Message) -> rustix::io::Result<()> {
        self.dump(message, 1 << 10).map(drop)
    }

    /// All links.
    pub fn links(&self) -> rustix::io::Result<Vec<Link>> {
        let answers = self.dump(&Message::all_links(), LIST)?;
        Ok(answers.iter().filter(|(kind, _)| *kind == NEWLINK).filter_map(|(_, body)| link(body)).collect())
    }

    /// All addresses.
    pub fn addresses(&self) -> rustix::io::Result<Vec<Address>> {
        let answers = self.dump(&Message::all_addresses(), LIST)?;
        Ok(answers.iter().filter(|(kind, _)| *kind == NEWADDR).filter_map(|(_, body)| address(body)).collect())
    }

    /// All replies up to NLMSG_DONE or the acknowledgement.
    fn dump(&self, message: &Message, room: usize) -> rustix::io::Result<Vec<(u16, Vec<u8>)>> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.0, &message.finished(), SendFlags::empty(), &kernel)?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; room];
        loop {
            let length = match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                result => result?.1,
            };
            let mut rest = &buffer[..length];
            while rest.len() >= HEAD {
                let (size, kind) = (u32_at(rest, 0) as usize, u16_at(rest, 4));
                let body = rest.get(HEAD..size).ok_or(Errno::BADMSG)?;
                match kind {
                    DONE => return Ok(answers),
                    ERROR if body.len() < 4 => return Err(Errno::BADMSG),
                    ERROR => match i32::from_ne_bytes([body[0], body[1], body[2], body[3]]) {
                        0 => return Ok(answers),
                        errno => return Err(Errno::from_raw_os_error(-errno)),
                    },
                    kind => answers.push((kind, body.to_vec())),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

fn link(body: &[u8]) -> Option<Link> {
    let head = body.get(..LINK_HEAD)?;
    let (_, name) = attributes(&body[LINK_HEAD..]).find(|(kind, _)| *kind == LINK_NAME)?;
    let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
    Some(Link { index: u32_at(head, 4), name, up: u32_at(head, 8) & UP != 0 })
}

fn address(body: &[u8]) -> Option<Address> {
    let head = body.get(..ADDRESS_HEAD)?;
    let attributes: Vec<_> = attributes(&body[ADDRESS_HEAD..]).map(|(kind, value)| (kind, value.to_vec())).collect();
    let flags = attributes.iter().find(|(kind, value)| *kind == ADDRESS_FLAGS && value.len() == 4);
    let flags = flags.map_or(u32::from(head[2]), |(_, value)| u32_at(value, 0));
    Some(Address { family: head[0], prefix: head[1], scope: head[3], flags, index: u32_at(head, 4), attributes })
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let size = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        let value = bytes.get(4..size)?;
        bytes = bytes.get(size.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_a_cut_off_one_is_the_end() {
        let message = Message::new(NEWLINK, 0, &[]).attribute(LINK_NAME, b"eth0\0").attribute(7, b"x").finished();
        let body = &message[HEAD..];
        assert_eq!(u32_at(&message, 0) as usize, message.len());
        assert_eq!(attributes(body).collect::<Vec<_>>(), [(LINK_NAME, &b"eth0\0"[..]), (7, b"x")]);
        assert_eq!(attributes(&body[..15]).count(), 1);
        assert_eq!(attributes(&[0, 0, 0]).count(), 0);
    }

    #[test]
    fn the_loopback_device_is_the_first() {
        let links = Socket::open().unwrap().links().unwrap();
        assert!(links.iter().any(|link| link.name == "lo" && link.index == 1), "{links:?}");
    }
}
