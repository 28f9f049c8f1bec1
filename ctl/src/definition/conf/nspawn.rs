//! Flags of systemd-nspawn(1) as options: the same as nix/nixos/nspawn-flags.nix has for NixOS's `extraFlags`.

use super::Conf;
use crate::definition::document::{Member, Node, Value};
use crate::definition::mistake::hint;
use std::ops::Range;

/// Flags with an option of the same meaning, or none to have.
const FLAGS: [&str; 36] = [
    "-U",
    "-j",
    "-q",
    "-x",
    "--bind",
    "--bind-ro",
    "--boot",
    "--capability",
    "--cpu-affinity",
    "--ephemeral",
    "--hostname",
    "--keep-unit",
    "--kill-signal",
    "--link-journal",
    "--load-credential",
    "--network-bridge",
    "--network-interface",
    "--network-macvlan",
    "--network-namespace-path",
    "--network-veth-extra",
    "--no-new-privileges",
    "--notify-ready",
    "--oom-score-adjust",
    "--port",
    "--private-network",
    "--private-users",
    "--private-users-ownership",
    "--property",
    "--quiet",
    "--register",
    "--resolv-conf",
    "--rlimit",
    "--setenv",
    "--settings",
    "--timezone",
    "--tmpfs",
];

fn is_yes(value: &str) -> bool {
    ["yes", "true", "1", "on"].contains(&value)
}

fn is_no(value: &str) -> bool {
    ["no", "false", "0", "off"].contains(&value)
}

/// Nothing that firn would do otherwise.
fn is_without_effect(name: &str, value: &str) -> bool {
    match name {
        "-q" | "--quiet" | "--boot" | "--keep-unit" | "-j" => true,
        // Binds are mapped, and never changed on the disk.
        "--private-users-ownership" => ["map", "auto", "off", "chown"].contains(&value),
        // As far as there is a journal to link to.
        "--link-journal" => ["no", "auto", "try-guest", "try-host"].contains(&value),
        "--register" => is_yes(value) || value == "auto",
        "--settings" | "--no-new-privileges" => is_no(value),
        "--timezone" => value == "off",
        _ => false,
    }
}

impl Conf<'_> {
    pub(super) fn nspawn(&mut self, flag: &str, span: Range<usize>) {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match name {
            _ if is_without_effect(name, value) => {}
            "-U" => self.text("privateUsers", "pick", span),
            "-x" | "--ephemeral" => self.set("ephemeral", Value::Bool(true), span),
            "--private-users" => self.users(value, span),
            "--bind" | "--bind-ro" => self.bind(value, name == "--bind-ro", span),
            "--capability" => {
                value.split(',').for_each(|capability| self.item("additionalCapabilities", capability, span.clone()));
            }
            "--tmpfs" => self.item("tmpfs", value, span),
            "--setenv" => match value.split_once('=') {
                Some((key, value)) => self.entry("environment", key, Value::String(value.into()), span),
                None => self.tell(span.start, format!("{flag}: give a value, as in --setenv=NAME=VALUE")),
            },
            "--load-credential" => match value.split_once(':') {
                Some((id, path)) => self.entry("credentials", id, Value::String(path.into()), span),
                None => self.tell(span.start, format!("{flag}: give a file, as in --load-credential=ID:PATH")),
            },
            "--link-journal" => self.set("linkJournal", Value::Bool(true), span),
            "--hostname" => self.text("hostname", value, span),
            "--notify-ready" => self.set("notify", Value::Bool(is_yes(value)), span),
            "--resolv-conf" => self.set("copyResolvConf", Value::Bool(value != "off"), span),
            "--network-macvlan" => self.item("macvlans", value, span),
            "--network-interface" => self.item("interfaces", value, span),
            "--network-namespace-path" => self.text("networkNamespace", value, span),
            "--private-network" => self.set("privateNetwork", Value::Bool(true), span),
            "--network-bridge" => {
                self.set("privateNetwork", Value::Bool(true), span.clone());
                self.text("hostBridge", value, span);
            }
            "--network-veth-extra" => self.veth(value, span),
            "--port" => self.port(value, span),
            "--property" => self.property(flag, value, span),
            "--kill-signal" => {
                let signal = Value::String(value.into());
                self.oci(&["annotations", "org.opencontainers.image.stopSignal"], signal, span);
            }
            "--no-new-privileges" if is_yes(value) => {
                self.oci(&["process", "noNewPrivileges"], Value::Bool(true), span);
            }
            "--oom-score-adjust" if value.parse::<i64>().is_ok() => {
                let number = value.parse::<i64>().unwrap_or_default();
                self.oci(&["process", "oomScoreAdj"], Value::Number(number.into()), span);
            }
            "--cpu-affinity" => {
                self.oci(&["linux", "resources", "cpu", "cpus"], Value::String(value.into()), span);
            }
            "--rlimit" => self.rlimit(flag, value, span),
            _ => self.tell_unknown(flag, span),
        }
    }

    fn tell_unknown(&mut self, flag: &str, span: Range<usize>) {
        let name = flag.split('=').next().unwrap_or(flag);
        let hint = hint(name, FLAGS);
        self.tell(span.start, format!("no option is {name} of systemd-nspawn{hint}; ociConfig may say it"));
    }

    /// `SOURCE[:PLACE[:OPTIONS]]`.
    fn bind(&mut self, text: &str, is_read_only: bool, span: Range<usize>) {
        let mut words = text.split(':');
        let source = words.next().unwrap_or_default();
        let place = words.next().filter(|place| !place.is_empty()).unwrap_or(source);
        let mut members = vec![("hostPath", Value::String(source.into())), ("isReadOnly", Value::Bool(is_read_only))];
        for option in words.flat_map(|options| options.split(',')) {
            match option {
                "rbind" | "" => {}
                "idmap" | "noidmap" | "rootidmap" | "owneridmap" => {
                    members.push(("idmap", Value::String(option.into())));
                }
                other => self.tell(span.start, format!("bind {text}: no option is {other:?}; ociConfig may say it")),
            }
        }
        let value = object(members, &span);
        self.entry("bindMounts", place, value, span);
    }

    /// `HOST[:INSIDE]`.
    fn veth(&mut self, text: &str, span: Range<usize>) {
        let (host, inside) = text.split_once(':').unwrap_or((text, text));
        let value = object(vec![("hostInterface", Value::String(host.into()))], &span);
        self.entry("extraVeths", inside, value, span);
    }

    /// A property of the scope's (systemd.resource-control(5)) that is a limit.
    fn property(&mut self, flag: &str, value: &str, span: Range<usize>) {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        let percent = value.strip_suffix('%').and_then(|percent| percent.parse::<f64>().ok());
        match (name, percent.and_then(|percent| serde_json::Number::from_f64(percent / 100.0)), value.parse::<u32>()) {
            ("MemoryMax", None, _) => self.text("memory", value, span),
            ("CPUQuota", Some(cpus), _) => self.set("cpus", Value::Number(cpus), span),
            ("TasksMax", None, Ok(pids)) => self.set("pids", Value::Number(pids.into()), span),
            _ => self.tell(span.start, format!("no option is {flag} of systemd-nspawn; ociConfig may say it")),
        }
    }

    /// `NAME=SOFT[:HARD]`, as RLIMIT_NOFILE (runtime-spec, config.md, "rlimits").
    fn rlimit(&mut self, flag: &str, value: &str, span: Range<usize>) {
        let number = |text: &str| match text {
            // The greatest number that Nix has, too.
            "infinity" => Some(i64::MAX),
            text => text.parse().ok(),
        };
        let (name, limits) = value.split_once('=').unwrap_or((value, ""));
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (Some(soft), Some(hard)) = (number(soft), number(hard)) else {
            return self.tell(span.start, format!("{flag}: give numbers, as in --rlimit=RLIMIT_NOFILE=1024:4096"));
        };
        let name = if name.starts_with("RLIMIT_") { name.to_owned() } else { format!("RLIMIT_{name}") };
        let members = vec![
            ("type", Value::String(name)),
            ("soft", Value::Number(soft.into())),
            ("hard", Value::Number(hard.into())),
        ];
        let node = Node { value: object(members, &span), span: Some(span.clone()) };
        self.oci(&["process", "rlimits"], Value::Array(vec![node]), span);
    }

    /// What `ociConfig` says at a place; lists grow.
    fn oci(&mut self, place: &[&str], value: Value, span: Range<usize>) {
        if !self.options.iter().any(|option| option.name == "ociConfig") {
            self.set("ociConfig", Value::Object(Vec::new()), span.clone());
        }
        let Some(option) = self.options.iter_mut().find(|option| option.name == "ociConfig") else { return };
        put(&mut option.node.value, place, value, &span);
    }
}

fn put(into: &mut Value, place: &[&str], value: Value, span: &Range<usize>) {
    match (into, place) {
        (Value::Array(items), []) => {
            if let Value::Array(more) = value {
                items.extend(more);
            }
        }
        (into, []) => *into = value,
        (Value::Object(members), [name, rest @ ..]) => {
            let at = members.iter().position(|member| member.name == *name).unwrap_or_else(|| {
                let empty = if rest.is_empty() { Value::Array(Vec::new()) } else { Value::Object(Vec::new()) };
                members.push(member(name, empty, span));
                members.len() - 1
            });
            match value {
                Value::Array(_) => put(&mut members[at].node.value, rest, value, span),
                value if rest.is_empty() => members[at].node.value = value,
                value => put(&mut members[at].node.value, rest, value, span),
            }
        }
        _ => {}
    }
}

fn member(name: &str, value: Value, span: &Range<usize>) -> Member {
    Member { name: name.into(), name_span: Some(span.clone()), node: Node { value, span: Some(span.clone()) } }
}

fn object(members: Vec<(&str, Value)>, span: &Range<usize>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| member(name, value, span)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    fn read(flags: &str) -> Result<serde_json::Value, String> {
        let document = super::super::read("w.conf", "w", format!("EXTRA_NSPAWN_FLAGS={flags}\n"));
        let told = |mistakes: Vec<_>| mistakes.iter().map(ToString::to_string).collect::<Vec<String>>().join("\n");
        document.map(|document| document.root.to_json()["containers"]["w"].clone()).map_err(told)
    }

    #[test]
    fn flags_are_what_options_mean() {
        for (flags, expected) in [
            ("-q --keep-unit --register=yes --settings=no --timezone=off -j --link-journal=try-guest", json!({})),
            (
                "-x --private-network --port=tcp:8080:80",
                json!({
                    "ephemeral": true, "privateNetwork": true,
                    "forwardPorts": [{"protocol": "tcp", "hostPort": 8080, "containerPort": 80}],
                }),
            ),
            (
                "--network-bridge=br0 --network-veth-extra=ve-x:back",
                json!({
                    "privateNetwork": true, "hostBridge": "br0", "extraVeths": {"back": {"hostInterface": "ve-x"}},
                }),
            ),
            (
                "--property=MemoryMax=1G --property=CPUQuota=150% --property=TasksMax=64",
                json!({
                    "memory": "1G", "cpus": 1.5, "pids": 64,
                }),
            ),
            (
                "--rlimit=RLIMIT_NOFILE=1024:4096 --rlimit=CORE=infinity --oom-score-adjust=-5 --no-new-privileges=yes \
                 --kill-signal=SIGTERM --cpu-affinity=0-3",
                json!({"ociConfig": {
                    "process": {
                        "rlimits": [
                            {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096},
                            {"type": "RLIMIT_CORE", "soft": i64::MAX, "hard": i64::MAX},
                        ],
                        "oomScoreAdj": -5, "noNewPrivileges": true,
                    },
                    "annotations": {"org.opencontainers.image.stopSignal": "SIGTERM"},
                    "linux": {"resources": {"cpu": {"cpus": "0-3"}}},
                }}),
            ),
        ] {
            assert_eq!(read(flags), Ok(expected), "{flags}");
        }
        for bad in ["--property=Slice=x", "--rlimit=NOFILE=many", "--register=no", "--property=CPUQuota=1"] {
            assert!(read(bad).unwrap_err().contains(bad.split('=').next().unwrap()), "{bad}");
        }
    }
}
