//! `firn-network reside`: the one process that stays while containers run which need it. It answers names
//! and passes on what comes to the host's loopback addresses, over sockets that others have made and given to
//! it: an unprivileged process, which ends with the last container.

pub mod ask;
mod names;
mod port;
mod protocol;
mod upstream;

use crate::lockdown;
use anyhow::{Context, Result, bail};
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
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UdpSocket, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

/// By which people, and firnctl, know the process.
const NAME: &std::ffi::CStr = c"firn-network";
/// Nobody's, by number (systemd's UIDS-GIDS.md).
const NOBODY: u32 = 65_534;
/// How long it waits for a container that is about to come: images may have to be pulled in between.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long it stays when nothing is served: the last container may restart.
const LINGER: Duration = Duration::from_secs(30);
/// Before the next try where a socket has an error.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves on the socket that is stdin.
pub fn reside() -> Result<()> {
    close_inherited()?;
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

/// All but the standard streams: locks and pipes of those who have started us last as long as they are open
/// anywhere. Nothing of our own is open yet.
pub fn close_inherited() -> Result<()> {
    let entries = std::fs::read_dir("/proc/self/fd").context("read /proc/self/fd")?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for number in numbers.filter(|number| *number > 2).collect::<Vec<_>>() {
        // The directory itself is closed by now.
        let _ = nix::unistd::close(number);
    }
    Ok(())
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
struct Task {
    socket: Socket,
    waiting: Waiting,
    task: JoinHandle<()>,
}

#[derive(Clone)]
enum Waiting {
    Datagrams(Rc<UdpSocket>),
    Streams(Rc<TcpListener>),
}

/// What is served.
struct State {
    /// Who may ask, beside root.
    caller: Uid,
    names: Names,
    served: RefCell<BTreeMap<String, Vec<Task>>>,
    /// Containers that are about to come, and since when.
    expected: RefCell<BTreeMap<String, Instant>>,
    /// It has been asked to end.
    leaves: Cell<bool>,
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
            expected: RefCell::default(),
            leaves: Cell::new(false),
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
            let patience = self.patience();
            let waited = async {
                match patience {
                    Some(patience) => timeout(patience, ended).await.is_err(),
                    None => {
                        ended.await;
                        false
                    }
                }
            };
            match select(pin!(listener.accept()), pin!(waited)).await {
                Either::Left((Ok((connection, _)), _)) => self.clone().begin(connection),
                // EMFILE, or one that has gone again.
                Either::Left((Err(_), _)) => sleep(PAUSE).await,
                Either::Right((is_over, _)) => {
                    let patience = self.patience();
                    let is_idle = self.connections.get() == 0 && patience.is_some();
                    let leaves = self.leaves.get() && patience == Some(LINGER);
                    if is_idle && (is_over || leaves) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// How long it stays as things are; `None`: as long as it serves.
    fn patience(&self) -> Option<Duration> {
        let mut expected = self.expected.borrow_mut();
        expected.retain(|_, since| since.elapsed() < PATIENCE);
        match (self.served.borrow().is_empty(), expected.is_empty()) {
            (false, _) => None,
            (true, false) => Some(PATIENCE),
            (true, true) => Some(LINGER),
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
        let mut offered = Vec::new();
        while let Some((request, descriptors)) = protocol::receive(&connection).await? {
            let asked = match &request {
                Request::Served { container } => Some(container.clone()),
                _ => None,
            };
            let result = self.act(request, descriptors, &mut offered).await;
            let (served, expected) = (self.served.borrow(), self.expected.borrow());
            let sockets = asked.and_then(|name| served.get(&name)).into_iter().flatten();
            let reply = Reply {
                containers: served.keys().chain(expected.keys()).cloned().collect(),
                sockets: sockets.map(|task| task.socket.clone()).collect(),
                error: result.err().map(|error| format!("{error:#}")),
            };
            protocol::reply(&connection, &reply)?;
        }
        Ok(())
    }

    async fn act(
        &self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        offered: &mut Vec<(Socket, OwnedFd)>,
    ) -> Result<()> {
        self.leaves.set(matches!(request, Request::Leave { .. }));
        match request {
            Request::Served { .. } => {}
            Request::Leave { container } => drop(self.expected.borrow_mut().remove(&container)),
            Request::Expect { container } => drop(self.expected.borrow_mut().insert(container, Instant::now())),
            Request::Offer { sockets } => {
                if sockets.len() != descriptors.len() {
                    bail!("{} descriptors came for {} sockets", descriptors.len(), sockets.len());
                }
                offered.extend(sockets.into_iter().zip(descriptors));
            }
            Request::Serve { container, addresses, sockets } => {
                let present = self.served.borrow_mut().remove(&container).unwrap_or_default();
                let (tasks, gone) = self.tasks(&sockets, std::mem::take(offered), present);
                self.names.set(&container, addresses);
                self.expected.borrow_mut().remove(&container);
                let are_all = tasks.len() == sockets.len();
                self.served.borrow_mut().insert(container, tasks);
                end(gone).await;
                if !are_all {
                    bail!("a socket is missing");
                }
            }
            Request::Forget { container } => {
                self.names.remove(&container);
                self.expected.borrow_mut().remove(&container);
                let gone = self.served.borrow_mut().remove(&container).unwrap_or_default();
                end(gone).await;
            }
        }
        Ok(())
    }

    /// The tasks for these sockets, and those that are over.
    fn tasks(
        &self,
        sockets: &[Socket],
        offered: Vec<(Socket, OwnedFd)>,
        mut present: Vec<Task>,
    ) -> (Vec<Task>, Vec<Task>) {
        let (mut tasks, mut gone, mut offered) = (Vec::new(), Vec::new(), offered);
        for socket in sockets {
            let place = |other: &Socket| other.is_same_place(socket);
            let old = present.iter().position(|task| place(&task.socket)).map(|at| present.swap_remove(at));
            let new = offered.iter().position(|(other, _)| place(other)).map(|at| offered.swap_remove(at).1);
            match (new.and_then(|new| Waiting::of(socket, new).ok()), old) {
                (None, Some(old)) if old.socket == *socket => tasks.push(old),
                // It leads elsewhere now.
                (None, Some(old)) => {
                    tasks.push(self.task(socket.clone(), old.waiting.clone()));
                    gone.push(old);
                }
                (Some(new), old) => {
                    tasks.push(self.task(socket.clone(), new));
                    gone.extend(old);
                }
                (None, None) => {}
            }
        }
        gone.extend(present);
        (tasks, gone)
    }

    fn task(&self, socket: Socket, waiting: Waiting) -> Task {
        let names = self.names.clone();
        let task = match (&socket, waiting.clone()) {
            (Socket::Queries { forwards, .. }, Waiting::Datagrams(socket)) => {
                spawn_local(names::datagrams(socket, names, *forwards))
            }
            (Socket::Queries { forwards, .. }, Waiting::Streams(listener)) => {
                spawn_local(names::streams(listener, names, *forwards))
            }
            (Socket::Port(proxy), Waiting::Datagrams(socket)) => spawn_local(port::datagrams(socket, proxy.target)),
            (Socket::Port(proxy), Waiting::Streams(listener)) => spawn_local(port::streams(listener, proxy.target)),
        };
        Task { socket, waiting, task }
    }
}

/// Their sockets are closed when they have ended.
async fn end(tasks: Vec<Task>) {
    for Task { waiting, task, .. } in tasks {
        drop(waiting);
        task.abort();
        let _ = task.await;
    }
}

impl Waiting {
    fn of(socket: &Socket, descriptor: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true).context("a socket")?;
        let is_stream = match socket {
            Socket::Queries { stream, .. } => *stream,
            Socket::Port(proxy) => proxy.protocol == "tcp",
        };
        Ok(match is_stream {
            true => Waiting::Streams(Rc::new(TcpListener::from_std(descriptor.into()).context("a socket")?)),
            false => Waiting::Datagrams(Rc::new(UdpSocket::from_std(descriptor.into()).context("a socket")?)),
        })
    }
}
