//! The directories of one container.

use super::files;
use super::history::History;
use super::record::{Origin, Running, Start, Wanted};
use super::tree::remove_tree;
use crate::definition::schema::Definition;
use crate::host::{Places, program};
use crate::service::unit::Unit;
use anyhow::{Context, Result, bail};
use firn_network::message::{Times, times_file};
use firn_shim::control::client::Client;
use nix::fcntl::{Flock, FlockArg};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a monitor may take to die that was killed: its sockets are closed last.
const DYING: Duration = Duration::from_secs(10);

/// A container that is installed, or may be.
#[derive(Debug, Clone)]
pub struct Container {
    pub name: String,
    places: Places,
}

/// A container that no other firnctl changes meanwhile. The lock is also held by the programs that are
/// run under it: if firnctl is killed, until they have ended.
#[derive(Debug)]
pub struct Locked<'a> {
    container: &'a Container,
    lock: Flock<File>,
}

impl Deref for Locked<'_> {
    type Target = Container;

    fn deref(&self) -> &Container {
        self.container
    }
}

impl Locked<'_> {
    /// Lets another process of firnctl's have the lock meanwhile, and waits for it afterwards.
    pub fn without_lock<T>(&self, act: impl FnOnce() -> T) -> Result<T> {
        let what = || format!("lock of container {}", self.name);
        flock(&*self.lock, FlockOperation::Unlock).with_context(what)?;
        let done = act();
        flock(&*self.lock, FlockOperation::LockExclusive).with_context(what)?;
        Ok(done)
    }
}

impl AsFd for Locked<'_> {
    /// The lock: it lasts until all copies of this descriptor are closed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

/// The containers that are installed, by name.
pub fn all(places: &Places) -> Result<Vec<Container>> {
    let directory = places.containers();
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.with_context(|| format!("read {}", directory.display()))?,
    };
    let mut containers = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", directory.display()))?;
        let container = entry.file_name().into_string().ok().map(|name| Container::new(&name, places));
        containers.extend(container.filter(Container::is_listed));
    }
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(containers)
}

/// By container, the release of NixOS with which it began to write, where that is known.
pub fn state_versions(places: &Places) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(places.containers()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let version = |name: String| {
        let text = std::fs::read_to_string(Container::new(&name, places).state_version_file()).ok()?;
        Some((name, text.trim().to_owned()))
    };
    names.filter_map(version).collect()
}

impl Container {
    pub fn new(name: &str, places: &Places) -> Self {
        Container { name: name.into(), places: places.clone() }
    }

    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What stays: its directory.
    pub fn state_dir(&self) -> PathBuf {
        self.places.containers().join(&self.name)
    }

    /// What goes with a reboot: its directory.
    pub fn run_dir(&self) -> PathBuf {
        self.places.running(&self.name)
    }

    /// The bundle of the next start, also of one that the monitor makes by itself: a link.
    pub fn bundle(&self) -> PathBuf {
        self.run_dir().join("bundle")
    }

    /// A place for a new bundle. Its name is the container's, from which its UUID is made.
    pub fn new_bundle(&self) -> Result<PathBuf> {
        let directory = self.run_dir().join("bundles");
        let mut number = 1_u32;
        while directory.join(number.to_string()).exists() {
            number += 1;
        }
        let directory = directory.join(number.to_string());
        files::make_passable(&directory)?;
        Ok(directory.join(&self.name))
    }

    /// Lets `bundle` lead to a new one. Earlier ones stay: what runs has files of them mounted.
    pub fn use_bundle(&self, bundle: &Path) -> Result<()> {
        let link = self.run_dir().join("bundle.new");
        files::remove(&link)?;
        std::os::unix::fs::symlink(bundle, &link)
            .and_then(|()| std::fs::rename(&link, self.bundle()))
            .with_context(|| format!("link {}", self.bundle().display()))
    }

    pub fn log(&self) -> PathBuf {
        self.state_dir().join("log")
    }

    fn wanted_file(&self) -> PathBuf {
        self.state_dir().join("wanted.json")
    }

    /// It is installed. One that the host's configuration has no longer is, as long as it runs.
    fn is_listed(&self) -> bool {
        match self.wanted() {
            Ok(None) => false,
            Ok(Some(wanted)) => !wanted.origin.is_gone() || self.has_monitor(),
            // Told where it is used.
            Err(_) => true,
        }
    }

    /// It runs, whether its monitor does or was killed.
    fn has_monitor(&self) -> bool {
        self.places.monitors().join(&self.name).join("record").exists()
    }

    /// Is no longer installed, and keeps all that it has written.
    pub fn forget_wanted(&self) -> Result<()> {
        files::remove(&self.wanted_file())
    }

    fn running_file(&self) -> PathBuf {
        self.run_dir().join("running.json")
    }

    /// Where what it writes is kept; `None` for a root that is built anew at each start.
    pub fn upper(&self, definition: &Definition) -> Option<PathBuf> {
        let stays = definition.persistent || definition.root_fs.is_empty();
        match definition.ephemeral {
            true => None,
            false if stays => Some(self.state_dir().join("root")),
            false => Some(self.run_dir().join("root")),
        }
    }

    /// Says which directory has become what it has written (`rootFrom`).
    pub fn taken_root_file(&self) -> PathBuf {
        self.state_dir().join("root-from")
    }

    /// The release of NixOS with which it began to write.
    pub fn state_version_file(&self) -> PathBuf {
        self.state_dir().join("state-version")
    }

    /// What is wanted of it; `None`: it is not installed.
    pub fn wanted(&self) -> Result<Option<Wanted>> {
        files::read(&self.wanted_file())
    }

    /// What would be wanted of it with this definition: what verbs have changed stays.
    pub fn with_overrides(&self, definition: Definition, origin: Origin) -> Result<Wanted> {
        match self.wanted()? {
            Some(wanted) => wanted.rewritten(definition, origin),
            None => Ok(Wanted::new(definition, origin)),
        }
    }

    /// Installs a definition.
    pub fn install(&self, wanted: &Wanted) -> Result<()> {
        files::write(&self.wanted_file(), wanted)
    }

    /// What it runs with, or ran with last.
    pub fn running(&self) -> Result<Option<Running>> {
        files::read(&self.running_file())
    }

    /// Records what it runs with.
    pub fn set_running(&self, running: &Running) -> Result<()> {
        files::write(&self.running_file(), running)
    }

    /// Its generations.
    pub fn history(&self) -> History {
        History::new(&self.state_dir().join("generations"))
    }

    /// A connection to its monitor; `None`: it does not run. A container whose monitor was killed gets
    /// another one, which takes it over.
    pub fn connect(&self) -> Result<Option<Client>> {
        if !self.running_file().exists() {
            // A monitor of this name was started by another program.
            return Ok(None);
        }
        let end = Instant::now() + DYING;
        loop {
            match Client::connect(self.places.monitors(), &self.name)? {
                Some(mut client) => {
                    if client.is_answered()? {
                        return Ok(Some(client));
                    }
                }
                None if self.has_monitor() => return self.take_over(),
                None => return Ok(None),
            }
            // It was killed just now, or has just ended.
            if Instant::now() > end {
                bail!("container {}: its monitor answers nothing", self.name);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A connection to another monitor, in the place of the one that was killed.
    fn take_over(&self) -> Result<Option<Client>> {
        if let Some(unit) = Unit::of(&self.name, &self.places) {
            unit.take_over()?;
            return Ok(Client::connect(self.places.monitors(), &self.name)?);
        }
        let mut adopt = Command::new(program("firn-shim"));
        adopt.args(["adopt", "--state-dir"]).arg(self.places.monitors()).arg(&self.name).stdin(Stdio::null());
        let output = adopt.output().context("run firn-shim")?;
        match output.status.code() {
            // It runs, or has just ended and been cleaned up.
            Some(0 | 3) => Ok(Client::connect(self.places.monitors(), &self.name)?),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("container {}: its monitor is gone, and another one: {}", self.name, said.trim())
            }
        }
    }

    /// Keeps other firnctls from changing it; waits for one that does, also while it waits for the unit that
    /// it starts.
    pub fn lock(&self) -> Result<Locked<'_>> {
        loop {
            let locked = self.lock_in_unit()?;
            let path = self.prepared_file();
            let file = match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(locked),
                result => result.with_context(|| format!("open {}", path.display()))?,
            };
            if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
                return Ok(locked);
            }
            drop(locked);
            flock(&file, FlockOperation::LockShared).with_context(|| format!("lock {}", path.display()))?;
        }
    }

    /// The same for the unit that another firnctl starts.
    pub fn lock_in_unit(&self) -> Result<Locked<'_>> {
        files::make_passable(&self.run_dir())?;
        Ok(Locked { container: self, lock: lock(&self.run_dir().join("lock"))? })
    }

    /// What `firn-network` was told at the last start.
    pub fn network_file(&self) -> PathBuf {
        self.run_dir().join("network.json")
    }

    /// Records what `firn-network` is told, at once.
    pub fn set_network<T: Serialize>(&self, network: &T) -> Result<()> {
        files::write(&self.network_file(), network)
    }

    /// When the network of the last start was made; `None`: none was.
    pub fn network_times(&self) -> Option<Times> {
        serde_json::from_slice(&std::fs::read(times_file(&self.network_file())).ok()?).ok()
    }

    fn start_file(&self) -> PathBuf {
        self.run_dir().join("start.json")
    }

    /// What firnctl has done for the last start.
    pub fn start(&self) -> Result<Option<Start>> {
        files::read(&self.start_file())
    }

    /// Records it.
    pub fn set_start(&self, start: &Start) -> Result<()> {
        files::write(&self.start_file(), start)
    }

    /// Forgets the network of the last start, of which nothing is left.
    pub fn forget_network(&self) -> Result<()> {
        files::remove(&self.network_file().with_extension("changed"))?;
        files::remove(&times_file(&self.network_file()))?;
        files::remove(&self.network_file().with_extension("serves"))?;
        files::remove(&self.network_file().with_extension("namespace"))?;
        files::remove(&self.network_file())?;
        files::remove(&self.network_file().with_extension("moved"))
    }

    /// Forgets how it ended last.
    pub fn forget_end(&self) -> Result<()> {
        files::remove(&self.places.monitors().join(&self.name).join("exit"))
    }

    /// A file that is locked while the bundle of a start is made, and its unit is starting.
    pub fn prepared_file(&self) -> PathBuf {
        self.run_dir().join("prepared")
    }

    /// Forgets the bundles and what ran.
    pub fn forget_run(&self) -> Result<()> {
        files::remove(&self.running_file())?;
        files::remove(&self.bundle())?;
        remove_tree(&self.run_dir().join("bundles"))
    }

    /// Whether anything is kept of it.
    pub fn exists(&self) -> bool {
        [self.state_dir(), self.run_dir()].iter().any(|path| path.exists())
    }

    /// Removes all that is kept of it. What is mounted below keeps its files. The definition and the lock
    /// go last: what fails half-way is still listed, and can be removed again.
    pub fn remove(&self, _lock: &Locked<'_>) -> Result<()> {
        // That of a monitor that another program runs by this name stays.
        if Client::connect(self.places.monitors(), &self.name)?.is_none() {
            remove_tree(&self.places.monitors().join(&self.name))?;
        }
        for (directory, last) in [(self.state_dir(), "wanted.json"), (self.run_dir(), "lock")] {
            remove_but(&directory, last)?;
            remove_tree(&directory)?;
        }
        Ok(())
    }
}

/// Removes what is in a directory, but for one name.
fn remove_but(directory: &Path, kept: &str) -> Result<()> {
    let what = || format!("remove {}", directory.display());
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result.with_context(what)?,
    };
    for entry in entries {
        let entry = entry.with_context(what)?;
        match entry.file_type().with_context(what)?.is_dir() {
            _ if entry.file_name() == kept => {}
            true => remove_tree(&entry.path())?,
            false => files::remove(&entry.path())?,
        }
    }
    Ok(())
}

/// Waits for the lock of a file, which is made where there is none.
pub fn lock(path: &Path) -> Result<Flock<File>> {
    let what = || format!("lock {}", path.display());
    files::make_passable(path.parent().with_context(what)?)?;
    loop {
        // For root alone: anybody who could open it could hold the lock.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = match file {
            // Removed with the container just now.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                files::make_passable(path.parent().with_context(what)?)?;
                continue;
            }
            result => result.with_context(what)?,
        };
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).with_context(what)?;
        let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).with_context(what)?;
        // The one that had it may have removed the container, and the file with it.
        let inode = locked.metadata().with_context(what)?.ino();
        match std::fs::metadata(path) {
            Ok(now) if now.ino() == inode => return Ok(locked),
            _ => files::make_passable(path.parent().with_context(what)?)?,
        }
    }
}
