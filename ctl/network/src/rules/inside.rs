//! Rules in a container's own network namespace. Pure.

use super::words::{V4, family, header, loopback, matches, meta, text};
use super::{chain_with, commands, table};
use nftables::expr::{Expression, MetaKey, NamedExpression, Socket};
use nftables::schema::{NfCmd, NfListObject, Nftables, Rule};
use nftables::stmt::{Accept, Counter, Drop, NAT, Operator, Statement};
use nftables::types::{NfChainType, NfFamily, NfHook};
use serde_json::Value;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

/// The table inside, which is firn's.
const TABLE: &str = "firn-localhost";

/// What comes over `link` for `address` and reaches no socket there goes to 127.0.0.1; nothing else that comes
/// over it does. `None`: not any more.
pub fn exposing_localhost(link: &str, address: Option<Ipv4Addr>) -> Nftables<'static> {
    // What is deleted must be there.
    let mut all = vec![NfCmd::Add(table(TABLE)), NfCmd::Delete(table(TABLE))];
    let Some(address) = address else { return commands(all) };
    let comes_in = || matches(meta(MetaKey::Iifname), Operator::EQ, text(&link));
    let is_tcp = || matches(meta(MetaKey::L4proto), Operator::EQ, text(&"tcp"));
    let to_address = || matches(header(V4, "daddr"), Operator::EQ, text(&address));
    // A packet that has no socket ends the rule (nft(8), SOCKET EXPRESSION).
    let has_socket = |is_wildcard: u32| {
        let socket = Expression::Named(NamedExpression::Socket(Socket::default()));
        matches(socket, Operator::EQ, Expression::Number(is_wildcard))
    };
    let stays =
        |is_wildcard| vec![comes_in(), to_address(), is_tcp(), has_socket(is_wildcard), Statement::Return(None)];
    let localhost = Statement::DNAT(Some(NAT {
        addr: Some(text(&Ipv4Addr::LOCALHOST)),
        family: Some(V4.nat),
        port: None,
        flags: None,
    }));
    let nat = vec![stays(0), stays(1), vec![comes_in(), to_address(), is_tcp(), localhost]];
    let raw = vec![vec![
        comes_in(),
        matches(header(V4, "daddr"), Operator::EQ, loopback(V4)),
        Statement::Drop(Some(Drop {})),
    ]];
    all.push(NfCmd::Add(table(TABLE)));
    all.extend(chain_with(TABLE, "prerouting", (NfChainType::NAT, NfHook::Prerouting, -100), nat));
    all.extend(chain_with(TABLE, "raw", (NfChainType::Filter, NfHook::Prerouting, -300), raw));
    commands(all)
}

/// A chain in which a firewall decides what comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputChain {
    pub family: String,
    pub table: String,
    pub name: String,
}

/// Those of what `nft -j list chains` prints.
pub fn input_chains(listed: &Value) -> Vec<InputChain> {
    let objects = listed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let chains = objects.iter().map(|object| &object["chain"]);
    let is_input = |chain: &&Value| chain["hook"] == "input" && chain["type"] == "filter";
    let parse = |chain: &Value| {
        let text = |key: &str| chain[key].as_str().map(str::to_owned);
        Some(InputChain { family: text("family")?, table: text("table")?, name: text("name")? })
    };
    chains.filter(is_input).filter_map(parse).collect()
}

/// The rules that let what comes from `addresses` through a chain, for those that it lacks by what
/// `nft -j list chain` prints; `None`: it lacks none.
pub fn admitting(chain: &InputChain, addresses: &[IpAddr], listed: &Value) -> Option<Nftables<'static>> {
    let kind = match &*chain.family {
        "ip" => NfFamily::IP,
        "ip6" => NfFamily::IP6,
        "inet" => NfFamily::INet,
        _ => return None,
    };
    let fits = |address: &&IpAddr| match kind {
        NfFamily::IP => address.is_ipv4(),
        NfFamily::IP6 => address.is_ipv6(),
        _ => true,
    };
    let objects = listed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has = |comment: &str| objects.iter().any(|object| object["rule"]["comment"] == *comment);
    let insert = |address: &IpAddr| {
        let comment = format!("firn: firewallAllowHost {address}");
        let from_host = matches(header(family(*address), "saddr"), Operator::EQ, text(address));
        (!has(&comment)).then(|| {
            NfCmd::Insert(NfListObject::Rule(Rule {
                family: kind,
                table: chain.table.clone().into(),
                chain: chain.name.clone().into(),
                expr: Cow::Owned(vec![
                    from_host,
                    Statement::Counter(Counter::Anonymous(None)),
                    Statement::Accept(Some(Accept {})),
                ]),
                comment: Some(comment.into()),
                ..Rule::default()
            }))
        })
    };
    let missing: Vec<NfCmd<'static>> = addresses.iter().filter(fits).filter_map(insert).collect();
    (!missing.is_empty()).then(|| commands(missing))
}
