//! Names for containers: `NAME.containers` is answered here, all else by the host's resolvers.

use super::upstream::{Upstream, read_message, write_message};
use domain::base::iana::{Class, Rcode};
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
/// Bytes of a query by datagram.
const QUERY: usize = 4 << 10;
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
        self.addresses.borrow_mut().insert(container.to_ascii_lowercase(), addresses);
    }

    pub fn remove(&self, container: &str) {
        self.addresses.borrow_mut().remove(&container.to_ascii_lowercase());
    }

    /// `None`: it is no query.
    async fn answer(&self, query: &[u8], stream: bool) -> Option<Vec<u8>> {
        let message = Message::from_octets(query).ok()?;
        if message.header().qr() {
            return None;
        }
        let Ok(question) = message.sole_question() else { return refusal(&message, Rcode::FORMERR) };
        let name = question.qname().to_string().to_ascii_lowercase();
        let is_own = |container: &str| container.is_empty() || container.ends_with('.');
        match name.trim_end_matches('.').strip_suffix(DOMAIN).filter(|rest| is_own(rest)) {
            Some(container) => self.own_answer(&message, container.trim_end_matches('.')),
            None => match self.upstream.ask(query, stream).await {
                Some(answer) => Some(answer),
                None => refusal(&message, Rcode::SERVFAIL),
            },
        }
    }

    fn own_answer(&self, message: &Message<&[u8]>, container: &str) -> Option<Vec<u8>> {
        let question = message.sole_question().ok()?;
        let names = self.addresses.borrow();
        let Some(addresses) = names.get(container) else { return refusal(message, Rcode::NXDOMAIN) };
        let mut answer = MessageBuilder::new_vec().start_answer(message, Rcode::NOERROR).ok()?;
        answer.header_mut().set_ra(true);
        for address in addresses {
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

/// Answers datagrams.
pub async fn datagrams(socket: UdpSocket, names: Names) {
    let socket = Rc::new(socket);
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
            if let Some(answer) = names.answer(&query, false).await {
                let _ = socket.send_to(&answer, peer).await;
            }
        });
    }
}

/// Answers streams.
pub async fn streams(listener: TcpListener, names: Names) {
    let mut tasks = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        room(&mut tasks).await;
        let names = names.clone();
        tasks.spawn_local(async move {
            let _ = conversation(stream, &names).await;
        });
    }
}

async fn conversation(mut stream: TcpStream, names: &Names) -> std::io::Result<()> {
    while let Ok(query) = timeout(SILENCE, read_message(&mut stream)).await {
        let Some(answer) = names.answer(&query?, true).await else { break };
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
            let answer = runtime.block_on(names.answer(&query(name, kind), false)).unwrap();
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
        names.remove("web");
        assert_eq!(ask("web.containers.", Rtype::A).0, Rcode::NXDOMAIN);
        for garbage in [&b""[..], b"12", &[0x80; 12], &[0xff; 40]] {
            assert_eq!(runtime.block_on(names.answer(garbage, false)), None, "{garbage:?}");
        }
    }
}
