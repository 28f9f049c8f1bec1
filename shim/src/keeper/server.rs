//! The keeper's process: it holds descriptors, answers monitors, and sleeps.

use super::exits::{self, Exits};
use super::protocol::{DIRECTORY, Reply, Request, SOCKET, connect_to_keeper, is_trusted, receive, send};
use crate::process::listener::Listener;
use crate::state::dir;
use crate::sys;
use firn::error::{Context, Error, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::fs::{FlockOperation, fcntl_lock, inotify};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Resource, Rlimit, WaitOptions, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How long one with nothing to hold waits for the next monitor, in milliseconds.
const GRACE: u16 = 3000;

/// Epoll data: the listening socket, the inotify(7) instance, the ends of processes; clients have greater
/// numbers.
const LISTENER: u64 = 0;
const WATCH: u64 = 1;
const EXITS: u64 = 2;

/// What is held for a container.
#[derive(Debug)]
struct Held {
    /// Separated by spaces: a thousand containers have a thousand of these.
    names: Box<str>,
    fds: Box<[OwnedFd]>,
    process: Option<HeldProcess>,
}

/// A process whose pidfd is held.
#[derive(Debug, Clone, Copy)]
struct HeldProcess {
    pid: u32,
    /// Its wait status, once it has ended.
    ended: Option<i32>,
}

/// The keeper of a directory of state directories.
#[derive(Debug)]
struct Keeper {
    base: PathBuf,
    epoll: Epoll,
    listener: Listener,
    /// Of the directory: a container that is removed by hand is not held for ever.
    watch: Option<OwnedFd>,
    /// How processes end, where the kernel does not keep that itself.
    exits: Option<Exits>,
    clients: BTreeMap<u64, OwnedFd>,
    /// The number of the last client.
    last: u64,
    held: BTreeMap<Box<str>, Held>,
}

/// Starts a keeper for the state directories below `base`, unless one runs. It listens when this
/// returns, in a process of its own.
pub(crate) fn start(base: &Path) -> Result<()> {
    let base = std::path::absolute(base).doing(|| format!("state directory {}", base.display()))?;
    let path = base.join(DIRECTORY);
    let directory = dir::open_private(&path)?;
    // One starts or ends at a time.
    let _lock = lock(&path).doing(|| format!("lock {}/lock", path.display()))?;
    if connect_to_keeper(&base).is_ok() {
        return Ok(());
    }
    let operation = || format!("listen on {}", path.join(SOCKET).display());
    match fs::remove_file(path.join(SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).doing(operation),
        _ => {}
    }
    let listener = dir::listen_for_packets(&directory, SOCKET).map_err(io::Error::from).doing(operation)?;
    let keeper = Keeper::new(base, listener).doing(|| "keeper")?;
    if sys::fork_daemon().doing(|| "fork")? {
        keeper.serve();
    }
    Ok(())
}

/// The lock is that of one process, and released by its end.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"))?;
    fcntl_lock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

impl Keeper {
    fn new(base: PathBuf, listener: OwnedFd) -> io::Result<Keeper> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        // Where the user has too many of these (inotify(7)), such a container is held for longer.
        let watch = watch_removals(&base).ok();
        if let Some(watch) = &watch {
            epoll.add(watch, EpollEvent::new(EpollFlags::EPOLLIN, WATCH))?;
        }
        let exits = if keeps_exits() { None } else { Exits::listen().ok() };
        if let Some(exits) = &exits {
            epoll.add(exits, EpollEvent::new(EpollFlags::EPOLLIN, EXITS))?;
        }
        let (clients, held) = (BTreeMap::new(), BTreeMap::new());
        Ok(Keeper { base, epoll, listener: Listener::new(listener), watch, exits, clients, last: EXITS, held })
    }

    /// Answers monitors until there is nothing to hold.
    fn serve(mut self) {
        // Of what ps(1) shows: it was executed as /proc/self/exe.
        let _ = nix::sys::prctl::set_name(c"firn-keeper");
        raise_limit();
        loop {
            let is_idle = self.held.is_empty() && self.clients.is_empty();
            let timeout = if is_idle { EpollTimeout::from(GRACE) } else { EpollTimeout::NONE };
            let mut ready = [EpollEvent::empty(); 16];
            let count = match self.epoll.wait(&mut ready, timeout) {
                Ok(0) if self.ends() => return,
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(_) => return,
            };
            // Those of `close`.
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            for event in &ready[..count] {
                match event.data() {
                    LISTENER => self.accept(),
                    WATCH => {
                        self.drop_removed();
                        // Nobody can find it any more.
                        if !self.base.exists() {
                            return;
                        }
                    }
                    EXITS => self.note_ends(),
                    client => self.answer_client(client),
                }
            }
        }
    }

    /// Ends unless a monitor has come meanwhile. One that comes later sees the end of its connection,
    /// and starts another keeper.
    fn ends(&mut self) -> bool {
        let path = self.base.join(DIRECTORY);
        let _lock = lock(&path);
        self.accept();
        let ends = self.clients.is_empty();
        if ends {
            let _ = fs::remove_file(path.join(SOCKET));
        }
        ends
    }

    fn accept(&mut self) {
        while let Some(socket) = self.listener.accept() {
            self.last += 1;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, self.last);
            if is_trusted(&socket) && self.epoll.add(&socket, event).is_ok() {
                self.clients.insert(self.last, socket);
            }
        }
    }

    /// Answers one request. A connection that has ended says nothing about its container: that is
    /// another monitor's to take over.
    fn answer_client(&mut self, number: u64) {
        let Some(socket) = self.clients.remove(&number) else { return };
        let answered = match receive::<Request>(socket.as_fd(), RecvFlags::DONTWAIT) {
            Ok(Some((request, fds))) => self.answer(&socket, request, fds),
            Ok(None) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => reply(&socket, &Reply { error: Some(error.to_string()), ..Reply::default() }, &[]),
        };
        if answered.is_ok() {
            self.clients.insert(number, socket);
        }
    }

    fn answer(&mut self, socket: &OwnedFd, request: Request, fds: Vec<OwnedFd>) -> io::Result<()> {
        match request {
            Request::Hold { container, names, process } => match self.hold(container, &names, process, fds) {
                Ok(()) => reply(socket, &Reply::default(), &[]),
                Err(error) => reply(socket, &Reply { error: Some(error.chain()), ..Reply::default() }, &[]),
            },
            Request::Take { container } => {
                // Who asks has seen that it has ended, and the kernel tells of that before.
                self.note_ends();
                let Some(held) = self.held.get(container.as_str()) else {
                    return reply(socket, &Reply::default(), &[]);
                };
                let fds: Vec<BorrowedFd<'_>> = held.fds.iter().map(AsFd::as_fd).collect();
                let ended = held.process.and_then(|process| process.ended);
                reply(socket, &Reply { names: held.names.to_string(), ended, error: None }, &fds)
            }
            Request::Forget { container } => {
                if let Some(held) = self.held.remove(container.as_str()) {
                    close(held);
                    self.choose_processes();
                }
                reply(socket, &Reply::default(), &[])
            }
        }
    }

    fn hold(&mut self, container: String, names: &str, process: Option<String>, fds: Vec<OwnedFd>) -> Result<()> {
        firn::state::check_id(&container)?;
        let mut listed = names.split_ascii_whitespace();
        // With fewer the kernel has dropped some: the limit of open files is reached (unix(7)).
        if listed.clone().count() != fds.len() {
            return Err(Error::new("it has too many open files"));
        }
        let pidfd = process.and_then(|process| fds.get(listed.position(|name| name == process)?));
        let pid = pidfd.filter(|_| self.exits.is_some()).and_then(|pidfd| exits::pid_of(pidfd.as_fd()));
        let before = self.held.remove(container.as_str());
        let known = before.as_ref().and_then(|held| held.process);
        let process = match (pid, known) {
            // It was reaped, and so has no pid any more.
            (None, known @ Some(_)) if pidfd.is_some() => known,
            (Some(pid), Some(known)) if known.pid == pid => Some(known),
            (pid, _) => pid.map(|pid| HeldProcess { pid, ended: None }),
        };
        self.held.insert(container.into(), Held { names: names.into(), fds: fds.into(), process });
        before.into_iter().for_each(close);
        self.choose_processes();
        Ok(())
    }

    /// Has the kernel tell of the ends of those that are held.
    fn choose_processes(&self) {
        let pids = self.held.values().filter_map(|held| held.process).map(|process| process.pid);
        if let Some(exits) = &self.exits {
            // Without it the filter is the one before, and an end that is not told is unknown.
            let _ = exits.choose(pids);
        }
    }

    /// Remembers how processes have ended.
    fn note_ends(&mut self) {
        let Some(exits) = &self.exits else { return };
        while let Some((pid, status)) = exits.next_ended() {
            let processes = self.held.values_mut().filter_map(|held| held.process.as_mut());
            // A pid comes again for another process when the first one has ended.
            processes
                .filter(|process| process.pid == pid && process.ended.is_none())
                .for_each(|process| process.ended = Some(status));
        }
    }

    /// Closes what is held for containers whose state directory is gone.
    fn drop_removed(&mut self) {
        let mut events = [0; 4096];
        if let Some(watch) = &self.watch {
            while matches!(rustix::io::read(watch, &mut events), Ok(1..) | Err(Errno::INTR)) {}
        }
        let base = &self.base;
        for (_, held) in self.held.extract_if(.., |container, _| !base.join(&**container).exists()) {
            close(held);
        }
    }
}

/// Whether the kernel keeps how a process ended with its pidfd (PIDFD_INFO_EXIT): since Linux 6.15.
fn keeps_exits() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

fn watch_removals(base: &Path) -> rustix::io::Result<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let removals = inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_FROM | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&watch, base, removals)?;
    Ok(watch)
}

fn reply(socket: &OwnedFd, reply: &Reply, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send(socket.as_fd(), reply, fds, SendFlags::DONTWAIT)
}

/// Closes what was held. The last close of a socket can take as long as a container likes, which may
/// have sent descriptors to it (notify/inbox.rs): another process does that.
fn close(held: Held) {
    for fd in held.fds {
        if rustix::net::sockopt::socket_type(&fd).is_ok() {
            sys::close_elsewhere(fd);
        }
    }
}

/// Raises the limit of open files to what is allowed: a container has about five.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
