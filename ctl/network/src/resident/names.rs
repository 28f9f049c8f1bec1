//! Names for containers: `NAME.containers` is answered here, all else by the host's resolvers.

use super::upstream::{Upstream, read_message, write_message};
use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::{Message, MessageBuilder, Rtype, Ttl};
use domain::rdata::{A, Aaaa};
use firn_network::message::DOMAIN;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Queries of a container at a time, and connections; more wait.
const AT_ONCE: usize = 64;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// Bytes of a query.
const QUERY: usize = 4 << 10;
/// Bytes of a message's header.
const HEADER: usize = 12;
/// A container may come back with another address.
const LIFETIME: Ttl = Ttl::from_secs(5);
/// Before the next try where a socket has an error.
const PAUSE: Duration = Duration::from_millis(100);

/// The addresses of containers, by their names.
#[derive(Debug, Clone, Default)]
pub struct Names {
    addresses: Rc<RefCell<BTreeMap<String, Vec<IpAddr>>>>,
    upstream: Upstream,
}

impl Names {
    pub fn set(&self, container: &str, addresses: Vec<IpAddr>) {
        self.addresses.borrow_mut().insert(container.to_owned(), addresses);
    }

    pub fn remove(&self, container: &str) {
        self.addresses.borrow_mut().remove(container);
    }

    /// Case does not count (RFC 4343), but where two names differ in it alone.
    fn of(&self, container: &str) -> Option<Vec<IpAddr>> {
        let all = self.addresses.borrow();
        let same = || all.iter().find(|(name, _)| name.eq_ignore_ascii_case(container)).map(|(_, addresses)| addresses);
        all.get(container).or_else(same).cloned()
    }

    /// `None`: it is no query. `forwards`: other names than containers' are asked for.
    async fn answer(&self, query: &[u8], stream: bool, forwards: bool) -> Option<Vec<u8>> {
        let message = Message::from_octets(query).ok()?;
        if message.header().qr() {
            return None;
        }
        if message.header().opcode() != Opcode::QUERY {
            return Some(bare(query, Rcode::NOTIMP));
        }
        // With many questions a copy of them would take long.
        let Ok(question) = message.sole_question() else { return Some(bare(query, Rcode::FORMERR)) };
        let name = question.qname().to_string();
        let name = name.trim_end_matches('.');
        let (container, domain) = name.rsplit_once('.').unwrap_or(("", name));
        if domain.eq_ignore_ascii_case(DOMAIN) {
            return self.own_answer(&message, container);
        }
        if !forwards {
            return refusal(&message, Rcode::NXDOMAIN);
        }
        match self.upstream.ask(query, stream).await {
            Some(answer) => Some(answer),
            None => refusal(&message, Rcode::SERVFAIL),
        }
    }

    fn own_answer(&self, message: &Message<&[u8]>, container: &str) -> Option<Vec<u8>> {
        let question = message.sole_question().ok()?;
        let Some(addresses) = self.of(container) else { return refusal(message, Rcode::NXDOMAIN) };
        let mut answer = MessageBuilder::new_vec().start_answer(message, Rcode::NOERROR).ok()?;
        answer.header_mut().set_ra(true);
        for address in &addresses {
            let name = question.qname();
            match (address, question.qtype()) {
                (IpAddr::V4(v4), Rtype::A | Rtype::ANY) => {
                    answer.push((name, Class::IN, LIFETIME, A::new(*v4))).ok()?;
                }
                (IpAddr::V6(v6), Rtype::AAAA | Rtype::ANY) => {
                    answer.push((name, Class::IN, LIFETIME, Aaaa::new(*v6))).ok()?;
                }
                _ => {}
            }
        }
        Some(answer.finish())
    }
}

fn refusal(message: &Message<&[u8]>, code: Rcode) -> Option<Vec<u8>> {
    let mut answer = MessageBuilder::new_vec().start_answer(message, code).ok()?;
    answer.header_mut().set_ra(true);
    Some(answer.finish())
}

/// The header alone, with this code (RFC 1035, 4.1.1).
fn bare(query: &[u8], code: Rcode) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    header[..2].copy_from_slice(&query[..2]);
    // QR, the opcode as it was asked, RD; RA and the code.
    header[2] = 0x80 | query[2] & 0x79;
    header[3] = 0x80 | code.to_int();
    header
}

/// Answers datagrams.
pub async fn datagrams(socket: Rc<UdpSocket>, names: Names, forwards: bool) {
    let mut tasks = JoinSet::new();
    let mut query = vec![0; QUERY];
    loop {
        let received = socket.recv_from(&mut query).await;
        let Ok((length, peer)) = received else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        room(&mut tasks).await;
        let (socket, names, query) = (socket.clone(), names.clone(), query[..length].to_vec());
        tasks.spawn_local(async move {
            if let Some(answer) = names.answer(&query, false, forwards).await {
                let _ = socket.send_to(&answer, peer).await;
            }
        });
    }
}

/// Answers streams.
pub async fn streams(listener: Rc<TcpListener>, names: Names, forwards: bool) {
    let mut tasks = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        room(&mut tasks).await;
        let names = names.clone();
        tasks.spawn_local(async move {
            let _ = conversation(stream, &names, forwards).await;
        });
    }
}

async fn conversation(mut stream: TcpStream, names: &Names, forwards: bool) -> std::io::Result<()> {
    while let Ok(query) = timeout(SILENCE, read_message(&mut stream, QUERY)).await {
        let Some(answer) = names.answer(&query?, true, forwards).await else { break };
        timeout(SILENCE, write_message(&mut stream, &answer)).await??;
    }
    Ok(())
}

/// Waits until one more may be done.
async fn room(tasks: &mut JoinSet<()>) {
    while tasks.try_join_next().is_some() {}
    while tasks.len() >= AT_ONCE {
        tasks.join_next().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::Name;
    use std::str::FromStr;

    fn query(name: &str, kind: Rtype) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().question();
        builder.push((Name::<Vec<u8>>::from_str(name).unwrap(), kind)).unwrap();
        builder.finish()
    }

    #[test]
    fn names_of_containers_are_answered() {
        let names = Names::default();
        names.set("Web", vec!["10.1.1.2".parse().unwrap(), "fc00::2".parse().unwrap()]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = |name: &str, kind| {
            let answer = runtime.block_on(names.answer(&query(name, kind), false, false)).unwrap();
            let message = Message::from_octets(answer).unwrap();
            (message.header().rcode(), message.header_counts().ancount())
        };
        for (name, kind, code, count) in [
            ("web.containers.", Rtype::A, Rcode::NOERROR, 1),
            ("WEB.Containers.", Rtype::AAAA, Rcode::NOERROR, 1),
            ("web.containers.", Rtype::ANY, Rcode::NOERROR, 2),
            ("web.containers.", Rtype::MX, Rcode::NOERROR, 0),
            ("a.containers.", Rtype::A, Rcode::NXDOMAIN, 0),
            ("containers.", Rtype::A, Rcode::NXDOMAIN, 0),
        ] {
            assert_eq!(ask(name, kind), (code, count), "{name}");
        }
        names.remove("Web");
        assert_eq!(ask("web.containers.", Rtype::A).0, Rcode::NXDOMAIN);
        assert_eq!(ask("www.example.", Rtype::A).0, Rcode::NXDOMAIN, "it forwards none");
        for garbage in [&b""[..], b"12", &[0x80; 12], &[0xff; 40]] {
            assert_eq!(runtime.block_on(names.answer(garbage, false, true)), None, "{garbage:?}");
        }
        // Two questions, and none; a notification.
        let two = [1, 2, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0];
        for (query, code) in
            [(two, 1), ([1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1), ([1, 2, 0x21, 0, 0, 1, 0, 0, 0, 0, 0, 0], 4)]
        {
            let answer = runtime.block_on(names.answer(&query, false, true)).unwrap();
            assert_eq!((&answer[..2], answer[2] & 0x80, answer[3] & 0xf, answer.len()), (&[1, 2][..], 0x80, code, 12));
        }
    }
}
