//! What of the host's files the container sees, and where.

use super::report::{Container, inside};
use crate::definition::document::Step;
use crate::definition::schema::{Definition, Idmap, PrivateUsers, UserNamespace};
use crate::definition::values;
use std::collections::BTreeMap;

pub fn check(definition: &Definition, container: &mut Container<'_>) {
    // By their normal form, with the option that says so.
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for (name, bind) in &definition.bind_mounts {
        let mut within = container.within("bindMounts", Step::Name(name.clone()));
        let (option, place) = match &bind.mount_point {
            Some(place) => ("mountPoint", place),
            None => ("", name),
        };
        let is_good = within.keep(option, mount_point(place)).is_some();
        if is_good {
            claim(&mut places, place, format!("bindMounts.{name:?}"), option, &mut within);
        }
        if bind.host_path.as_deref() == Some("") {
            within.tell("hostPath", "is empty");
        }
        let users = definition.private_users;
        if bind.idmap.is_some() && users == PrivateUsers::Kind(UserNamespace::No) {
            within.tell("idmap", "needs privateUsers: without a user namespace ids are the host's");
        }
        if let Some(idmap @ (Idmap::Rootidmap | Idmap::Owneridmap)) = bind.idmap {
            let name = if idmap == Idmap::Rootidmap { "rootidmap" } else { "owneridmap" };
            within.tell("idmap", format!("{name} has no effect yet: give idmap or noidmap"));
        }
    }
    for (option, volumes) in [("volumes", &definition.volumes), ("volumes-ro", &definition.volumes_ro)] {
        for (index, text) in volumes.iter().enumerate() {
            let mut within = container.within(option, Step::Index(index));
            let Some((source, place)) = within.keep("", values::volume(text)) else { continue };
            let place = place.unwrap_or(source);
            if place.starts_with('/') && within.keep("", mount_point(place)).is_some() {
                claim(&mut places, place, format!("{option}[{index}]"), "", &mut within);
            } else if !place.starts_with('/') {
                within.tell("", format!("{text:?} has no mount point: write {text}:/PLACE"));
            }
        }
    }
    for (index, text) in definition.tmpfs.iter().enumerate() {
        let mut within = container.within("tmpfs", Step::Index(index));
        let place = text.split_once(':').map_or(text.as_str(), |(place, _)| place);
        if within.keep("", mount_point(place)).is_some() {
            claim(&mut places, place, format!("tmpfs[{index}]"), "", &mut within);
        }
    }
}

/// A place can't be the root, which is the container's own, and belongs to one option.
fn mount_point(place: &str) -> Result<(), String> {
    inside(place)?;
    match normal(place).as_str() {
        "/" => Err("can't be mounted over the container's root".into()),
        "/proc" | "/sys" => Err(format!("can't be mounted over {place}, which is the kernel's")),
        _ => Ok(()),
    }
}

fn claim(places: &mut BTreeMap<String, String>, place: &str, by: String, option: &str, within: &mut Container<'_>) {
    if let Some(other) = places.get(&normal(place)) {
        within.tell(option, format!("{place} is mounted by {other} already"));
        return;
    }
    places.insert(normal(place), by);
}

/// Without `//`, `/./` and a slash at the end.
fn normal(place: &str) -> String {
    let parts: Vec<&str> = place.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}
