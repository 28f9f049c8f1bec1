//! What several containers can't share, and what they wait for.

use super::network::shown;
use super::report::Report;
use crate::definition::document::Step;
use crate::definition::instances::Instance;
use crate::definition::mistake::hint;
use crate::definition::schema::ForwardPort;
use std::collections::{BTreeMap, BTreeSet};

pub fn check(instances: &[Instance], report: &mut Report) {
    names(instances, report);
    addresses(instances, report);
    ports(instances, report);
    host_interfaces(instances, report);
    order(instances, report);
}

/// `web` with instances may not make a name that is there already.
fn names(instances: &[Instance], report: &mut Report) {
    let mut seen = BTreeMap::new();
    for instance in instances {
        if let Some(other) = seen.insert(&instance.name, &instance.definition_name)
            && *other != instance.definition_name
        {
            let message = format!("makes a container {}, which is a definition too", instance.name);
            report.container(&instance.definition_name).tell("instances", message);
        }
    }
}

fn addresses(instances: &[Instance], report: &mut Report) {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for instance in instances {
        let definition = &instance.definition;
        let link = &definition.link;
        let local = [("localAddress", &link.local_address), ("localAddress6", &link.local_address6)];
        let prefix = definition.extra.address_prefix.as_ref().map(|prefix| format!("{prefix}.2"));
        let prefix = prefix.map(|address| ("extra.addressPrefix", address));
        let given = local.into_iter().filter_map(|(option, text)| Some((option, text.clone()?)));
        for (option, text) in given.chain(prefix) {
            let address = text.split('/').next().unwrap_or_default().to_lowercase();
            if let Some(owner) = owners.insert(address.clone(), &instance.name)
                && owner != instance.name
            {
                let message = format!("{address} is the address of container {owner} already{}", each(instance));
                report.container(&instance.definition_name).tell(option, message);
            }
        }
    }
}

/// The instances of a definition have the same text unless it has `%i`.
fn each(instance: &Instance) -> &'static str {
    if instance.number.is_some() { ": write %i for the number of the instance" } else { "" }
}

fn ports(instances: &[Instance], report: &mut Report) {
    let mut taken: Vec<(&ForwardPort, &str)> = Vec::new();
    for instance in instances {
        for (index, port) in instance.definition.link.forward_ports.iter().enumerate() {
            let clash = taken.iter().find(|(other, owner)| *owner != instance.name && is_same(other, port));
            if let Some((other, owner)) = clash {
                let message = format!("{} is taken: container {owner} has {}", shown(port), shown(other));
                let mut container = report.container(&instance.definition_name);
                container.within("forwardPorts", Step::Index(index)).tell("hostPort", message);
            }
            taken.push((port, &instance.name));
        }
    }
}

/// One without an address has the port on every address.
fn is_same(a: &ForwardPort, b: &ForwardPort) -> bool {
    let overlaps = a.host_address.is_none() || b.host_address.is_none() || a.host_address == b.host_address;
    a.host_port == b.host_port && a.protocol == b.protocol && overlaps
}

fn host_interfaces(instances: &[Instance], report: &mut Report) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for instance in instances {
        for (name, veth) in &instance.definition.extra_veths {
            let on_host = veth.host_interface.as_deref().unwrap_or(name);
            if let Some(owner) = owners.insert(on_host, &instance.name) {
                let message = format!(
                    "{on_host} is the host's end of a link of container {owner} already: give another hostInterface"
                );
                let mut container = report.container(&instance.definition_name);
                container.within("extraVeths", Step::Name(name.clone())).tell("", message);
            }
        }
        for (index, name) in instance.definition.interfaces.iter().enumerate() {
            if let Some(owner) = owners.insert(name, &instance.name) {
                let message = format!("{name} moves into container {owner} already");
                report.container(&instance.definition_name).within("interfaces", Step::Index(index)).tell("", message);
            }
        }
    }
}

/// Who waits for whom; nobody may wait for itself, on whatever way.
fn order(instances: &[Instance], report: &mut Report) {
    let definitions: BTreeMap<&str, &[String]> = instances
        .iter()
        .map(|instance| (instance.definition_name.as_str(), instance.definition.depends_on.as_slice()))
        .collect();
    for (name, needs) in &definitions {
        for (index, needed) in needs.iter().enumerate() {
            if !definitions.contains_key(needed.as_str()) {
                let hint = hint(needed, definitions.keys().copied());
                let message = format!("there is no container {needed:?} here{hint}");
                report.container(name).within("dependsOn", Step::Index(index)).tell("", message);
            }
        }
    }
    let mut told = BTreeSet::new();
    for name in definitions.keys() {
        if let Some(circle) = circle_from(name, &definitions)
            && !told.contains(name)
        {
            let text = circle.join(" → ");
            report.container(name).tell("dependsOn", format!("waits for itself: {text}"));
            told.extend(circle);
        }
    }
}

/// The names from `start` back to it, if there is such a way.
fn circle_from<'a>(start: &'a str, needs: &BTreeMap<&'a str, &'a [String]>) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let last = way[way.len() - 1];
        for next in needs.get(last).copied().unwrap_or_default() {
            if next == start {
                return Some([way, vec![start]].concat());
            }
            if seen.insert(next.as_str()) {
                ways.push([way.clone(), vec![next]].concat());
            }
        }
    }
    None
}
