//! Devices, capabilities, and what goes in: environment, credentials, keys.

use super::report::{Container, inside};
use crate::definition::document::Step;
use crate::definition::mistake::hint;
use crate::definition::schema::{Definition, PrivateUsers};

pub fn check(definition: &Definition, container: &mut Container<'_>) {
    if definition.extra.enable_ssh {
        let message = "is for containers with config, in Nix, that firnctl evaluates: give sshKeys, by which the host's sshd lets in";
        container.tell("extra.enableSSH", message);
    }
    if definition.link_journal {
        let message = "has no effect yet: leave it out; `firnctl logs` and `journalctl -M NAME` show what it logs";
        container.tell("linkJournal", message);
    }
    for (index, device) in definition.allowed_devices.iter().enumerate() {
        let mut within = container.within("allowedDevices", Step::Index(index));
        let is_device = inside(&device.node).and_then(|()| match device.node.starts_with("/dev/") {
            true => Ok(()),
            false => Err(format!("{:?} must be a device below /dev", device.node)),
        });
        within.keep("node", is_device);
        within.keep("modifier", modifier(&device.modifier));
    }
    for (index, name) in definition.additional_capabilities.iter().enumerate() {
        container.within("additionalCapabilities", Step::Index(index)).keep("", capability(name));
    }
    if let PrivateUsers::First(first) = definition.private_users {
        container.keep("privateUsers", first_id(first));
    }
    for name in definition.environment.keys() {
        container.within("environment", Step::Name(name.clone())).keep("", variable(name));
    }
    for (id, source) in &definition.credentials {
        let mut within = container.within("credentials", Step::Name(id.clone()));
        if id.is_empty() || id.contains('/') || id == "." || id == ".." {
            within.tell("", format!("{id:?} can't be the name of a credential: it is a file's"));
        }
        if source.is_empty() {
            within.tell("", "give the path of the file that holds it");
        }
    }
    for (user, keys) in &definition.ssh_keys {
        let mut within = container.within("sshKeys", Step::Name(user.clone()));
        within.keep("", user_name(user));
        drop(within);
        for (index, key) in keys.iter().enumerate() {
            let mut within = container.within("sshKeys", Step::Name(user.clone()));
            within.base.push(Step::Index(index));
            within.keep("", public_key(key));
        }
    }
}

/// Letters of `rwm`, each once.
fn modifier(text: &str) -> Result<(), String> {
    let is_good = |(index, c): (usize, char)| "rwm".contains(c) && !text[..index].contains(c);
    match !text.is_empty() && text.char_indices().all(is_good) {
        true => Ok(()),
        false => Err(format!("must be some of r (read), w (write) and m (make the node), as in rwm, not {text:?}")),
    }
}

/// capabilities(7), with `CAP_` or without, in any case.
fn capability(name: &str) -> Result<(), String> {
    let upper = name.to_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if full.parse::<caps::Capability>().is_ok() {
        return Ok(());
    }
    let known: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    let hint = hint(&full, known.iter().map(String::as_str));
    Err(format!("there is no capability {name:?}{hint}"))
}

/// A range of 65,536 ids, which ends before the last id, that is none (user_namespaces(7)).
fn first_id(first: u32) -> Result<(), String> {
    const COUNT: u32 = 65_536;
    match first {
        0 => Err("0 would be the host's own ids: write identity if that is meant".into()),
        _ if first > u32::MAX - COUNT => Err(format!("{first} leaves no room for {COUNT} ids")),
        _ if first < COUNT => Err(format!("{first} lies among the host's own ids: begin at {COUNT} or higher")),
        _ => Ok(()),
    }
}

fn variable(name: &str) -> Result<(), String> {
    match !name.is_empty() && !name.contains(['=', '\0']) {
        true => Ok(()),
        false => Err(format!("{name:?} can't be the name of an environment variable")),
    }
}

fn user_name(name: &str) -> Result<(), String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_.-$".contains(c);
    match !name.is_empty() && name.len() <= 32 && !name.starts_with('-') && name.chars().all(is_good) {
        true => Ok(()),
        false => Err(format!("{name:?} can't be the name of a user")),
    }
}

/// A line of an authorized_keys file without options (sshd(8)): firn writes those.
fn public_key(key: &str) -> Result<(), String> {
    const KINDS: [&str; 3] = ["ssh-", "ecdsa-sha2-", "sk-"];
    let mut words = key.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let is_blob =
        |text: &str| text.len() > 20 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    if key.contains(['\n', '\r']) {
        return Err("a key is one line: give a list for several".into());
    }
    if !KINDS.iter().any(|prefix| kind.starts_with(prefix)) {
        return Err(
            "must be a public key as in a .pub file, without options: it begins with its kind, as in ssh-ed25519"
                .into(),
        );
    }
    match words.next().is_some_and(is_blob) {
        true => Ok(()),
        false => Err(format!("the key after {kind} is cut off or no base64")),
    }
}
