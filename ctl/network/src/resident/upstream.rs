//! The host's resolvers, as its /etc/resolv.conf has them at the time (resolv.conf(5)), also those that
//! listen on the host's loopback addresses.

use domain::base::Message;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const FILE: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// For an answer, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// All of them are asked so often.
const TRIES: usize = 2;
/// Bytes of a datagram: more than clients say they take.
const DATAGRAM: usize = 8 << 10;
/// Bytes of the id, which a message begins with (RFC 1035, 4.1.1).
const ID: usize = 2;

/// The resolvers, and the file from which they were read.
#[derive(Debug, Clone, Default)]
pub struct Upstream(Rc<RefCell<Read>>);

#[derive(Debug, Default)]
struct Read {
    /// Of the file: device, inode, size, and when it was changed.
    state: Option<(u64, u64, u64, i64, i64)>,
    servers: Vec<SocketAddr>,
}

impl Upstream {
    fn servers(&self) -> Vec<SocketAddr> {
        let metadata = std::fs::metadata(FILE).ok();
        let state = metadata.map(|file| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        let mut read = self.0.borrow_mut();
        if read.state != state || read.servers.is_empty() {
            *read = Read { state, servers: servers(&std::fs::read(FILE).unwrap_or_default()) };
        }
        read.servers.clone()
    }

    /// The answer of the first one that has any.
    pub async fn ask(&self, query: &[u8], stream: bool) -> Option<Vec<u8>> {
        for _ in 0..TRIES {
            for server in self.servers() {
                let answer = match stream {
                    true => timeout(PATIENCE, by_stream(query, server)).await,
                    false => timeout(PATIENCE, by_datagram(query, server)).await,
                };
                if let Ok(Ok(answer)) = answer {
                    return Some(answer);
                }
            }
        }
        None
    }
}

fn servers(text: &[u8]) -> Vec<SocketAddr> {
    let config = resolv_conf::Config::parse(text).unwrap_or_default();
    let addresses = config.nameservers.iter().map(|server| SocketAddr::new(server.into(), PORT));
    let servers: Vec<SocketAddr> = addresses.collect();
    // Where none is named it is the machine itself.
    if servers.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)] } else { servers }
}

/// From a port of its own and with an id of its own, which nobody else can guess (RFC 5452).
async fn by_datagram(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let (own, id) = with_new_id(query)?;
    socket.send(&own).await?;
    let mut answer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut answer).await?;
        if let Some(answer) = with_old_id(&answer[..length], id, query) {
            return Ok(answer);
        }
    }
}

async fn by_stream(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let (own, id) = with_new_id(query)?;
    write_message(&mut stream, &own).await?;
    let answer = read_message(&mut stream, usize::from(u16::MAX)).await?;
    with_old_id(&answer, id, query).ok_or_else(|| io::Error::other("an answer to another query"))
}

fn with_new_id(query: &[u8]) -> io::Result<(Vec<u8>, [u8; ID])> {
    let mut id = [0; ID];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let rest = query.get(ID..).ok_or_else(|| io::Error::other("a query without an id"))?;
    Ok(([&id, rest].concat(), id))
}

/// Only an answer to this query.
fn with_old_id(answer: &[u8], id: [u8; ID], query: &[u8]) -> Option<Vec<u8>> {
    let rest = answer.strip_prefix(&id)?;
    let (theirs, ours) = (Message::from_octets(answer).ok()?, Message::from_octets(query).ok()?);
    let is_same = theirs.header().qr() && theirs.sole_question().ok()? == ours.sole_question().ok()?;
    is_same.then(|| [&query[..ID], rest].concat())
}

/// A message on a stream has its length before it (RFC 1035, 4.2.2). Errors: it has more bytes than `most`.
pub async fn read_message(stream: &mut TcpStream, most: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > most {
        return Err(io::Error::other("a message is too long"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

pub async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_those_of_the_file() {
        let text = b"search a.example\nnameserver 127.0.0.53\nnameserver fc00::1\noptions edns0\n";
        assert_eq!(servers(text), ["127.0.0.53:53".parse().unwrap(), "[fc00::1]:53".parse().unwrap()]);
        assert_eq!(servers(b""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn an_answer_has_the_id_of_its_query_and_its_question() {
        let query = b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let (mut own, id) = with_new_id(query).unwrap();
        assert_eq!(own[ID..], query[ID..]);
        assert_eq!(with_old_id(&own, id, query), None, "it is no answer");
        own[2] |= 0x80;
        let answer = with_old_id(&own, id, query).unwrap();
        assert_eq!((&answer[..ID], &answer[3..]), (&query[..ID], &query[3..]));
        assert_eq!(with_old_id(&own, [id[0], !id[1]], query), None);
        own[13] = b'b';
        assert_eq!(with_old_id(&own, id, query), None);
    }
}
