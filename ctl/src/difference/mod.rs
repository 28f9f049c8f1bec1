//! What is wanted, against what runs: what has to be done so that they are the same. Pure.

use crate::definition::schema::{Definition, PrivateUsers};
use crate::generation::Running;
use crate::host::Owner;
use crate::wanted::mounts::{self, Mount};
use crate::wanted::{network, resources};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Nothing: it runs as it is wanted.
    Unchanged,
    /// What can be changed while it runs.
    Live(Live),
    /// Its system is another one; with what else is changed live.
    Update { from: PathBuf, to: PathBuf, live: Live },
    /// These options need a restart.
    Restart(Vec<String>),
}

/// Changes of a container that runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// Unmounted, in this order.
    pub gone: Vec<Mount>,
    /// Then mounted.
    pub come: Vec<Mount>,
    /// New limits (runtime-spec, config-linux.md, "Control groups").
    pub limits: Option<Value>,
    /// How the options of limits have changed, as in `memory 64M → 128M`.
    pub limit_words: Vec<String>,
    /// Options of its network.
    pub network: Vec<String>,
    /// Options that are read when they are needed, as by a later exec.
    pub settings: Vec<String>,
}

impl Live {
    pub fn is_empty(&self) -> bool {
        *self == Live::default()
    }
}

/// Options that take effect without the container being touched: they concern its next start, its
/// stop, later execs, or firnctl alone.
const SETTINGS: [&str; 9] = [
    "rootFrom",
    "autoStart",
    "restartIfChanged",
    "dependsOn",
    "check",
    "timeoutStartSec",
    "timeoutStopSec",
    "environment",
    "sshKeys",
];
/// Options that are binds.
const MOUNTS: [&str; 3] = ["bindMounts", "volumes", "volumes-ro"];
/// Options of a network that can be changed while it is used.
const NETWORK: [&str; 3] = ["forwardPorts", "extra.enableWAN", "extra.exposeLocalhost"];
/// Options of addresses, which change while the links stay.
const ADDRESSES: [&str; 6] =
    ["hostAddress", "hostAddress6", "localAddress", "localAddress6", "extra.addressPrefix", "extraVeths"];
/// Options that are limits.
const LIMITS: [&str; 3] = ["memory", "cpus", "pids"];
/// Options that are compared by what they lead to.
const ROOTS: [&str; 4] = ["path", "flake", "storePaths", "rootFS"];

/// What leads from `running` to `wanted`, of a container of `owner`'s.
pub fn between(running: &Running, wanted: &Running, owner: Owner) -> Change {
    let changed = changed_options(&running.definition, &wanted.definition);
    let is_of = |list: &[&str], option: &str| list.contains(&option);
    let addresses: &[&str] =
        if network::has_same_links(&running.definition, &wanted.definition) { &ADDRESSES } else { &[] };
    let mut restart: Vec<String> = changed
        .iter()
        .filter(|option| {
            ![&SETTINGS[..], &MOUNTS, &NETWORK, addresses, &LIMITS, &ROOTS].iter().any(|list| is_of(list, option))
        })
        .cloned()
        .collect();
    let images = |run: &Running| {
        run.definition
            .root_fs
            .iter()
            .filter(|layer| crate::definition::paths::is_image(layer))
            .cloned()
            .collect::<Vec<_>>()
    };
    if running.layers != wanted.layers || images(running) != images(wanted) {
        restart.push("rootFS".into());
    }
    let (from, to) = (&running.system, &wanted.system);
    if from.is_some() != to.is_some() {
        restart.push("path".into());
    }
    let (gone, come) = mounts::difference(&mounts::of(&running.definition), &mounts::of(&wanted.definition));
    // The ids of a mount can only be mapped before the container has it, and an ordinary user may mount nothing
    // from outside (mount_namespaces(7)).
    let has_users = running.definition.private_users != PrivateUsers::default() || owner == Owner::User;
    if has_users && !(gone.is_empty() && come.is_empty()) {
        restart.extend(changed.iter().filter(|option| is_of(&MOUNTS, option)).cloned());
    }
    // pasta and slirp4netns are told of ports when they start, and another view of the store is a mount.
    if owner == Owner::User {
        restart.extend((from.is_some() && to.is_some() && from != to).then(|| "path".into()));
        restart.extend(changed.iter().filter(|option| is_of(&NETWORK, option)).cloned());
    }
    if !restart.is_empty() {
        return Change::Restart(restart);
    }
    let limits = resources::change(&running.definition, &wanted.definition);
    let live = Live {
        gone,
        come,
        limit_words: if limits.is_some() { limit_words(&running.definition, &wanted.definition) } else { Vec::new() },
        limits,
        network: changed.iter().filter(|option| is_of(&NETWORK, option) || is_of(addresses, option)).cloned().collect(),
        settings: changed.into_iter().filter(|option| is_of(&SETTINGS, option)).collect(),
    };
    match (from, to) {
        // One that was begun and not brought to its end is begun again.
        (Some(from), Some(to)) if from != to || running.is_changing => {
            Change::Update { from: from.clone(), to: to.clone(), live }
        }
        _ if live.is_empty() && running.is_changing => {
            Change::Live(Live { settings: vec!["what was interrupted".into()], ..live })
        }
        _ if live.is_empty() => Change::Unchanged,
        _ => Change::Live(live),
    }
}

/// As they are written.
fn limit_words(old: &Definition, new: &Definition) -> Vec<String> {
    let (old, new) = (options(old), options(new));
    let word = |options: &Map<String, Value>, name: &str| match options.get(name) {
        None => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let changed = LIMITS.iter().filter(|name| old.get(**name) != new.get(**name));
    changed.map(|name| format!("{name} {} → {}", word(&old, name), word(&new, name))).collect()
}

/// The options that a definition gives; those of `extra` each by itself.
fn options(definition: &Definition) -> Map<String, Value> {
    let Ok(Value::Object(mut options)) = serde_json::to_value(definition) else { return Map::new() };
    if let Some(Value::Object(extra)) = options.remove("extra") {
        options.extend(extra.into_iter().map(|(name, value)| (format!("extra.{name}"), value)));
    }
    options
}

/// The names of the options that differ, also by what their links lead to.
pub fn options_between(earlier: &Running, later: &Running) -> Vec<String> {
    let mut options: Vec<String> = changed_options(&earlier.definition, &later.definition).into_iter().collect();
    let roots = [("path", earlier.system != later.system), ("rootFS", earlier.layers != later.layers)];
    for (name, is_other) in roots {
        if is_other && !options.iter().any(|option| ROOTS.contains(&&**option)) {
            options.push(name.into());
        }
    }
    options
}

/// The names of the options that differ.
fn changed_options(old: &Definition, new: &Definition) -> BTreeSet<String> {
    let (old, new) = (options(old), options(new));
    old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}

impl Change {
    /// One word: `unchanged`, `live`, `update` or `restart`.
    pub fn word(&self) -> &'static str {
        match self {
            Change::Unchanged => "unchanged",
            Change::Live(_) => "live",
            Change::Update { .. } => "update",
            Change::Restart(_) => "restart",
        }
    }
}

impl fmt::Display for Change {
    /// The word and why, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Change::Unchanged => Ok(()),
            Change::Live(live) => write!(f, ": {live}"),
            Change::Update { to, live, .. } => {
                write!(f, ": system {}", to.display())?;
                if live.is_empty() { Ok(()) } else { write!(f, ", {live}") }
            }
            Change::Restart(options) => write!(f, ": {}", options.join(", ")),
        }
    }
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gone = self.gone.iter().map(|mount| format!("unmount {}", mount.destination));
        let come = self.come.iter().map(|mount| format!("mount {} at {}", mount.source, mount.destination));
        let words = self.limit_words.iter().chain(&self.network).chain(&self.settings).cloned();
        let parts: Vec<String> = gone.chain(come).chain(words).collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::VERSION;
    use serde_json::json;

    fn run(definition: Value, system: Option<&str>) -> Running {
        let definition = serde_json::from_value(definition).unwrap();
        Running {
            version: VERSION,
            definition,
            system: system.map(Into::into),
            earlier_systems: Vec::new(),
            layers: Vec::new(),
            first_id: None,
            generation: 1,
            is_changing: false,
        }
    }

    fn told(old: Value, new: Value) -> String {
        between(&run(old, None), &run(new, None), Owner::Root).to_string()
    }

    #[test]
    fn each_option_has_its_way() {
        for (old, new, expected) in [
            (json!({}), json!({}), "unchanged"),
            (json!({}), json!({"memory": "1G", "cpus": 1.5}), "live: memory none → 1G, cpus none → 1.5"),
            (json!({"memory": "1024M"}), json!({"memory": "1G"}), "unchanged"),
            (json!({}), json!({"environment": {"A": "1"}, "autoStart": true}), "live: autoStart, environment"),
            (json!({"volumes": ["/a:/x"]}), json!({"volumes": ["/b:/x"]}), "live: unmount /x, mount /b at /x"),
            (
                json!({"volumes": ["/a:/x"]}),
                json!({"bindMounts": {"/x": {"hostPath": "/a", "isReadOnly": false}}}),
                "unchanged",
            ),
            (json!({}), json!({"hostname": "x", "memory": "1G"}), "restart: hostname"),
            (json!({}), json!({"privateNetwork": true, "tmpfs": ["/x"]}), "restart: privateNetwork, tmpfs"),
            (json!({"restart": "always"}), json!({}), "restart: restart"),
            (json!({}), json!({"forwardPorts": [{"hostPort": 80}]}), "live: forwardPorts"),
            (
                json!({"extra": {"addressPrefix": "10.1.1"}}),
                json!({"extra": {"addressPrefix": "10.1.1", "enableWAN": true, "exposeLocalhost": true}}),
                "live: extra.enableWAN, extra.exposeLocalhost",
            ),
            (
                json!({"privateNetwork": true, "hostAddress": "10.1.1.1", "localAddress": "10.1.1.2"}),
                json!({"privateNetwork": true, "localAddress": "10.1.2.2", "localAddress6": "fc00::2"}),
                "live: hostAddress, localAddress, localAddress6",
            ),
            (
                json!({"privateNetwork": true, "hostBridge": "br0"}),
                json!({"privateNetwork": true, "hostBridge": "br0", "localAddress": "10.1.2.2"}),
                "restart: localAddress",
            ),
            (json!({}), json!({"extra": {"firewallAllowHost": true}}), "restart: extra.firewallAllowHost"),
        ] {
            assert_eq!(told(old.clone(), new.clone()), expected, "{old} {new}");
        }
    }

    #[test]
    fn an_ordinary_users_container_gets_binds_ports_and_systems_by_a_restart() {
        for (option, value) in [("volumes", json!(["/a:/x"])), ("forwardPorts", json!([{"hostPort": 8080}]))] {
            let change = between(&run(json!({}), None), &run(json!({option: value}), None), Owner::User);
            assert_eq!(change.to_string(), format!("restart: {option}"));
        }
        let change = between(&run(json!({}), Some("/a")), &run(json!({}), Some("/b")), Owner::User);
        assert_eq!(change.to_string(), "restart: path");
    }

    #[test]
    fn what_was_interrupted_is_done_again() {
        let interrupted = |system| Running { is_changing: true, ..run(json!({}), system) };
        let between = |running, system| between(&running, &run(json!({}), system), Owner::Root).to_string();
        assert_eq!(between(interrupted(Some("/a")), Some("/a")), "update: system /a");
        assert_eq!(between(interrupted(Some("/a")), Some("/b")), "update: system /b");
        assert_eq!(between(interrupted(None), None), "live: what was interrupted");
    }

    #[test]
    fn a_system_is_compared_by_what_the_link_leads_to() {
        let old = run(json!({"path": "/result"}), Some("/nix/store/a"));
        assert_eq!(
            between(&old, &run(json!({"path": "/other"}), Some("/nix/store/a")), Owner::Root),
            Change::Unchanged
        );
        let new = run(json!({"path": "/result", "pids": 5}), Some("/nix/store/b"));
        assert_eq!(between(&old, &new, Owner::Root).to_string(), "update: system /nix/store/b, pids none → 5");
        let new = run(json!({"path": "/result", "hostname": "x"}), Some("/nix/store/b"));
        assert_eq!(between(&old, &new, Owner::Root).to_string(), "restart: hostname");
    }
}
