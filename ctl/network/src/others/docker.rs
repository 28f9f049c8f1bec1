//! The chain DOCKER-USER, which Docker keeps for rules of others and asks before its own, which drop what is
//! forwarded for anyone else (docs.docker.com, "Packet filtering and firewalls"). It is iptables', with whose
//! program it is changed: others of its rules are read by that alone.

use super::ways::{addresses, link};
use crate::nft::has_chain;
use anyhow::{Context, Result, bail};
use firn_network::message::Network;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

const CHAIN: &str = "DOCKER-USER";
/// Docker's bridges, by the names that it gives them.
const BRIDGES: [&str; 2] = ["docker0", "br-+"];

/// A rule of iptables, and whether it is of ip6tables.
pub type Rule = (bool, String);

/// What a container needs, in order.
pub fn rules(network: &Network) -> Vec<Rule> {
    let mut all = Vec::new();
    let is_v6 = |address: &IpAddr| address.is_ipv6();
    for address in &network.masquerade {
        // Not what Docker guards: it goes the way of all that comes to Docker's containers.
        let guarded = link(network, *address).into_iter().flat_map(|link| BRIDGES.map(|bridge| (link, bridge)));
        all.extend(guarded.map(|(link, bridge)| {
            (is_v6(address), format!("-i {link} -s {address} -o {bridge} -m conntrack --ctstate NEW -j RETURN"))
        }));
        all.push((is_v6(address), format!("-s {address} -j ACCEPT")));
    }
    for port in &network.ports {
        let (address, protocol, number) = (port.address, &port.protocol, port.port);
        let to_port = format!("-d {address} -p {protocol} --dport {number} -m conntrack --ctstate DNAT -j ACCEPT");
        all.push((is_v6(&address), to_port));
    }
    for address in addresses(network) {
        for side in ["-s", "-d"] {
            let known = format!("{side} {address} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
            all.push((is_v6(&address), known));
        }
    }
    all
}

/// Replaces a container's rules by these, where there is the chain. Those that are there are known by their
/// comment, also those that a killed process has left.
pub fn set(table: &str, container: &str, rules: &[Rule]) -> Result<()> {
    let comment = format!("{table} {container}");
    for is_v6 in [false, true] {
        if !is_there(is_v6)? {
            continue;
        }
        let own: Vec<&str> = rules.iter().filter(|(v6, _)| *v6 == is_v6).map(|(_, rule)| rule.as_str()).collect();
        let present = present(is_v6, &comment)?;
        let mut text = String::from("*filter\n");
        for rule in &present {
            text += &format!("-D {rule}\n");
        }
        // Each is put first.
        for rule in own.iter().rev() {
            let (matches, verdict) = rule.rsplit_once(" -j ").unwrap_or((rule, "RETURN"));
            text += &format!("-I {CHAIN} {matches} -m comment --comment \"{comment}\" -j {verdict}\n");
        }
        if !(present.is_empty() && own.is_empty()) {
            restore(is_v6, &format!("{text}COMMIT\n"))?;
        }
    }
    Ok(())
}

/// Without a program, which takes longer than all else; but tables of iptables' older kind only that can list.
fn is_there(is_v6: bool) -> Result<bool> {
    let legacy = if is_v6 { "/proc/self/net/ip6_tables_names" } else { "/proc/self/net/ip_tables_names" };
    let is_legacy = || std::fs::read_to_string(legacy).is_ok_and(|names| names.lines().any(|name| name == "filter"));
    Ok(has_chain(is_v6, "filter", CHAIN)? || is_legacy() && list(is_v6)?.status.success())
}

fn program(is_v6: bool, ending: &str) -> String {
    format!("{}{ending}", if is_v6 { "ip6tables" } else { "iptables" })
}

fn list(is_v6: bool) -> Result<Output> {
    let program = program(is_v6, "");
    let mut command = Command::new(&program);
    command.args(["-w", "-S", CHAIN]).output().with_context(|| format!("run {program}, whose chain {CHAIN} is"))
}

/// Those with the comment, as they are written after `-A`.
fn present(is_v6: bool, comment: &str) -> Result<Vec<String>> {
    let output = list(is_v6)?;
    if !output.status.success() {
        bail!("{} -S {CHAIN}: {}", program(is_v6, ""), String::from_utf8_lossy(&output.stderr).trim());
    }
    let comment = format!("--comment \"{comment}\"");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let rules = listed.lines().filter_map(|line| line.strip_prefix("-A "));
    Ok(rules.filter(|rule| rule.contains(&comment)).map(str::to_owned).collect())
}

/// All of it is done, or nothing.
fn restore(is_v6: bool, text: &str) -> Result<()> {
    let program = program(is_v6, "-restore");
    let what = || format!("run {program}, whose chain {CHAIN} is");
    let mut command = Command::new(&program);
    command.args(["-w", "--noflush"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(what)?;
    // One that ends says why.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().with_context(what)?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
