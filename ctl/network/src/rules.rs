//! The nftables rules of all containers: one table with maps, so that a packet's way does not grow with
//! their number. Pure.
//!
//! ```text
//! prerouting, output (dstnat): port of the host ─ maps address4, port4, … ─ dnat into the container
//! postrouting (srcnat): masquerade of the host's 127.0.0.1, of a container at another's forwarded port, of enableWAN
//! output: what a process passes on from 127.0.0.1 stays as it is
//! raw: what comes over a link has no business with 127.0.0.0/8
//! ```
//!
//! nftables of Debian 12 reads no map to an address with a port from JSON, hence two maps a family.

pub mod inside;
mod words;

use firn_network::message::{Network, Port};
use nftables::expr::{CT, Expression, Fib, FibFlag, FibResult, Map as Lookup, MetaKey, NamedExpression};
use nftables::schema::{Chain, Element, FlushObject, NfCmd, NfListObject, NfObject, Nftables, Rule, SetType, Table};
use nftables::stmt::{Drop, NAT, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use std::borrow::Cow;
use std::collections::HashSet;
use words::{V4, V6, family, header, loopback, map, matches, meta, payload, set, text};

/// A map or set, and an element of it.
type Member = (String, Expression<'static>);

/// The names of the links over which the host's 127.0.0.1 reaches a container.
const LINKS: &str = "route_localnet";

/// Ports of 127.0.0.1 that a process passes on.
const PROXIED: &str = "proxied";

/// Whether a container needs the table.
pub fn are_needed(network: &Network) -> bool {
    !network.ports.is_empty() || !network.masquerade.is_empty()
}

/// Changes a container's elements from those of `before` to those of `new`; the table is made where there is
/// none.
pub fn changed(before: &[Network], new: &Network) -> Nftables<'static> {
    let old: Vec<Member> = before.iter().flat_map(elements).collect();
    let new_ones = elements(new);
    let only = |these: &[Member], others: &[Member]| {
        these.iter().filter(|one| !others.contains(one)).cloned().collect::<Vec<_>>()
    };
    let (gone, come) = (only(&old, &new_ones), only(&new_ones, &old));
    let removal = removals(&new.table, &gone);
    commands(frame(&new.table).into_iter().chain(removal).chain(commands_for(&new.table, &come, NfCmd::Add)))
}

/// Removes the elements of a container's networks, also where some of them are not there; the table with the
/// last.
pub fn removed(table_name: &str, networks: &[Network], is_last: bool) -> Nftables<'static> {
    if is_last {
        // What is deleted must be there.
        return commands([NfCmd::Add(table(table_name)), NfCmd::Delete(table(table_name))]);
    }
    let all: Vec<Member> = networks.iter().flat_map(elements).collect();
    commands(frame(table_name).into_iter().chain(removals(table_name, &all)))
}

/// What is deleted must be there, once.
fn removals(table: &str, members: &[Member]) -> Vec<NfCmd<'static>> {
    let mut once: Vec<Member> = Vec::new();
    for member in members {
        if !once.contains(member) {
            once.push(member.clone());
        }
    }
    [commands_for(table, &once, NfCmd::Add), commands_for(table, &once, NfCmd::Delete)].concat()
}

fn commands(all: impl IntoIterator<Item = NfCmd<'static>>) -> Nftables<'static> {
    Nftables { objects: all.into_iter().map(NfObject::CmdObject).collect() }
}

fn table(name: &str) -> NfListObject<'static> {
    NfListObject::Table(Table { family: NfFamily::INet, name: name.to_owned().into(), handle: None })
}

/// The table with its maps and chains; said again it changes nothing.
fn frame(name: &str) -> Vec<NfCmd<'static>> {
    let mut all = vec![NfCmd::Add(table(name))];
    for family in [V4, V6] {
        let any = [SetType::InetProto, SetType::InetService];
        let one = [family.address, SetType::InetProto, SetType::InetService];
        for (kind, key) in [("", &any[..]), ("-at", &one[..])] {
            all.push(NfCmd::Add(map(name, format!("address{kind}{}", family.digit), key, family.address)));
            all.push(NfCmd::Add(map(name, format!("port{kind}{}", family.digit), key, SetType::InetService)));
        }
        all.push(NfCmd::Add(set(name, format!("targets{}", family.digit), &[family.address])));
        all.push(NfCmd::Add(set(name, format!("masquerade{}", family.digit), &[family.address])));
    }
    all.push(NfCmd::Add(set(name, LINKS.into(), &[SetType::Ifname])));
    all.push(NfCmd::Add(set(name, PROXIED.into(), &[SetType::InetProto, SetType::InetService])));
    for (chain, kind, hook, priority, rules) in [
        ("prerouting", NfChainType::NAT, NfHook::Prerouting, -100, to_container()),
        ("output", NfChainType::NAT, NfHook::Output, -100, [vec![proxied()], to_container()].concat()),
        ("postrouting", NfChainType::NAT, NfHook::Postrouting, 100, from_container()),
        ("raw", NfChainType::Filter, NfHook::Prerouting, -300, vec![no_loopback()]),
    ] {
        all.extend(chain_with(name, chain, (kind, hook, priority), rules));
    }
    all
}

/// A base chain, and what is in it alone.
fn chain_with(
    table: &str,
    name: &'static str,
    (kind, hook, priority): (NfChainType, NfHook, i32),
    rules: Vec<Vec<Statement<'static>>>,
) -> Vec<NfCmd<'static>> {
    let object = Chain {
        family: NfFamily::INet,
        table: table.to_owned().into(),
        name: name.into(),
        _type: Some(kind),
        hook: Some(hook),
        prio: Some(priority),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    };
    let rule = |expr| {
        NfCmd::Add(NfListObject::Rule(Rule {
            family: NfFamily::INet,
            table: table.to_owned().into(),
            chain: name.into(),
            expr: Cow::Owned(expr),
            ..Rule::default()
        }))
    };
    let both = [NfCmd::Add(NfListObject::Chain(object.clone())), NfCmd::Flush(FlushObject::Chain(object))];
    both.into_iter().chain(rules.into_iter().map(rule)).collect()
}

/// What a process passes on is left to it.
fn proxied() -> Vec<Statement<'static>> {
    let service = NamedExpression::Concat(vec![meta(MetaKey::L4proto), payload("th", "dport")]);
    vec![
        matches(header(V4, "daddr"), Operator::EQ, loopback(V4)),
        matches(Expression::Named(service), Operator::EQ, Expression::String(format!("@{PROXIED}").into())),
        Statement::Return(None),
    ]
}

/// A port of the host's leads into its container. `::1` can't be the source of what leaves the host.
fn to_container() -> Vec<Vec<Statement<'static>>> {
    let rules = [V4, V6].map(|family| {
        let field = |field| header(family, field);
        let service = || [meta(MetaKey::L4proto), payload("th", "dport")];
        let not_loopback = (family.digit == '6')
            .then(|| matches(field("daddr"), Operator::NEQ, Expression::String(family.loopback.0.into())));
        let fib = Fib { result: FibResult::Type, flags: HashSet::from([FibFlag::Daddr]) };
        let is_local =
            matches(Expression::Named(NamedExpression::Fib(fib)), Operator::EQ, Expression::String("local".into()));
        let look_up = |kind: &str, key: Vec<Expression<'static>>| {
            let map = |what: &str| {
                let key = Expression::Named(NamedExpression::Concat(key.clone()));
                let data = Expression::String(format!("@{what}{kind}{}", family.digit).into());
                Expression::Named(NamedExpression::Map(Box::new(Lookup { key, data })))
            };
            Statement::DNAT(Some(NAT {
                addr: Some(map("address")),
                family: Some(family.nat),
                port: Some(map("port")),
                flags: None,
            }))
        };
        let one = [vec![field("daddr")], service().to_vec()].concat();
        let any = service().to_vec();
        [
            not_loopback.clone().into_iter().chain([look_up("-at", one)]).collect(),
            not_loopback.into_iter().chain([is_local, look_up("", any)]).collect(),
        ]
    });
    rules.into_iter().flatten().collect()
}

/// Answers must come back the way the request has gone.
fn from_container() -> Vec<Vec<Statement<'static>>> {
    let masquerade = || Statement::Masquerade(None);
    let status = CT { key: "status".into(), family: None, dir: None };
    let is_dnat = || {
        let status = Expression::Named(NamedExpression::CT(status.clone()));
        matches(status, Operator::IN, Expression::String("dnat".into()))
    };
    let to_link = matches(meta(MetaKey::Oifname), Operator::EQ, Expression::String(format!("@{LINKS}").into()));
    let from_loopback = matches(header(V4, "saddr"), Operator::EQ, loopback(V4));
    let mut rules = vec![vec![from_loopback, to_link, is_dnat(), masquerade()]];
    for family in [V4, V6] {
        let one_of = |field, set: &str| {
            let set = Expression::String(format!("@{set}{}", family.digit).into());
            matches(header(family, field), Operator::EQ, set)
        };
        rules.push(vec![one_of("saddr", "targets"), one_of("daddr", "targets"), is_dnat(), masquerade()]);
        rules.push(vec![one_of("saddr", "masquerade"), masquerade()]);
    }
    rules
}

/// With `route_localnet` the kernel would take it (ip-sysctl, route_localnet).
fn no_loopback() -> Vec<Statement<'static>> {
    vec![
        matches(meta(MetaKey::Iifname), Operator::EQ, Expression::String(format!("@{LINKS}").into())),
        matches(header(V4, "daddr"), Operator::EQ, loopback(V4)),
        Statement::Drop(Some(Drop {})),
    ]
}

/// What a container has in the maps and sets.
fn elements(network: &Network) -> Vec<Member> {
    let mut all: Vec<Member> = Vec::new();
    for port in &network.ports {
        all.extend(port_elements(port));
    }
    for address in &network.masquerade {
        all.push((format!("masquerade{}", family(*address).digit), text(address)));
    }
    for proxy in network.proxies.iter().filter(|proxy| proxy.listen.is_ipv4()) {
        let service = vec![text(&proxy.protocol), Expression::Number(proxy.listen.port().into())];
        all.push((PROXIED.to_owned(), Expression::Named(NamedExpression::Concat(service))));
    }
    let links = network.veths.iter().filter(|veth| veth.reaches_localhost);
    all.extend(links.map(|veth| (LINKS.to_owned(), text(&veth.host.name))));
    // Two ports that lead to one address have one target.
    let mut told: Vec<Member> = Vec::new();
    for element in all {
        if !told.contains(&element) {
            told.push(element);
        }
    }
    told
}

fn commands_for(
    table: &str,
    elements: &[Member],
    command: impl Fn(NfListObject<'static>) -> NfCmd<'static>,
) -> Vec<NfCmd<'static>> {
    let object = |(name, element): &Member| {
        NfListObject::Element(Element {
            family: NfFamily::INet,
            table: table.to_owned().into(),
            name: name.clone().into(),
            elem: Cow::Owned(vec![element.clone()]),
        })
    };
    elements.iter().map(|element| command(object(element))).collect()
}

fn port_elements(port: &Port) -> Vec<Member> {
    let digit = family(port.address).digit;
    let service = [text(&port.protocol), Expression::Number(port.host_port.into())];
    let (kind, key) = match port.host_address {
        Some(address) => ("-at", [vec![text(&address)], service.to_vec()].concat()),
        None => ("", service.to_vec()),
    };
    let element = |value| Expression::List(vec![Expression::Named(NamedExpression::Concat(key.clone())), value]);
    vec![
        (format!("address{kind}{digit}"), element(text(&port.address))),
        (format!("port{kind}{digit}"), element(Expression::Number(port.port.into()))),
        (format!("targets{digit}"), text(&port.address)),
    ]
}
