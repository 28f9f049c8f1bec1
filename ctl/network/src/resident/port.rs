//! Ports of the host's loopback addresses that lead into a container.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections of a port at a time, or clients that send datagrams; more wait, or are left out.
const AT_ONCE: usize = 512;
/// To reach the container.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this a client that sends datagrams is forgotten.
const SILENCE: Duration = Duration::from_secs(60);
/// Before the next try where a socket has an error.
const PAUSE: Duration = Duration::from_millis(100);
const DATAGRAM: usize = 64 << 10;

/// Passes streams on, in both directions.
pub async fn streams(listener: Rc<TcpListener>, target: SocketAddr) {
    let mut tasks = JoinSet::new();
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while tasks.try_join_next().is_some() {}
        while tasks.len() >= AT_ONCE {
            tasks.join_next().await;
        }
        tasks.spawn_local(async move {
            // One that is not reached is closed, as by a rule's target that refuses.
            if let Ok(Ok(mut inside)) = timeout(PATIENCE, TcpStream::connect(target)).await {
                let _ = copy_bidirectional(&mut stream, &mut inside).await;
            }
        });
    }
}

/// A socket for each client, and when it has sent last.
type Clients = Rc<RefCell<HashMap<SocketAddr, (Rc<UdpSocket>, Instant)>>>;

/// Passes datagrams on, and answers back.
pub async fn datagrams(socket: Rc<UdpSocket>, target: SocketAddr) {
    let clients = Clients::default();
    let mut tasks = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut datagram).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while tasks.try_join_next().is_some() {}
        let known = clients.borrow_mut().get_mut(&client).map(|(inside, last)| {
            *last = Instant::now();
            inside.clone()
        });
        let inside = match known {
            Some(inside) => inside,
            None => {
                let Ok(inside) = connected(target).await else { continue };
                let inside = Rc::new(inside);
                forget_oldest(&clients);
                clients.borrow_mut().insert(client, (inside.clone(), Instant::now()));
                let (socket, inside_too, clients) = (socket.clone(), inside.clone(), clients.clone());
                tasks.spawn_local(async move {
                    answers(&socket, &inside_too, client, &clients).await;
                    let mut clients = clients.borrow_mut();
                    if clients.get(&client).is_some_and(|(inside, _)| Rc::ptr_eq(inside, &inside_too)) {
                        clients.remove(&client);
                    }
                });
                inside
            }
        };
        let _ = inside.send(&datagram[..length]).await;
    }
}

async fn connected(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Makes room for one more.
fn forget_oldest(clients: &Clients) {
    let mut clients = clients.borrow_mut();
    if clients.len() >= AT_ONCE {
        let oldest = clients.iter().min_by_key(|(_, (_, last))| *last).map(|(client, _)| *client);
        oldest.and_then(|client| clients.remove(&client));
    }
}

/// Until nothing has come for a while, or the client is forgotten.
async fn answers(socket: &UdpSocket, inside: &Rc<UdpSocket>, client: SocketAddr, clients: &Clients) {
    let is_known = || {
        clients.borrow().get(&client).is_some_and(|(known, last)| Rc::ptr_eq(known, inside) && last.elapsed() < SILENCE)
    };
    loop {
        match timeout(SILENCE, inside.readable()).await {
            Err(_) if is_known() => continue,
            Err(_) | Ok(Err(_)) => return,
            Ok(Ok(())) => {}
        }
        let mut datagram = vec![0; DATAGRAM];
        match inside.try_recv(&mut datagram) {
            Ok(length) if socket.send_to(&datagram[..length], client).await.is_err() => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A port that nobody has yet (ECONNREFUSED) may get its program.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        if !is_known() {
            return;
        }
    }
}
