//! What happens to containers, as their monitors tell it: those that run, and those that come.
//!
//! A thread for each monitor reads its events, and one for each container waits for OOM kills. New monitors
//! are found by inotify(7): a monitor that can be spoken to renames its `record` into place.

use super::answer::seconds;
use crate::apply::end::Ended;
use crate::generation::Container;
use crate::host::Places;
use crate::interrupt;
use anyhow::{Context, Result};
use firn_shim::control::client::Client;
use firn_shim::control::protocol::{Event, Happened, Happening, Request, State, Status};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Something that has happened to a container.
#[derive(Debug)]
pub struct Told {
    pub name: String,
    /// RFC 3339, UTC.
    pub time: String,
    pub what: What,
}

/// What it was.
#[derive(Debug)]
pub enum What {
    Happening(Happening),
    /// It runs already when the watch begins.
    State(State, Option<i32>),
    /// The OOM killer has killed in its cgroup.
    Oom,
    /// Its monitor was killed.
    Lost,
}

impl Told {
    pub fn json(&self) -> Result<Value> {
        let mut value = match &self.what {
            What::Happening(happening) => serde_json::to_value(happening).context("write JSON")?,
            What::State(state, pid) => json!({"type": "state", "state": state, "pid": pid}),
            What::Oom => json!({"type": "oom"}),
            What::Lost => json!({"type": "lost"}),
        };
        value["name"] = json!(self.name);
        value["time"] = json!(self.time);
        Ok(value)
    }

    pub fn text(&self) -> String {
        let what = match &self.what {
            What::Happening(happening) => words(happening),
            What::State(state, Some(pid)) => format!("state {} (pid {pid})", state.name()),
            What::State(state, None) => format!("state {}", state.name()),
            What::Oom => "oom".into(),
            What::Lost => "lost (its monitor was killed)".into(),
        };
        format!("{}  {}  {}", seconds(&self.time), self.name, firn::log::printable(&what))
    }
}

fn words(happening: &Happening) -> String {
    let ended = |status: &Option<u8>, signal: &Option<i32>| match (status, signal) {
        (Some(status), _) => format!("status {status}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "status unknown".into(),
    };
    match happening {
        Happening::Start => "start".into(),
        Happening::Init { pid } => pid.map_or("init".into(), |pid| format!("init (pid {pid})")),
        Happening::Ready => "ready".into(),
        Happening::Stopping => "stopping".into(),
        Happening::Kill => "kill".into(),
        Happening::Exit { status, signal, oom_killed } => {
            format!("exit ({}{})", ended(status, signal), if *oom_killed { ", out of memory" } else { "" })
        }
        Happening::Restart { reason, milliseconds: 0 } => format!("restart ({reason})"),
        Happening::Restart { reason, milliseconds } => format!("restart ({reason}) in {milliseconds} ms"),
        Happening::Exec { exec, args, .. } => format!("exec {exec}: {}", args.join(" ")),
        Happening::ExecExit { exec, status, signal } => format!("exec-exit {exec} ({})", ended(status, signal)),
        Happening::Down { reason, .. } => format!("down ({reason})"),
    }
}

/// Tells what happens, until a signal comes.
pub fn watch(places: &Places, names: &BTreeSet<String>, tell: impl Fn(Told) + Send + Sync + 'static) -> Result<()> {
    let base = places.monitors();
    let what = || format!("watch {}", base.display());
    // As a monitor would make it.
    DirBuilder::new().recursive(true).mode(0o700).create(base).with_context(what)?;
    let watcher = Arc::new(Watcher {
        places: places.clone(),
        began: firn::state::rfc3339(SystemTime::now()),
        followed: Mutex::default(),
        tell: Box::new(tell),
    });
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).context("inotify_init")?;
    let all = inotify.add_watch(base, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR).with_context(what)?;
    let mut watched: BTreeMap<WatchDescriptor, String> = BTreeMap::new();
    let mut new: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(base).with_context(what)? {
        new.extend(entry.with_context(what)?.file_name().into_string().ok());
    }
    loop {
        for name in new.drain(..).filter(|name| names.is_empty() || names.contains(name)) {
            let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
            match inotify.add_watch(&base.join(&name), flags) {
                Ok(watch) => {
                    watched.insert(watch, name.clone());
                    watcher.follow(&name);
                }
                // No directory, or one that has gone already.
                Err(Errno::ENOTDIR | Errno::ENOENT) => {}
                Err(errno) => return Err(errno).with_context(what),
            }
        }
        if !interrupt::wait_for(inotify.as_fd())? {
            return Ok(());
        }
        for event in inotify.read_events().with_context(what)? {
            let Some(name) = event.name.and_then(|name| name.into_string().ok()) else { continue };
            if event.wd == all {
                new.push(name);
            } else if name == "record"
                && let Some(container) = watched.get(&event.wd)
            {
                watcher.follow(container);
            }
        }
    }
}

struct Watcher {
    places: Places,
    /// When the watch began; what was before is not told.
    began: String,
    /// Containers whose monitor a thread listens to.
    followed: Mutex<BTreeSet<String>>,
    tell: Box<dyn Fn(Told) + Send + Sync>,
}

impl Watcher {
    fn tell(&self, name: &str, time: &str, what: What) {
        (self.tell)(Told { name: name.into(), time: time.into(), what });
    }

    fn followed(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to the monitor of a container, unless a thread does already.
    fn follow(self: &Arc<Self>, name: &str) {
        let container = Container::new(name, &self.places);
        // A monitor that another program has started is none of firnctl's.
        if matches!(container.running(), Ok(None)) || !self.followed().insert(name.into()) {
            return;
        }
        let watcher = Arc::clone(self);
        spawn(move || {
            let mut known = 0;
            loop {
                // Under the lock: a monitor that comes after this look is followed by another thread.
                let mut followed = watcher.followed();
                let Ok(Some(client)) = Client::connect(watcher.places.monitors(), &container.name) else {
                    followed.remove(&container.name);
                    break;
                };
                drop(followed);
                known += 1;
                watcher.listen(&container, client);
            }
            if known == 0 {
                watcher.tell_of_end(&container);
            }
        });
    }

    /// Until the monitor has ended.
    fn listen(self: &Arc<Self>, container: &Container, mut client: Client) {
        let name = &container.name;
        let status = match client.call(Request::Watch) {
            Ok((reply, _)) => reply.status,
            // It is of an older firn, or has ended.
            Err(error) => {
                eprintln!("firnctl: {error:#}");
                return;
            }
        };
        let mut init = None;
        if let Some(status) = &status {
            self.tell_of_start(status);
            init = status.pid;
            if init.is_some() {
                self.watch_memory(name);
            }
        }
        let mut is_down = false;
        while let Ok(Some(event)) = client.next_event() {
            let Event::Happened(Happened { time, what }) = event else { continue };
            match &what {
                // Its memory may be watched since it was created.
                Happening::Init { pid } if *pid != init => {
                    init = *pid;
                    self.watch_memory(name);
                }
                Happening::Down { .. } => is_down = true,
                _ => {}
            }
            self.tell(name, &time, What::Happening(what));
        }
        if !is_down {
            self.tell(name, &firn::state::rfc3339(SystemTime::now()), What::Lost);
        }
    }

    /// What has happened since the watch began, and before it could be listened to.
    fn tell_of_start(&self, status: &Status) {
        let since = |time: Option<&String>| time.filter(|time| **time >= self.began).cloned();
        match since(Some(&status.started_at)) {
            Some(time) => self.tell(&status.id, &time, What::Happening(Happening::Start)),
            None => self.tell(&status.id, &self.began, What::State(status.state, status.pid)),
        }
        if let Some(time) = since(status.init_at.as_ref()) {
            self.tell(&status.id, &time, What::Happening(Happening::Init { pid: status.pid }));
        }
        if let Some(time) = since(status.ready_at.as_ref()) {
            self.tell(&status.id, &time, What::Happening(Happening::Ready));
        }
    }

    /// Of a run that was over before its monitor could be spoken to.
    fn tell_of_end(&self, container: &Container) {
        let Some(end) = Ended::read(container).filter(|end| end.started_at >= self.began) else { return };
        let code = end.exit_code.unwrap_or(0);
        let time = end.exited_at.unwrap_or_else(|| end.started_at.clone());
        self.tell(&container.name, &end.started_at, What::Happening(Happening::Start));
        let exit = Happening::Exit { status: end.status, signal: None, oom_killed: false };
        self.tell(&container.name, &time, What::Happening(exit));
        self.tell(&container.name, &time, What::Happening(Happening::Down { reason: end.reason, code }));
    }

    /// Tells OOM kills until init ends.
    fn watch_memory(self: &Arc<Self>, name: &str) {
        let (watcher, name) = (Arc::clone(self), name.to_owned());
        let root = self.places.runtime_root().map_or_else(firn::state::default_root, Into::into);
        spawn(move || {
            // Statistics are nobody's.
            let never = Duration::from_secs(100 * 365 * 24 * 3600);
            let _ = firn::lifecycle::events::watch(&root, &name, never, |event| {
                if matches!(event, firn::lifecycle::events::Event::Oom) {
                    watcher.tell(&name, &firn::state::rfc3339(SystemTime::now()), What::Oom);
                }
                Ok(())
            });
        });
    }
}

/// A thread that does little.
fn spawn(act: impl FnOnce() + Send + 'static) {
    // Without one more there are events that are not told.
    if let Err(error) = std::thread::Builder::new().stack_size(256 << 10).spawn(act) {
        eprintln!("firnctl: start a thread: {error}");
    }
}
