//! Where firnctl keeps things on this host, and the programs that act for it.

use crate::xdg;
use anyhow::{Context, Result, bail};
use firn_network::names;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stays when the host reboots.
pub const STATE_DIR: &str = "/var/lib/firnctl";
/// What does not.
pub const RUN_DIR: &str = "/run/firnctl";
/// What stays of a project's containers, in its directory.
pub const PROJECT_DIR: &str = ".firn";
/// hosts(5).
pub const HOSTS_FILE: &str = "/etc/hosts";
/// root's keys (sshd(8)).
pub const AUTHORIZED_KEYS: &str = "/root/.ssh/authorized_keys";
/// The monitors' own default.
const MONITORS: &str = "/run/firn/shim";

/// Whose containers they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owner {
    /// Those of the machine.
    #[default]
    Root,
    /// Those of an ordinary user, in user namespaces.
    User,
}

/// The directories of a host.
#[derive(Debug, Clone)]
pub struct Places {
    owner: Owner,
    state: PathBuf,
    run: PathBuf,
    monitors: PathBuf,
    /// Of the runtime; its default if `None`.
    runtime_root: Option<PathBuf>,
    /// Of firn-image; its default if `None`.
    layer_store: Option<PathBuf>,
    hosts_file: PathBuf,
    authorized_keys: PathBuf,
}

impl Places {
    /// What `firn`, `firn-shim` and `firn-image` know without options, unless firnctl has directories of its
    /// own.
    pub fn new(owner: Owner, state: &Path, run: &Path, hosts_file: &Path, authorized_keys: &Path) -> Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
        let (state, run) = (absolute(state)?, absolute(run)?);
        let is_own = run != Path::new(RUN_DIR);
        let monitors = if is_own { run.join("monitors") } else { MONITORS.into() };
        let layer_store = (state != state_dir(owner)?).then(|| state.join("layers"));
        let (hosts_file, authorized_keys) = (absolute(hosts_file)?, absolute(authorized_keys)?);
        let runtime_root = is_own.then(|| run.join("runtime"));
        Ok(Places { owner, state, monitors, runtime_root, layer_store, run, hosts_file, authorized_keys })
    }

    /// Whose containers these are.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Whether they are those of the whole machine, which firnctl has without options.
    pub fn are_default(&self) -> bool {
        self.state == Path::new(STATE_DIR) && self.run == Path::new(RUN_DIR)
    }

    /// What is kept of all containers, a directory each.
    pub fn containers(&self) -> PathBuf {
        self.state.join("containers")
    }

    /// What is kept of what Nix has evaluated.
    pub fn evaluations(&self) -> PathBuf {
        self.state.join("evaluations")
    }

    /// The key with which `cssh` logs in to containers.
    pub fn ssh_key(&self) -> PathBuf {
        self.state.join("ssh/key")
    }

    /// What is kept of a container until the host reboots.
    pub fn running(&self, name: &str) -> PathBuf {
        self.run.join("containers").join(name)
    }

    /// Where monitors keep a directory for each container.
    pub fn monitors(&self) -> &Path {
        &self.monitors
    }

    /// `--root` of the runtime, if it is not the default.
    pub fn runtime_root(&self) -> Option<&Path> {
        self.runtime_root.as_deref()
    }

    /// `--layer-store` of firn-image, if it is not the default.
    pub fn layer_store(&self) -> Option<&Path> {
        self.layer_store.as_deref()
    }

    /// Where the network namespaces of containers are kept.
    pub fn networks(&self) -> PathBuf {
        self.run.join("networks")
    }

    /// The file that has the containers' names.
    pub fn hosts_file(&self) -> &Path {
        &self.hosts_file
    }

    /// The file that has the keys of containers' users.
    pub fn authorized_keys(&self) -> &Path {
        &self.authorized_keys
    }

    /// The words with which other programs call firnctl for these directories.
    pub fn call(&self) -> Result<Vec<String>> {
        let mut words = vec![own_program()?];
        let given = [(&self.state, STATE_DIR, "--state-dir"), (&self.run, RUN_DIR, "--run-dir")];
        for (path, default, option) in given {
            if path != Path::new(default) {
                words.extend([option.to_owned(), text(path)?]);
            }
        }
        Ok(words)
    }

    /// The lock under which files of the host change, of all firnctls.
    pub fn hosts_lock(&self) -> PathBuf {
        Path::new(RUN_DIR).join("hosts.lock")
    }

    /// The cgroup of a project's container, whose name another project's may have; `None`: it is called after
    /// the container.
    pub fn cgroup(&self, name: &str) -> Option<String> {
        let project = self.run.strip_prefix(Path::new(RUN_DIR).join("projects")).ok()?;
        Some(format!("{name}-{}", project.display()))
    }

    /// The nftables table of all containers: `firn`, or one of these directories' own.
    pub fn table(&self) -> String {
        if self.runtime_root.is_none() { "firn".into() } else { names::table(&self.run) }
    }

    /// The lock under which definitions change.
    pub fn lock_file(&self) -> PathBuf {
        self.run.join("lock")
    }
}

/// The state and run directories of a project. What goes with a reboot is not kept in its own directory.
pub fn of_project(owner: Owner, project: &Path) -> Result<(PathBuf, PathBuf)> {
    Ok((project.join(PROJECT_DIR), run_dir(owner)?.join("projects").join(names::table(project))))
}

/// The directory of what stays when the host reboots.
pub fn state_dir(owner: Owner) -> Result<PathBuf> {
    match owner {
        Owner::Root => Ok(STATE_DIR.into()),
        Owner::User => Ok(xdg::state_home()?.join("firnctl")),
    }
}

/// The directory of what does not.
pub fn run_dir(owner: Owner) -> Result<PathBuf> {
    match owner {
        Owner::Root => Ok(RUN_DIR.into()),
        Owner::User => Ok(xdg::runtime_dir()?.join("firnctl")),
    }
}

/// A program of firn's: the one beside this, else in PATH.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|exe| Some(exe.parent()?.join(name))).filter(|path| path.is_file());
    beside.unwrap_or_else(|| name.into())
}

/// `firn-network` by its absolute path, by which hooks name a program.
pub fn network_program() -> Result<PathBuf> {
    let name = program("firn-network");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|directory| directory.join(&name));
    std::iter::once(name.clone())
        .chain(places)
        .find(|path| path.is_absolute() && path.is_file())
        .context("the program firn-network is not installed: it belongs beside firnctl")
}

/// The path by which firnctl is found tomorrow too: that in PATH's usual directories, rather than one of a
/// store that is collected.
fn own_program() -> Result<String> {
    let own = std::env::current_exe().context("find our own path")?;
    // It has been replaced meanwhile (proc_pid_exe(5)).
    let own = own.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map_or(own.clone(), PathBuf::from);
    let usual = ["/run/current-system/sw/bin", "/usr/local/bin", "/usr/bin"];
    let mut usual = usual.iter().map(|directory| Path::new(directory).join("firnctl"));
    let is_own = |path: &PathBuf| {
        path.exists() && own.starts_with("/nix/store") || path.canonicalize().is_ok_and(|path| path == own)
    };
    text(&usual.find(is_own).unwrap_or(own))
}

/// As one line of a file of other programs has it.
fn text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{}: is no UTF-8", path.display()))?;
    if text.contains(|c: char| c.is_control()) {
        bail!("{text:?}: can't stand in a file of lines: a directory's name has a control character");
    }
    Ok(text.to_owned())
}

/// machine-id(5); none on a host that has none yet.
pub fn machine_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    u128::from_str_radix(text.trim(), 16).ok().filter(|id| *id != 0).map(u128::to_be_bytes)
}

/// For what other programs of root's call.
pub fn must_be_root() -> Result<()> {
    match nix::unistd::geteuid().is_root() {
        true => Ok(()),
        false => bail!("containers are root's: this is for programs of root"),
    }
}

/// Variables that sudo would not pass on: where programs are, and Nix's paths.
const KEPT_BY_SUDO: [&str; 2] = ["PATH", "NIX_PATH"];

/// Containers of the whole machine are root's: for other users sudo runs the same again, in our place.
pub fn become_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let mut words = std::env::args_os();
    let called = words.next().context("we were called by no name")?;
    // A name alone is looked up in PATH again. It may be a link, whose name counts.
    let program = match called.to_string_lossy().contains('/') {
        true => std::path::absolute(&called).context("find our own path")?,
        false => called.into(),
    };
    eprintln!("firnctl: containers of the machine are root's: running this by sudo (--rootless: your own)");
    let mut sudo = Command::new("sudo");
    sudo.args(["--", "env"]);
    for name in KEPT_BY_SUDO {
        if let Some(value) = std::env::var_os(name) {
            let mut variable = OsString::from(format!("{name}="));
            variable.push(value);
            sudo.arg(variable);
        }
    }
    let error = sudo.arg(program).args(words).exec();
    match error.kind() {
        ErrorKind::NotFound => bail!(
            "containers of the machine are root's, and sudo is not installed: run this as root, or with --rootless for \
             containers of your own"
        ),
        _ => Err(error).context("run sudo"),
    }
}
