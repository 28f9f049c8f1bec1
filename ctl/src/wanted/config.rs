//! What is changed in the config.json of `firn-image`, for what that has no option for.

use super::devices::Device;
use super::{mounts, network, resources, users};
use crate::definition::schema::Definition;
use crate::service::machine;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Files of the host that a start has prepared.
#[derive(Debug, Default)]
pub struct Prepared<'a> {
    pub devices: Vec<Device>,
    /// The cgroup, where it is not called after the container.
    pub cgroup: Option<String>,
    /// The first id on the host, of a container with a user namespace.
    pub first_id: Option<u32>,
    /// A copy of the host's resolv.conf.
    pub resolv_conf: Option<&'a Path>,
    /// Who makes the network.
    pub network: Option<NetworkHooks>,
    /// A directory with the credentials.
    pub credentials: Option<&'a Path>,
    /// The program that registers the container with machined, where it is a unit.
    pub registrar: Option<&'a Path>,
}

/// What the runtime calls for a network.
#[derive(Debug)]
pub struct NetworkHooks {
    /// `firn-network`.
    pub program: PathBuf,
    /// What it is told: a file.
    pub message: PathBuf,
    /// Its verb when the namespaces are there and init has not begun.
    pub up: &'static str,
    /// When all of them have ended.
    pub down: &'static str,
}

/// Where a container finds its credentials (systemd, "Container Interface").
const CREDENTIALS: &str = "/run/host/credentials";

/// Changes a config.json as the definition says.
pub fn patch(config: &mut Value, definition: &Definition, prepared: &Prepared<'_>) -> Result<()> {
    namespace(config, definition)?;
    if let Some(cgroup) = &prepared.cgroup {
        config["linux"]["cgroupsPath"] = cgroup.as_str().into();
    }
    if let Some(network) = &prepared.network {
        hooks(config, network)?;
    }
    if let Some(first) = prepared.first_id {
        list(config, "/linux", "namespaces")?.push(json!({"type": "user"}));
        for name in ["uidMappings", "gidMappings"] {
            config["linux"][name] = users::mappings(first);
        }
    }
    let mut capabilities = definition.additional_capabilities.clone();
    if definition.enable_tun {
        capabilities.push("CAP_NET_ADMIN".into());
    }
    add_capabilities(config, &capabilities)?;
    if let Some(copy) = prepared.resolv_conf {
        bind(config, copy, "/etc/resolv.conf")?;
    }
    if let Some(directory) = prepared.credentials {
        bind(config, directory, CREDENTIALS)?;
        list(config, "/process", "env")?.push(format!("CREDENTIALS_DIRECTORY={CREDENTIALS}").into());
    }
    for mount in mounts::of(definition) {
        list(config, "", "mounts")?.push(serde_json::to_value(mount).context("write a mount")?);
    }
    for device in &prepared.devices {
        list(config, "/linux", "devices")?.push(device.node());
        list(config, "/linux/resources", "devices")?.push(device.rule());
    }
    merge(&mut config["linux"]["resources"], &resources::of(definition));
    if let Some(firnctl) = prepared.registrar {
        add_hooks(config, machine::hooks(firnctl))?;
    }
    if let Some(given) = &definition.oci_config {
        merge(config, &Value::Object(given.clone()));
    }
    Ok(())
}

/// The host's network, one that is joined, or one of its own that has only `lo`.
fn namespace(config: &mut Value, definition: &Definition) -> Result<()> {
    if network::is_private(definition) {
        return Ok(());
    }
    let namespaces = list(config, "/linux", "namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "network");
    match &definition.network_namespace {
        Some(path) => namespaces.push(json!({"type": "network", "path": path})),
        // It would change the host's interfaces.
        None => remove_capability(config, "CAP_NET_ADMIN"),
    }
    Ok(())
}

fn hooks(config: &mut Value, network: &NetworkHooks) -> Result<()> {
    let (program, message) = (network.program.to_str(), network.message.to_str());
    let (program, message) = program.zip(message).context("a path of firnctl's is no UTF-8")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let hook = |verb: &str| {
        json!([{
            "path": program, "args": ["firn-network", verb, message], "timeout": HOOK_TIMEOUT,
            // nft is found here.
            "env": [format!("PATH={path}:/usr/sbin:/sbin:/run/current-system/sw/bin")],
        }])
    };
    add_hooks(config, json!({"createRuntime": hook(network.up), "poststop": hook(network.down)}))
}

/// Adds lists of hooks by their kind.
fn add_hooks(config: &mut Value, hooks: Value) -> Result<()> {
    if config["hooks"].is_null() {
        config["hooks"] = json!({});
    }
    let Value::Object(hooks) = hooks else { return Ok(()) };
    for (kind, more) in hooks {
        list(config, "/hooks", &kind)?.extend(more.as_array().into_iter().flatten().cloned());
    }
    Ok(())
}

/// In seconds; a busy machine has two hundred of them at once.
const HOOK_TIMEOUT: u32 = 60;

const SETS: [&str; 3] = ["bounding", "effective", "permitted"];

fn add_capabilities(config: &mut Value, names: &[String]) -> Result<()> {
    for name in names {
        let name = name.to_uppercase();
        let name = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
        for set in SETS {
            let set = list(config, "/process/capabilities", set)?;
            if !set.contains(&name.clone().into()) {
                set.push(name.clone().into());
            }
        }
    }
    Ok(())
}

fn remove_capability(config: &mut Value, name: &str) {
    for set in SETS {
        if let Some(Value::Array(names)) = config.pointer_mut(&format!("/process/capabilities/{set}")) {
            names.retain(|known| known != name);
        }
    }
}

fn bind(config: &mut Value, source: &Path, destination: &str) -> Result<()> {
    let source = source.to_str().context("a path of firnctl's is no UTF-8")?;
    let mount = json!({
        "destination": destination, "type": "bind", "source": source,
        "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
    });
    list(config, "", "mounts")?.push(mount);
    Ok(())
}

/// The list `name` of the object at `pointer`, made where there is none.
fn list<'a>(config: &'a mut Value, pointer: &str, name: &str) -> Result<&'a mut Vec<Value>> {
    let object = config.pointer_mut(pointer).and_then(Value::as_object_mut);
    let list = object.map(|object| object.entry(name).or_insert(Value::Null));
    let list = list.with_context(|| format!("config.json has no object {pointer}"))?;
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().with_context(|| format!("config.json: {pointer}/{name} is no list"))
}

/// A merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(name)),
            value => merge(target.entry(name).or_insert(Value::Null), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(definition: Value) -> Value {
        let mut config = json!({
            "process": {"env": [], "capabilities": {
                "bounding": ["CAP_NET_ADMIN"], "effective": ["CAP_NET_ADMIN"], "permitted": ["CAP_NET_ADMIN"]
            }},
            "mounts": [{"destination": "/proc"}],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}], "resources": {"devices": []}},
        });
        patch(&mut config, &serde_json::from_value(definition).unwrap(), &Prepared::default()).unwrap();
        config
    }

    #[test]
    fn the_hosts_network_comes_without_rights_over_it() {
        let config = patched(json!({}));
        assert_eq!(config["linux"]["namespaces"], json!([{"type": "pid"}]));
        assert_eq!(config["process"]["capabilities"]["bounding"], json!([]));
        let config = patched(json!({"privateNetwork": true}));
        assert_eq!(config["linux"]["namespaces"][1]["type"], "network");
        assert_eq!(config["process"]["capabilities"]["bounding"], json!(["CAP_NET_ADMIN"]));
        let config = patched(json!({"networkNamespace": "/run/netns/x"}));
        assert_eq!(config["linux"]["namespaces"][1], json!({"type": "network", "path": "/run/netns/x"}));
    }

    #[test]
    fn the_patch_of_the_definition_is_the_last_word() {
        let config = patched(json!({
            "additionalCapabilities": ["sys_time"], "memory": "1M",
            "ociConfig": {"linux": {"resources": {"memory": {"limit": 5}}, "namespaces": null}, "hostname": "x"},
        }));
        assert_eq!(config["linux"]["resources"]["memory"]["limit"], 5);
        assert_eq!(config["linux"]["resources"].get("pids"), None);
        assert_eq!(config["linux"].get("namespaces"), None);
        assert_eq!(config["process"]["capabilities"]["permitted"], json!(["CAP_SYS_TIME"]));
    }
}
