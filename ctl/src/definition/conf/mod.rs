//! `/etc/nixos-containers/NAME.conf` (and `/etc/containers/NAME.conf`, where it was before) as a document:
//! what `nixos-container create` and NixOS's module write for their unit's EnvironmentFile=. Each variable
//! and each flag of systemd-nspawn(1) becomes the option that means it.

mod nspawn;

use super::document::{Document, Member, Node, Value};
use super::mistake::{Mistake, hint};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// `NAME.conf` defines container NAME.
pub fn read(origin: &str, name: &str, text: String) -> Result<Document, Vec<Mistake>> {
    let mut conf = Conf { origin, text: &text, options: Vec::new(), mistakes: Vec::new() };
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        conf.line(line.trim_end(), offset);
        offset += line.len();
    }
    let Conf { mut options, mistakes, .. } = conf;
    // It was built of the flake already.
    if options.iter().any(|option| option.name == "path") {
        options.retain(|option| option.name != "flake");
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let object = |name: &str, node| Value::Object(vec![Member { name: name.into(), name_span: None, node }]);
    let container = Node { value: Value::Object(options), span: Some(0..0) };
    let containers = Node { value: object(name, container), span: Some(0..0) };
    let root = Node { value: object("containers", containers), span: Some(0..0) };
    Ok(Document { origin: origin.to_owned(), text, root })
}

/// Files of the directory that are others'.
const NO_CONTAINERS: [&str; 3] = ["libpod.conf", "containers.conf", "registries.conf"];

/// Every `NAME.conf` of a directory.
pub fn read_all(origin: &str, directory: &Path) -> Result<Document, Vec<Mistake>> {
    let mut members = Vec::new();
    let mut mistakes = Vec::new();
    for (path, name) in names(directory) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        match read(&path.display().to_string(), &name, text) {
            Ok(document) => match &document.root.to_json()["containers"][&name] {
                serde_json::Value::Null => {}
                container => members.push((name, container.clone())),
            },
            Err(found) => mistakes.extend(found),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let containers: serde_json::Map<_, _> = members.into_iter().collect();
    let root = Node::from_json(serde_json::json!({ "containers": containers }));
    Ok(Document { origin: origin.to_owned(), text: String::new(), root })
}

/// The files of containers in a directory, with the containers' names, sorted.
pub fn names(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_own = |path: &PathBuf| !NO_CONTAINERS.iter().any(|name| path.ends_with(name));
    let confs = entries.filter(|path| path.extension().is_some_and(|ending| ending == "conf")).filter(is_own);
    let mut names: Vec<_> =
        confs.filter_map(|path| Some((path.clone(), path.file_stem()?.to_str()?.to_owned()))).collect();
    names.sort();
    names
}

const VARIABLES: [&str; 16] = [
    "SYSTEM_PATH",
    "FLAKE",
    "PRIVATE_NETWORK",
    "HOST_BRIDGE",
    "HOST_PORT",
    "HOST_ADDRESS",
    "LOCAL_ADDRESS",
    "HOST_ADDRESS6",
    "LOCAL_ADDRESS6",
    "LOCAL_MAC_ADDRESS",
    "INTERFACES",
    "MACVLANS",
    "NETWORK_NAMESPACE_PATH",
    "AUTO_START",
    "PRIVATE_USERS",
    "EXTRA_NSPAWN_FLAGS",
];

/// The options so far.
struct Conf<'a> {
    origin: &'a str,
    text: &'a str,
    options: Vec<Member>,
    mistakes: Vec<Mistake>,
}

impl Conf<'_> {
    fn line(&mut self, line: &str, offset: usize) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            return;
        }
        let Some((name, value)) = line.split_once('=') else {
            return self.tell(offset, "is no VARIABLE=VALUE");
        };
        let span = offset..offset + line.len();
        let value = unquoted(value);
        match name.trim() {
            _ if value.is_empty() => {}
            "SYSTEM_PATH" => self.text("path", value, span),
            "FLAKE" => self.text("flake", value, span),
            "PRIVATE_NETWORK" => self.flag("privateNetwork", value, span),
            "HOST_BRIDGE" => self.text("hostBridge", value, span),
            "HOST_ADDRESS" => self.text("hostAddress", value, span),
            "LOCAL_ADDRESS" => self.text("localAddress", value, span),
            "HOST_ADDRESS6" => self.text("hostAddress6", value, span),
            "LOCAL_ADDRESS6" => self.text("localAddress6", value, span),
            "LOCAL_MAC_ADDRESS" => self.text("localMacAddress", value, span),
            "NETWORK_NAMESPACE_PATH" => self.text("networkNamespace", value, span),
            "AUTO_START" => self.flag("autoStart", value, span),
            "PRIVATE_USERS" => self.users(value, span),
            "INTERFACES" => value.split_whitespace().for_each(|word| self.item("interfaces", word, span.clone())),
            "MACVLANS" => value.split_whitespace().for_each(|word| self.item("macvlans", word, span.clone())),
            "HOST_PORT" => value.split(',').for_each(|port| self.port(port, span.clone())),
            "EXTRA_NSPAWN_FLAGS" => value.split_whitespace().for_each(|flag| self.nspawn(flag, span.clone())),
            other => self.tell(offset, format!("no such variable: {other}{}", hint(other, VARIABLES))),
        }
    }

    fn tell(&mut self, offset: usize, message: impl Into<String>) {
        self.mistakes.push(Mistake::of_text(self.origin, self.text, offset, message));
    }

    fn set(&mut self, name: &str, value: Value, span: Range<usize>) {
        self.options.retain(|option| option.name != name);
        let node = Node { value, span: Some(span.clone()) };
        self.options.push(Member { name: name.into(), name_span: Some(span), node });
    }

    fn text(&mut self, name: &str, value: &str, span: Range<usize>) {
        self.set(name, Value::String(value.into()), span);
    }

    fn flag(&mut self, name: &str, value: &str, span: Range<usize>) {
        match value {
            "0" | "false" | "no" => {}
            "1" | "true" | "yes" => self.set(name, Value::Bool(true), span),
            _ => self.tell(span.start, format!("{value:?} is neither 1 nor 0")),
        }
    }

    fn users(&mut self, value: &str, span: Range<usize>) {
        match value.split(':').next().and_then(|first| first.parse::<u32>().ok()) {
            Some(first) => self.set("privateUsers", Value::Number(first.into()), span),
            None => self.text("privateUsers", value, span),
        }
    }

    /// Another item of a list.
    fn item(&mut self, name: &str, value: &str, span: Range<usize>) {
        self.push(name, Node { value: Value::String(value.into()), span: Some(span) });
    }

    fn push(&mut self, name: &str, node: Node) {
        let at = self.options.iter().position(|option| option.name == name);
        let at = at.unwrap_or_else(|| {
            self.set(name, Value::Array(Vec::new()), node.span.clone().unwrap_or_default());
            self.options.len() - 1
        });
        if let Value::Array(items) = &mut self.options[at].node.value {
            items.push(node);
        }
    }

    /// Another entry of a table.
    fn entry(&mut self, name: &str, key: &str, value: Value, span: Range<usize>) {
        let at = self.options.iter().position(|option| option.name == name);
        let at = at.unwrap_or_else(|| {
            self.set(name, Value::Object(Vec::new()), span.clone());
            self.options.len() - 1
        });
        if let Value::Object(members) = &mut self.options[at].node.value {
            members.retain(|member| member.name != key);
            let node = Node { value, span: Some(span.clone()) };
            members.push(Member { name: key.into(), name_span: Some(span), node });
        }
    }

    /// `PROTOCOL:HOST:CONTAINER`, with the first and the last left out where they are usual.
    fn port(&mut self, text: &str, span: Range<usize>) {
        let words: Vec<&str> = text.split(':').collect();
        let (protocol, ports) = match words.as_slice() {
            [protocol @ ("tcp" | "udp" | "sctp"), ports @ ..] => (*protocol, ports),
            ports => ("tcp", ports),
        };
        let numbers: Option<Vec<u16>> = ports.iter().map(|port| port.parse().ok()).collect();
        let Some([host, rest @ ..]) = numbers.as_deref().filter(|numbers| numbers.len() <= 2) else {
            return self.tell(span.start, format!("{text:?} is no port as in tcp:8080:80"));
        };
        let mut members =
            vec![("protocol", Value::String(protocol.into())), ("hostPort", Value::Number((*host).into()))];
        members.extend(rest.first().map(|port| ("containerPort", Value::Number((*port).into()))));
        let member = |(name, value): (&str, Value)| Member {
            name: name.into(),
            name_span: Some(span.clone()),
            node: Node { value, span: Some(span.clone()) },
        };
        let value = Value::Object(members.into_iter().map(member).collect());
        self.push("forwardPorts", Node { value, span: Some(span.clone()) });
    }
}

/// As systemd reads an EnvironmentFile= (systemd.exec(5)).
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nixos_container_writes_is_read() {
        let text = "PRIVATE_NETWORK=1\nHOST_ADDRESS=10.233.1.1\nLOCAL_ADDRESS=10.233.1.2\nHOST_BRIDGE=\nHOST_PORT=\n\
                    AUTO_START=1\nSYSTEM_PATH=/nix/var/nix/profiles/per-container/web/system\n";
        let document = read("web.conf", "web", text.into()).unwrap();
        assert_eq!(
            document.root.to_json(),
            json!({"containers": {"web": {
                "privateNetwork": true, "hostAddress": "10.233.1.1", "localAddress": "10.233.1.2", "autoStart": true,
                "path": "/nix/var/nix/profiles/per-container/web/system",
            }}})
        );
    }

    #[test]
    fn flags_are_options() {
        let text = "# made by NixOS\nHOST_PORT=tcp:8080:80,udp:53,443\nINTERFACES=eth1 eth2\nPRIVATE_USERS=pick\n\
            EXTRA_NSPAWN_FLAGS=\"--bind=/a:/b:idmap --bind-ro=/c --capability=CAP_A,CAP_B --setenv=X=y=z --tmpfs=/t:size=1m \
            --private-users=65536:65536 --load-credential=id:/f --notify-ready=no --resolv-conf=off --hostname=h\"\n";
        let document = read("w.conf", "w", text.into()).unwrap();
        assert_eq!(
            document.root.to_json()["containers"]["w"],
            json!({
                "forwardPorts": [
                    {"protocol": "tcp", "hostPort": 8080, "containerPort": 80},
                    {"protocol": "udp", "hostPort": 53}, {"protocol": "tcp", "hostPort": 443},
                ],
                "interfaces": ["eth1", "eth2"],
                "bindMounts": {
                    "/b": {"hostPath": "/a", "isReadOnly": false, "idmap": "idmap"},
                    "/c": {"hostPath": "/c", "isReadOnly": true},
                },
                "additionalCapabilities": ["CAP_A", "CAP_B"], "environment": {"X": "y=z"}, "tmpfs": ["/t:size=1m"],
                "privateUsers": 65536, "credentials": {"id": "/f"}, "notify": false, "copyResolvConf": false,
                "hostname": "h",
            })
        );
    }

    #[test]
    fn every_mistake_has_its_line() {
        let text =
            "HOST_ADRESS=1\nnonsense\nAUTO_START=maybe\nHOST_PORT=x\nEXTRA_NSPAWN_FLAGS=--volatile=overlay --bnd=/x\n";
        let mistakes = read("w.conf", "w", text.into()).unwrap_err();
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "w.conf:1:1: no such variable: HOST_ADRESS; did you mean HOST_ADDRESS?",
                "w.conf:2:1: is no VARIABLE=VALUE",
                "w.conf:3:1: \"maybe\" is neither 1 nor 0",
                "w.conf:4:1: \"x\" is no port as in tcp:8080:80",
                "w.conf:5:1: no option is --volatile of systemd-nspawn; ociConfig may say it",
                "w.conf:5:1: no option is --bnd of systemd-nspawn; did you mean --bind?; ociConfig may say it",
            ]
        );
    }
}
