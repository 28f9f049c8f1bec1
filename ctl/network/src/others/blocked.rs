//! Which rules of others drop a container's packets: the chains that filter what is forwarded, read as the kernel
//! does. Where a rule asks what is not known of a packet it may match: told is only what is sure. Pure.

use super::ways::{addresses, link};
use firn_network::message::Network;
use serde_json::Value;
use std::collections::HashMap;
use std::net::IpAddr;

/// Jumps lead no further (nf_tables, NFT_JUMP_STACK_SIZE).
const DEEPEST: usize = 16;

/// What is known of a packet that is forwarded.
#[derive(Debug, Clone, Default)]
struct Packet<'a> {
    from: Option<&'a str>,
    to: Option<&'a str>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    service: Option<(&'a str, u16)>,
    is_v6: bool,
    is_known: bool,
    is_dnat: bool,
}

/// The rules of a host: what `nft -j list ruleset` prints, and `nft -a list ruleset`, which says more of iptables'.
#[derive(Debug)]
pub struct Rules<'a> {
    objects: &'a [Value],
    /// By family, table and handle.
    texts: HashMap<(&'a str, &'a str, u64), &'a str>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    GoesOn,
    Accepted,
    Dropped(String),
    /// That depends on what is not known.
    Open,
}

/// What a rule says at its end.
enum Verdict<'a> {
    None,
    Accept,
    Drop,
    Return,
    Jump(&'a str),
    Goto(&'a str),
    Open,
}

/// A line for each way of a network that is blocked.
pub fn find(network: &Network, rules: &Rules<'_>) -> Vec<String> {
    let mut ways: Vec<(String, Packet<'_>)> = Vec::new();
    for port in &network.ports {
        ways.push((
            format!("forwardPorts: what comes for {}/{} from other machines", port.host_port, port.protocol),
            Packet {
                to: link(network, port.address),
                destination: Some(port.address),
                service: Some((&port.protocol, port.port)),
                is_v6: port.address.is_ipv6(),
                is_dnat: true,
                ..Packet::default()
            },
        ));
    }
    for address in &network.masquerade {
        ways.push((
            format!("extra.enableWAN: what {address} sends to other machines"),
            Packet {
                from: link(network, *address),
                source: Some(*address),
                is_v6: address.is_ipv6(),
                ..Packet::default()
            },
        ));
    }
    for address in addresses(network) {
        let (is_v6, link, is_known) = (address.is_ipv6(), link(network, address), true);
        let known = Packet { is_v6, is_known, ..Packet::default() };
        let back = [
            Packet { from: link, source: Some(address), ..known.clone() },
            Packet { to: link, destination: Some(address), ..known },
        ];
        ways.extend(back.map(|packet| (format!("answers from and to {address}"), packet)));
    }
    let mut told: Vec<String> = Vec::new();
    for (what, packet) in ways {
        if let Some(rule) = rules.blocks(&packet) {
            let line = format!("{what}, is dropped by {rule}");
            if !told.contains(&line) {
                told.push(line);
            }
        }
    }
    told
}

impl<'a> Rules<'a> {
    pub fn new(listed: &'a Value, text: &'a str) -> Self {
        let mut texts = HashMap::new();
        let mut table = None;
        for line in text.lines() {
            let Some((words, handle)) = line.rsplit_once(" # handle ") else { continue };
            match words.strip_prefix("table ").and_then(|words| words.strip_suffix(" {")?.split_once(' ')) {
                Some(place) => table = Some(place),
                None => {
                    let key = table.zip(handle.trim().parse().ok());
                    texts.extend(key.map(|((family, name), handle)| ((family, name, handle), words.trim())));
                }
            }
        }
        Rules { objects: listed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default(), texts }
    }

    /// The first rule that drops it, in whatever table.
    fn blocks(&self, packet: &Packet<'_>) -> Option<String> {
        let chains = self.objects.iter().map(|object| &object["chain"]);
        let family = if packet.is_v6 { "ip6" } else { "ip" };
        let is_asked = |chain: &&Value| {
            chain["hook"] == "forward"
                && chain["type"] == "filter"
                && (chain["family"] == "inet" || chain["family"] == family)
        };
        chains.filter(is_asked).find_map(|chain| {
            let name = chain["name"].as_str()?;
            match self.walk(chain, name, packet, 0) {
                Fate::Dropped(rule) => Some(rule),
                Fate::GoesOn if chain["policy"] == "drop" => Some(format!("{}: policy drop", place(chain, name))),
                _ => None,
            }
        })
    }

    /// Through a chain of the table in which `base` is.
    fn walk(&self, base: &Value, name: &str, packet: &Packet<'_>, depth: usize) -> Fate {
        if depth > DEEPEST {
            return Fate::Open;
        }
        let is_here =
            |rule: &&Value| rule["family"] == base["family"] && rule["table"] == base["table"] && rule["chain"] == name;
        for rule in self.objects.iter().map(|object| &object["rule"]).filter(is_here) {
            let (matches, verdict) = self.read(rule, packet);
            if matches == Some(false) {
                continue;
            }
            let is_sure = matches == Some(true);
            let fate = match verdict {
                Verdict::None => continue,
                Verdict::Accept => Fate::Accepted,
                Verdict::Drop => Fate::Dropped(self.words(rule, name)),
                Verdict::Return if is_sure => return Fate::GoesOn,
                Verdict::Return | Verdict::Open => return Fate::Open,
                Verdict::Jump(to) => self.walk(base, to, packet, depth + 1),
                Verdict::Goto(to) => match self.walk(base, to, packet, depth + 1) {
                    Fate::GoesOn if is_sure => return Fate::GoesOn,
                    Fate::GoesOn => return Fate::Open,
                    fate => fate,
                },
            };
            match (fate, is_sure) {
                (Fate::GoesOn, _) | (Fate::Dropped(_), false) => {}
                (Fate::Accepted | Fate::Open, false) => return Fate::Open,
                (fate, true) => return fate,
            }
        }
        Fate::GoesOn
    }

    /// Whether a rule matches, as far as that is known, and what it says then.
    fn read<'r>(&self, rule: &'r Value, packet: &Packet<'_>) -> (Option<bool>, Verdict<'r>) {
        let mut matches = Some(true);
        let mut verdict = Verdict::None;
        for statement in rule["expr"].as_array().into_iter().flatten() {
            let Some((kind, value)) = statement.as_object().and_then(|object| object.iter().next()) else { continue };
            let target = || value["target"].as_str().unwrap_or_default();
            let holds = match kind.as_str() {
                "match" => packet.holds(value),
                "xt" if value["name"] == "comment" => Some(true),
                "xt" if value["name"] == "conntrack" => self.text(rule).and_then(|text| packet.holds_in_text(text)),
                "xt" if value["name"] == "REJECT" => {
                    verdict = Verdict::Drop;
                    Some(true)
                }
                "xt" if value["type"] == "target" => Some(true),
                "xt" | "limit" | "quota" | "ct count" => None,
                "accept" => {
                    verdict = Verdict::Accept;
                    Some(true)
                }
                "drop" | "reject" => {
                    verdict = Verdict::Drop;
                    Some(true)
                }
                "return" => {
                    verdict = Verdict::Return;
                    Some(true)
                }
                "jump" => {
                    verdict = Verdict::Jump(target());
                    Some(true)
                }
                "goto" => {
                    verdict = Verdict::Goto(target());
                    Some(true)
                }
                "vmap" | "queue" | "synproxy" => {
                    verdict = Verdict::Open;
                    None
                }
                _ => Some(true),
            };
            matches = and(matches, holds);
        }
        (matches, verdict)
    }

    fn text(&self, rule: &Value) -> Option<&'a str> {
        let key = (rule["family"].as_str()?, rule["table"].as_str()?, rule["handle"].as_u64()?);
        self.texts.iter().find(|(known, _)| **known == key).map(|(_, text)| *text)
    }

    fn words(&self, rule: &Value, chain: &str) -> String {
        let rule_words = self.text(rule).map_or_else(|| format!("rule {}", rule["handle"]), str::to_owned);
        format!("{}: {rule_words}", place(rule, chain))
    }
}

fn place(object: &Value, chain: &str) -> String {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    format!("table {} {}, chain {chain}", text("family"), text("table"))
}

/// Of what is known, or not.
fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

impl Packet<'_> {
    /// Whether a match of nft's JSON holds (libnftables-json(5), MATCH).
    fn holds(&self, condition: &Value) -> Option<bool> {
        let (left, right) = (&condition["left"], &condition["right"]);
        let alternatives: Vec<&Value> = match right {
            Value::Array(values) => values.iter().collect(),
            right => match &right["set"] {
                Value::Array(values) => values.iter().collect(),
                _ => vec![right],
            },
        };
        let mut holds = Some(false);
        for value in alternatives {
            match self.is(left, value) {
                Some(true) => holds = Some(true),
                None if holds != Some(true) => holds = None,
                _ => {}
            }
        }
        match condition["op"].as_str() {
            Some("==" | "in") => holds,
            Some("!=") => holds.map(|holds| !holds),
            _ => None,
        }
    }

    fn is(&self, left: &Value, value: &Value) -> Option<bool> {
        if let Some(key) = left["meta"]["key"].as_str() {
            return match key {
                "iifname" | "iif" => is_link(self.from, value.as_str()?),
                "oifname" | "oif" => is_link(self.to, value.as_str()?),
                "nfproto" => Some(value == if self.is_v6 { "ipv6" } else { "ipv4" }),
                "l4proto" => Some(self.service?.0 == value.as_str()?),
                _ => None,
            };
        }
        match (left["ct"]["key"].as_str(), value.as_str()) {
            (Some("state"), Some(state)) => return self.is_state(state),
            (Some("status"), Some("dnat")) if !self.is_known => return Some(self.is_dnat),
            _ => {}
        }
        let payload = &left["payload"];
        match (payload["protocol"].as_str()?, payload["field"].as_str()?) {
            (family @ ("ip" | "ip6"), _) if self.is_v6 != (family == "ip6") => Some(false),
            ("ip" | "ip6", "saddr") => is_address(self.source?, value),
            ("ip" | "ip6", "daddr") => is_address(self.destination?, value),
            ("ip", "protocol") | ("ip6", "nexthdr") => Some(self.service?.0 == value.as_str()?),
            (protocol, "dport") => {
                let (own, port) = self.service?;
                Some((protocol == own || protocol == "th") && is_port(port, value)?)
            }
            _ => None,
        }
    }

    fn is_state(&self, state: &str) -> Option<bool> {
        Some(match state {
            "new" => !self.is_known,
            "established" => self.is_known,
            "related" | "invalid" | "untracked" => false,
            _ => return None,
        })
    }

    /// By the words of a rule of iptables.
    fn holds_in_text(&self, text: &str) -> Option<bool> {
        let after = |key: &str| text.split_once(key).map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
        match (after("ct state "), after("ct status ")) {
            (Some(states), None) => states.split(',').try_fold(false, |any, state| Some(any || self.is_state(state)?)),
            (None, Some("dnat")) if !self.is_known => Some(self.is_dnat),
            _ => None,
        }
    }
}

/// Other machines are not behind the bridges and links on which programs keep containers and guests.
const OF_GUESTS: [&str; 9] = ["lo", "docker", "br-", "podman", "cni", "lxc", "lxdbr", "virbr", "ve-"];

fn is_link(link: Option<&str>, name: &str) -> Option<bool> {
    match (link, name.strip_suffix('*')) {
        (None, _) if OF_GUESTS.iter().any(|guests| name.starts_with(guests)) => Some(false),
        (Some(link), None) => Some(link == name),
        (Some(link), Some(beginning)) => Some(link.starts_with(beginning)),
        (None, _) => None,
    }
}

fn is_address(address: IpAddr, value: &Value) -> Option<bool> {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let (own, width) = bits(address);
    let (text, length) = match value {
        Value::String(text) => (text.as_str(), width),
        value => (value["prefix"]["addr"].as_str()?, u32::try_from(value["prefix"]["len"].as_u64()?).ok()?),
    };
    let (other, other_width) = bits(text.parse().ok()?);
    let shift = width.checked_sub(length)?;
    Some(width == other_width && own.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0))
}

fn is_port(port: u16, value: &Value) -> Option<bool> {
    match value {
        Value::Number(number) => Some(number.as_u64()? == u64::from(port)),
        value => {
            let ends = value["range"].as_array()?;
            Some((ends.first()?.as_u64()?..=ends.get(1)?.as_u64()?).contains(&u64::from(port)))
        }
    }
}
