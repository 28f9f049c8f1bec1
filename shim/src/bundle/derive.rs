//! The caller's bundle, and the derived one that the runtime gets: the same
//! config.json with paths made absolute and the notification socket added.
//! Nothing in it is firn's alone, so any OCI runtime can run it.

use crate::cli::Notify;
use crate::error::{Context, Error, Result};
use crate::signal::{STOP_ANNOTATION, Signal};
use firn::spec::roots::{self, Init};
use serde_json::{Value, json};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the container finds the socket to tell its readiness by.
pub const NOTIFY_INSIDE: &str = "/run/host/notify";

/// No sane config.json comes near it.
const LARGEST: u64 = 16 << 20;

/// A bundle as read.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    config: Value,
    firn: Option<Vec<u8>>,
    init: Init,
    /// Whether the container gets a terminal and not two pipes.
    pub terminal: bool,
    /// SIGRTMIN+3, or what the annotation names.
    pub stop_signal: Signal,
}

impl Bundle {
    /// Reads config.json and firn.json of the bundle at the absolute `path`.
    pub fn load(path: &Path) -> Result<Bundle> {
        let file = path.join("config.json");
        let name = || format!("bundle {}: config.json", path.display());
        let text = File::open(&file).and_then(read_bounded).context(name)?;
        let config: Value = serde_json::from_slice(&text).context(name)?;
        if !config.is_object() {
            return Err(Error::new(format!("{}: is not a JSON object", name())));
        }
        // The runtime looks at whose file it is. The copy in the derived bundle is
        // ours, so the original is looked at here, by the same rule.
        let (firn, init) = match roots::read(path).context(|| format!("bundle {}", path.display()))? {
            Some((roots, text)) => (Some(text), roots.init.unwrap_or_default()),
            None => (None, Init::default()),
        };
        let stop_signal = match config.pointer("/annotations").and_then(|all| all.get(STOP_ANNOTATION)) {
            Some(Value::String(text)) => text
                .parse()
                .map_err(|why: String| Error::new(format!("{}: annotation {STOP_ANNOTATION}: {why}", name())))?,
            _ => Signal::HALT,
        };
        let terminal = config.pointer("/process/terminal") == Some(&Value::Bool(true));
        Ok(Bundle { path: path.to_owned(), config, firn, init, terminal, stop_signal })
    }

    /// A further exit status by which init asks to be restarted.
    pub fn restart_status(&self) -> Option<u8> {
        self.init.restart_exit_code
    }

    /// Whether to wait for the container to tell that it is ready.
    pub fn expects_ready(&self, notify: Notify) -> bool {
        match notify {
            Notify::Yes => true,
            Notify::No => false,
            Notify::Auto => self.init.notify == Some(true),
        }
    }

    /// Writes the derived bundle into the new folder `into`.
    pub fn write(mut self, into: &Path, notify_socket: Option<&Path>) -> Result<()> {
        derive(&mut self.config, &self.path, notify_socket)?;
        let failed = || format!("write {}", into.display());
        DirBuilder::new().mode(0o700).create(into).context(failed)?;
        let text = serde_json::to_vec(&self.config).context(failed)?;
        write_new(&into.join("config.json"), &text).context(failed)?;
        match &self.firn {
            Some(text) => write_new(&into.join(roots::FILE), text).context(failed),
            None => Ok(()),
        }
    }
}

fn write_new(path: &Path, text: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text)
}

fn read_bounded(file: File) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(std::io::Error::other("is larger than 16 MiB")),
        false => Ok(text),
    }
}

/// Makes `config` independent of the folder it lies in.
fn derive(config: &mut Value, bundle: &Path, notify_socket: Option<&Path>) -> Result<()> {
    if let Some(path) = config.pointer_mut("/root/path") {
        make_absolute(path, bundle);
    }
    if let Some(Value::Array(mounts)) = config.get_mut("mounts") {
        for mount in mounts.iter_mut().filter(|mount| is_bind(mount)) {
            if let Some(source) = mount.get_mut("source") {
                make_absolute(source, bundle);
            }
        }
    }
    match notify_socket {
        Some(socket) => add_notify(config, socket),
        None => Ok(()),
    }
}

fn make_absolute(path: &mut Value, bundle: &Path) {
    if let Value::String(text) = path
        && !text.is_empty()
    {
        let joined = bundle.join(&*text);
        *text = joined.to_string_lossy().into_owned();
    }
}

/// Only a bind mount's source is a path; the spec takes it from the bundle.
fn is_bind(mount: &Value) -> bool {
    let option = |known: &str| {
        mount
            .get("options")
            .and_then(Value::as_array)
            .is_some_and(|options| options.iter().any(|option| option == known))
    };
    mount.get("type").is_some_and(|kind| kind == "bind") || option("bind") || option("rbind")
}

fn add_notify(config: &mut Value, socket: &Path) -> Result<()> {
    let socket =
        socket.to_str().ok_or_else(|| Error::new(format!("socket {}: its path is not UTF-8", socket.display())))?;
    let mount = json!({
        "destination": NOTIFY_INSIDE,
        "type": "bind",
        "source": socket,
        "options": ["bind", "nosuid", "nodev", "noexec"],
    });
    let mounts = list(config, "mounts")?;
    mounts.retain(|mount| mount.get("destination").is_none_or(|at| at != NOTIFY_INSIDE));
    // Last, so that it lies on top of a tmpfs at /run.
    mounts.push(mount);
    if let Some(process) = config.get_mut("process") {
        let env = list(process, "env")?;
        env.retain(|entry| !entry.as_str().is_some_and(|entry| entry.starts_with("NOTIFY_SOCKET=")));
        env.push(format!("NOTIFY_SOCKET={NOTIFY_INSIDE}").into());
    }
    Ok(())
}

/// The array `name` of `parent`, made where it is missing.
fn list<'a>(parent: &'a mut Value, name: &str) -> Result<&'a mut Vec<Value>> {
    let wrong = || Error::new(format!("config.json: {name}: is not an array"));
    let fields = parent.as_object_mut().ok_or_else(wrong)?;
    let field = fields.entry(name).or_insert(Value::Null);
    if field.is_null() {
        *field = json!([]);
    }
    field.as_array_mut().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(mut config: Value, socket: Option<&str>) -> Value {
        derive(&mut config, Path::new("/b"), socket.map(Path::new)).unwrap();
        config
    }

    #[test]
    fn paths_become_absolute_and_all_else_stays() {
        let config = json!({
            "ociVersion": "1.2.0", "unknown": {"kept": [1, 1.5, null]},
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [
                {"destination": "/a", "source": "data", "options": ["rbind", "ro"]},
                {"destination": "/b", "source": "data", "type": "bind"},
                {"destination": "/c", "source": "/data", "options": ["bind"]},
                {"destination": "/t", "source": "tmpfs", "type": "tmpfs"},
            ],
        });
        let mut expected = config.clone();
        expected["root"]["path"] = json!("/b/rootfs");
        expected["mounts"][0]["source"] = json!("/b/data");
        expected["mounts"][1]["source"] = json!("/b/data");
        assert_eq!(derived(config, None), expected);
    }

    #[test]
    fn the_socket_is_the_last_mount_and_in_the_environment() {
        let config = json!({
            "process": {"env": ["A=1", "NOTIFY_SOCKET=/else", "B=2"]},
            "mounts": [
                {"destination": NOTIFY_INSIDE, "source": "/old", "type": "bind"},
                {"destination": "/run", "type": "tmpfs"},
            ],
        });
        let config = derived(config, Some("/s/notify"));
        let mounts = config["mounts"].as_array().unwrap();
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[1]["source"], "/s/notify");
        assert_eq!(config["process"]["env"], json!(["A=1", "B=2", "NOTIFY_SOCKET=/run/host/notify"]));
    }

    #[test]
    fn missing_lists_are_made() {
        for config in [json!({"process": {}}), json!({"process": {"env": null}, "mounts": null})] {
            let config = derived(config, Some("/s/notify"));
            assert_eq!(config["mounts"].as_array().unwrap().len(), 1);
            assert_eq!(config["process"]["env"].as_array().unwrap().len(), 1);
        }
        assert!(derive(&mut json!({"mounts": 1}), Path::new("/b"), Some(Path::new("/s"))).is_err());
        assert!(derive(&mut json!({"process": 1}), Path::new("/b"), Some(Path::new("/s"))).is_err());
    }
}
