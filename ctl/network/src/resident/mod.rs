//! `firn-network reside`: the one process that stays while containers run which need it. It answers names
//! and passes on what comes to the host's loopback addresses, over sockets that others have made and given to
//! it: an unprivileged process, which ends with the last container.

pub mod ask;
mod names;
mod port;
mod protocol;
mod upstream;

use crate::lockdown;
use anyhow::{Context, Result};
use futures_util::future::{Either, select};
use names::Names;
use protocol::{Reply, Request, Socket};
use rustix::process::{Resource, getrlimit, getuid, setrlimit, setsid};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

/// By which people, and firnctl, know the process.
const NAME: &std::ffi::CStr = c"firn-network";
/// Nobody's, by number (systemd's UIDS-GIDS.md).
const NOBODY: u32 = 65_534;
/// How long it waits for a first container: it is started before that is made.
const PATIENCE: Duration = Duration::from_secs(120);
/// Before the next try where a socket has an error.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves on the socket that is stdin.
pub fn reside() -> Result<()> {
    rustix::thread::set_name(NAME).context("PR_SET_NAME")?;
    let listener = io::stdin().as_fd().try_clone_to_owned().context("take the socket from stdin")?;
    // Not of a group that a terminal may signal; of a unit's main process it is so already.
    let _ = setsid();
    std::env::set_current_dir("/").context("change to /")?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit })
        .context("raise a limit")?;
    rustix::io::ioctl_fionbio(&listener, true).context("the socket on stdin")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start an event loop")?;
    let caller = getuid();
    drop_privileges(caller)?;
    lockdown::reside()?;
    LocalSet::new().block_on(&runtime, Rc::new(State::new(caller)).serve(listener))
}

fn drop_privileges(caller: Uid) -> Result<()> {
    if caller.is_root() {
        let (group, user) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
        set_thread_groups(&[]).context("drop groups")?;
        set_thread_res_gid(group, group, group).context("change the group")?;
        set_thread_res_uid(user, user, user).context("change the user")?;
    }
    Ok(())
}

/// A socket, and what serves it.
type Task = (Socket, JoinHandle<()>);

/// What is served.
struct State {
    /// Who may ask, beside root.
    caller: Uid,
    names: Names,
    served: RefCell<BTreeMap<String, Vec<Task>>>,
    /// The last container has been removed.
    was_last: Cell<bool>,
    connections: Cell<usize>,
    /// A connection has ended.
    ended: Notify,
}

impl State {
    fn new(caller: Uid) -> Self {
        State {
            caller,
            names: Names::default(),
            served: RefCell::default(),
            was_last: Cell::new(false),
            connections: Cell::new(0),
            ended: Notify::new(),
        }
    }

    /// Until there is nothing to serve, and nobody who asks.
    async fn serve(self: Rc<Self>, listener: OwnedFd) -> Result<()> {
        // Sockets of packets, which are waited for like those of streams.
        let listener = UnixListener::from_std(listener.into()).context("listen")?;
        loop {
            let ended = self.ended.notified();
            // No timer while it serves.
            let is_idle = self.served.borrow().is_empty();
            let waited = async {
                if is_idle {
                    return timeout(PATIENCE, ended).await.is_err();
                }
                ended.await;
                false
            };
            match select(pin!(listener.accept()), pin!(waited)).await {
                Either::Left((Ok((connection, _)), _)) => self.clone().begin(connection),
                // EMFILE, or one that has gone again.
                Either::Left((Err(_), _)) => sleep(PAUSE).await,
                Either::Right((is_over, _)) => {
                    let is_idle = self.connections.get() == 0 && self.served.borrow().is_empty();
                    if is_idle && (is_over || self.was_last.get()) {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn begin(self: Rc<Self>, connection: UnixStream) {
        self.connections.set(self.connections.get() + 1);
        spawn_local(async move {
            // Nobody is left to tell where it breaks off.
            let _ = self.talk(connection).await;
            self.connections.set(self.connections.get() - 1);
            self.ended.notify_one();
        });
    }

    async fn talk(&self, connection: UnixStream) -> Result<()> {
        let peer = rustix::net::sockopt::socket_peercred(&connection).context("SO_PEERCRED")?.uid;
        if !peer.is_root() && peer != self.caller {
            return Ok(());
        }
        while let Some((request, sockets)) = protocol::receive(&connection).await? {
            let result = self.act(request, sockets).await;
            let containers = self.served.borrow().keys().cloned().collect();
            protocol::reply(&connection, &Reply { containers, error: result.err().map(|error| format!("{error:#}")) })?;
        }
        Ok(())
    }

    async fn act(&self, request: Request, descriptors: Vec<OwnedFd>) -> Result<()> {
        match request {
            Request::List => {}
            Request::Add { container, addresses, sockets } => {
                self.was_last.set(false);
                self.names.set(&container, addresses);
                let mut tasks = Vec::new();
                for (socket, descriptor) in sockets.into_iter().zip(descriptors) {
                    let task = self.task(&socket, descriptor)?;
                    tasks.push((socket, task));
                }
                self.served.borrow_mut().entry(container).or_default().extend(tasks);
            }
            Request::Remove { container, sockets } => {
                let is_gone = |socket: &Socket| sockets.as_ref().is_none_or(|gone| gone.contains(socket));
                let all = self.served.borrow_mut().remove(&container).unwrap_or_default();
                let (gone, stays): (Vec<_>, Vec<_>) = all.into_iter().partition(|(socket, _)| is_gone(socket));
                if sockets.is_none() {
                    self.names.remove(&container);
                    self.was_last.set(self.served.borrow().is_empty());
                } else {
                    self.served.borrow_mut().insert(container, stays);
                }
                for (_, task) in gone {
                    task.abort();
                    // The socket is closed when it has ended.
                    let _ = task.await;
                }
            }
        }
        Ok(())
    }

    fn task(&self, socket: &Socket, descriptor: OwnedFd) -> Result<JoinHandle<()>> {
        rustix::io::ioctl_fionbio(&descriptor, true).context("a socket")?;
        Ok(match socket {
            Socket::Queries { stream: false } => spawn_local(names::datagrams(udp(descriptor)?, self.names.clone())),
            Socket::Queries { stream: true } => spawn_local(names::streams(tcp(descriptor)?, self.names.clone())),
            Socket::Port(proxy) if proxy.protocol == "udp" => {
                spawn_local(port::datagrams(udp(descriptor)?, proxy.target))
            }
            Socket::Port(proxy) => spawn_local(port::streams(tcp(descriptor)?, proxy.target)),
        })
    }
}

fn udp(descriptor: OwnedFd) -> Result<tokio::net::UdpSocket> {
    tokio::net::UdpSocket::from_std(descriptor.into()).context("a socket")
}

fn tcp(descriptor: OwnedFd) -> Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(descriptor.into()).context("a socket")
}
