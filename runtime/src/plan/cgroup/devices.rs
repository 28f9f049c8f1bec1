//! Device rules, for either cgroup version.

use crate::bail;
use crate::error::Result;
use crate::plan::devices::DEFAULTS;
use crate::spec::resources::DeviceRule;

/// A validated device rule. None matches any number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    /// 'a' for all devices, 'c' or 'b'.
    pub kind: char,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

impl Rule {
    const fn allow(kind: char, major: Option<u32>, minor: Option<u32>) -> Self {
        Rule { allow: true, kind, major, minor, read: true, write: true, mknod: true }
    }

    /// In the format of devices.allow (cgroup-v1/devices.rst).
    pub fn text(&self) -> String {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let mut text = format!("{} {}:{} ", self.kind, number(self.major), number(self.minor));
        for (on, letter) in [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')] {
            if on {
                text.push(letter);
            }
        }
        text
    }
}

/// Rules for every container: mknod, which gives no access, and the default devices and ptys.
fn default_rules() -> impl Iterator<Item = Rule> {
    let mknod = |kind| Rule { read: false, write: false, ..Rule::allow(kind, None, None) };
    let node = |major, minor| Rule::allow('c', Some(major), minor);
    let nodes = DEFAULTS.iter().map(move |(_, major, minor)| node(*major, Some(*minor)));
    // The multiplexer and the ptys; then /dev/net/tun, as under runc: used by VPNs in containers.
    // It requires CAP_NET_ADMIN in the network namespace.
    let more = [node(5, Some(2)), node(136, None), node(10, Some(200))];
    [mknod('c'), mknod('b')].into_iter().chain(nodes).chain(more)
}

/// The rules in order: deny all, the config's, the defaults. Errors: a type, number or access
/// letter that does not exist.
pub fn rules(rules: &[DeviceRule]) -> Result<Vec<Rule>> {
    // A new cgroup of v1 inherits the rules of its parent: deny all first.
    let none = Rule { allow: false, ..Rule::allow('a', None, None) };
    let mut checked = vec![none];
    for rule in rules {
        let kind = match rule.kind.as_str() {
            "" | "a" => 'a',
            "c" | "u" => 'c',
            "b" => 'b',
            other => bail!("linux.resources.devices: type {other:?} is not one of a, c, b"),
        };
        let number = |n: Option<i64>| match n {
            None | Some(-1) => Ok(None),
            Some(n) => u32::try_from(n).map(Some),
        };
        let (Ok(major), Ok(minor)) = (number(rule.major), number(rule.minor)) else {
            bail!("linux.resources.devices: a number is out of range in {rule:?}");
        };
        // An "a" has no effect, as under runc.
        if !rule.access.chars().all(|c| "rwma".contains(c)) {
            bail!("linux.resources.devices: access {:?} has letters other than r, w and m", rule.access);
        }
        let has = |letter| rule.access.is_empty() || rule.access.contains(letter);
        checked.push(Rule { allow: rule.allow, kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') });
    }
    checked.extend(default_rules());
    Ok(checked)
}
