//! The files of `nixos-container`, `NAME.conf`: as it writes and finds them.

use super::system::{Profile, SystemArgs};
use crate::definition::conf::names;
use crate::generation;
use crate::host::Places;
use crate::wanted::network::main_link;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Characters of a name at most, as interfaces were once called after it.
pub const LONGEST: usize = 11;

/// Errors: it has other characters.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !name.is_empty() && name.chars().all(fits) {
        true => Ok(()),
        false => bail!("invalid container name"),
    }
}

/// What a new file says.
#[derive(Debug, Args)]
pub struct ConfArgs {
    /// Start it at boot.
    #[arg(long)]
    auto_start: bool,
    /// Bridge of the host that it joins.
    #[arg(long, value_name = "INTERFACE")]
    bridge: Option<String>,
    /// Ports of the host that lead into it: tcp:8080:80,…
    #[arg(long, value_name = "PORTS")]
    port: Option<String>,
    #[arg(long, value_name = "ADDRESS", requires = "local_address")]
    host_address: Option<String>,
    #[arg(long, value_name = "ADDRESS", requires = "host_address")]
    local_address: Option<String>,
}

/// The directory of the files.
#[derive(Debug)]
pub struct Confs(PathBuf);

impl Confs {
    pub fn of(places: &Places) -> Self {
        Confs(match places.are_default() {
            true => "/etc/nixos-containers".into(),
            false => places.containers().with_file_name("nixos-containers"),
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.conf"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn names(&self) -> Vec<String> {
        names(&self.0).into_iter().map(|(_, name)| name).collect()
    }

    /// NixOS's own lie in its store.
    pub fn is_read_only(&self, name: &str) -> bool {
        let path = self.path(name);
        path.exists() && rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).is_err()
    }

    /// The value of a variable in a file.
    fn variable(&self, name: &str, variable: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path(name)).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='))?;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// What its system is built of, if that is a flake.
    pub fn flake(&self, name: &str) -> Option<String> {
        self.variable(name, "FLAKE")
    }

    /// Writes a new file; the addresses of the host and of the container.
    pub fn create(
        &self,
        name: &str,
        conf: &ConfArgs,
        system: &SystemArgs,
        profile: &Profile,
        places: &Places,
    ) -> Result<(String, String)> {
        let (host, local) = match (&conf.host_address, &conf.local_address) {
            (Some(host), Some(local)) => (host.clone(), local.clone()),
            _ => self.free_addresses(places)?,
        };
        let flake = system.flake().map(|flake| format!("FLAKE={flake}\n")).unwrap_or_default();
        let text = format!(
            "PRIVATE_NETWORK=1\nHOST_ADDRESS={host}\nLOCAL_ADDRESS={local}\nHOST_BRIDGE={}\nHOST_PORT={}\n\
             AUTO_START={}\nSYSTEM_PATH={}\n{flake}",
            conf.bridge.as_deref().unwrap_or_default(),
            conf.port.as_deref().unwrap_or_default(),
            u8::from(conf.auto_start),
            profile.system().display(),
        );
        let path = self.path(name);
        let what = || format!("write {}", path.display());
        std::fs::create_dir_all(&self.0).with_context(what)?;
        std::fs::write(&path, text).with_context(what)?;
        Ok((host, local))
    }

    /// The first pair of 10.233.N that neither a file nor a container of firnctl's has.
    fn free_addresses(&self, places: &Places) -> Result<(String, String)> {
        let mut used = BTreeSet::new();
        for name in self.names() {
            used.extend(["HOST_ADDRESS", "LOCAL_ADDRESS"].iter().filter_map(|variable| self.variable(&name, variable)));
        }
        for container in generation::all(places)? {
            let Ok(Some(wanted)) = container.wanted() else { continue };
            let link = main_link(&wanted.definition);
            used.extend([&link.host_address, &link.local_address].into_iter().flatten().cloned());
        }
        let is_used = |address: &String| used.iter().any(|used| used.split('/').next() == Some(address));
        let pairs = (1..255).map(|number| (format!("10.233.{number}.1"), format!("10.233.{number}.2")));
        pairs.into_iter().find(|(host, local)| !is_used(host) && !is_used(local)).context("out of IP addresses")
    }

    pub fn remove(&self, name: &str) -> Result<()> {
        remove_file(&self.path(name))
    }
}

pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
