//! The derived bundle: the caller's config.json with absolute paths and the notification socket.

use firn::error::{Error, Result};
use firn::spec::keys;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// The path of the notification socket in the container.
const NOTIFY_PATH: &str = "/run/host/notify";

/// Gives the fields that the monitor reads or changes their names in the runtime-spec: runc and
/// firn take keys in any case, as Go's decoder does, and a second key beside one in another case
/// would contradict it. Errors: two keys for one field with two values.
pub(super) fn normalize_keys(config: &mut Value) -> Result<()> {
    rename(config, &["root", "mounts", "process", "annotations"])?;
    rename_in(config.get_mut("root"), &["path"])?;
    rename_in(config.get_mut("process"), &["env", "terminal"])?;
    let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
    mounts.into_iter().flatten().try_for_each(|mount| rename(mount, &["destination", "source", "type", "options"]))
}

fn rename_in(object: Option<&mut Value>, fields: &[&str]) -> Result<()> {
    object.map_or(Ok(()), |object| rename(object, fields))
}

fn rename(object: &mut Value, fields: &[&str]) -> Result<()> {
    let Some(object) = object.as_object_mut() else { return Ok(()) };
    for field in fields {
        let mut found = object.remove(*field);
        loop {
            let key = keys::find(object, field).to_owned();
            let Some(value) = object.remove(&key) else { break };
            if found.as_ref().is_some_and(|found| *found != value) {
                return Err(Error::new(format!("config.json: {key}: {field} is given twice, with two values")));
            }
            found = Some(value);
        }
        if let Some(value) = found {
            object.insert((*field).to_owned(), value);
        }
    }
    Ok(())
}

/// Turns the config.json of the bundle in directory `bundle` into that of the derived bundle. All
/// other fields stay as they are, so that any OCI runtime can run it. Errors: a field that is
/// changed has another type than it must.
pub(super) fn derive_config(config: &mut Value, bundle: &Path, notify_socket: Option<&Path>) -> Result<()> {
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
        Some(socket) => add_notify_socket(config, socket),
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

/// Of a bind mount the source is a path, relative to the bundle (runtime-spec, "Mounts").
fn is_bind(mount: &Value) -> bool {
    let has_option = |known: &str| {
        mount
            .get("options")
            .and_then(Value::as_array)
            .is_some_and(|options| options.iter().any(|option| option == known))
    };
    mount.get("type").is_some_and(|kind| kind == "bind") || has_option("bind") || has_option("rbind")
}

/// Adds the notification socket as a mount, and its path in the environment.
fn add_notify_socket(config: &mut Value, socket: &Path) -> Result<()> {
    let socket =
        socket.to_str().ok_or_else(|| Error::new(format!("socket {}: its path is not UTF-8", socket.display())))?;
    let mount = json!({
        "destination": NOTIFY_PATH,
        "type": "bind",
        "source": socket,
        "options": ["bind", "nosuid", "nodev", "noexec"],
    });
    let mounts = array_mut(config, "mounts")?;
    mounts.retain(|mount| mount.get("destination").is_none_or(|at| at != NOTIFY_PATH));
    // The last mount, so that a tmpfs at /run does not hide it.
    mounts.push(mount);
    set_variable(config, "NOTIFY_SOCKET", NOTIFY_PATH)
}

/// Tells init how often it has to send WATCHDOG=1 (sd_watchdog_enabled(3)).
pub(super) fn add_watchdog(config: &mut Value, limit: Duration) -> Result<()> {
    set_variable(config, "WATCHDOG_USEC", &limit.as_micros().to_string())
}

fn set_variable(config: &mut Value, name: &str, value: &str) -> Result<()> {
    let Some(process) = config.get_mut("process") else { return Ok(()) };
    let env = array_mut(process, "env")?;
    let is_set = |entry: &str| entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
    env.retain(|entry| !entry.as_str().is_some_and(is_set));
    env.push(format!("{name}={value}").into());
    Ok(())
}

/// The array `name` of the object `parent`; an empty one is made where it is missing or null.
fn array_mut<'a>(parent: &'a mut Value, name: &str) -> Result<&'a mut Vec<Value>> {
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
        derive_config(&mut config, Path::new("/b"), socket.map(Path::new)).unwrap();
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
                {"destination": NOTIFY_PATH, "source": "/old", "type": "bind"},
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
    fn keys_in_another_case_are_not_given_twice() {
        let mut config = json!({
            "Process": {"ENV": ["A=1"], "Terminal": true},
            "ROOT": {"Path": "rootfs"},
            "Mounts": [{"Destination": "/a", "Source": "data", "TYPE": "bind"}],
            "hostname": "x", "Unknown": {"Path": 1},
        });
        normalize_keys(&mut config).unwrap();
        let expected = json!({
            "process": {"env": ["A=1"], "terminal": true},
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/a", "source": "data", "type": "bind"}],
            "hostname": "x", "Unknown": {"Path": 1},
        });
        assert_eq!(config, expected);
        let mut twice = json!({"root": {"path": "a"}, "Root": {"path": "a"}});
        normalize_keys(&mut twice).unwrap();
        assert_eq!(twice, json!({"root": {"path": "a"}}));
        let mut two = json!({"root": {"path": "a"}, "Root": {"path": "b"}});
        let error = normalize_keys(&mut two).unwrap_err().chain();
        assert_eq!(error, "config.json: Root: root is given twice, with two values");
    }

    #[test]
    fn missing_lists_are_made() {
        for config in [json!({"process": {}}), json!({"process": {"env": null}, "mounts": null})] {
            let config = derived(config, Some("/s/notify"));
            assert_eq!(config["mounts"].as_array().unwrap().len(), 1);
            assert_eq!(config["process"]["env"].as_array().unwrap().len(), 1);
        }
        assert!(derive_config(&mut json!({"mounts": 1}), Path::new("/b"), Some(Path::new("/s"))).is_err());
        assert!(derive_config(&mut json!({"process": 1}), Path::new("/b"), Some(Path::new("/s"))).is_err());
    }
}
