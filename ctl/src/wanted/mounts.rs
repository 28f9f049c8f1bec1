//! Binds and tmpfs of a definition as mounts of config.json, parents before what is in them.

use crate::definition::schema::{Definition, Idmap, PrivateUsers};
use crate::definition::values;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A mount (runtime-spec, config.md, "Mounts").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mount {
    pub destination: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub source: String,
    pub options: Vec<String>,
    /// Make the directory `source` where there is none.
    #[serde(skip)]
    pub create: bool,
}

impl Mount {
    fn bind(source: &str, destination: &str, is_read_only: bool) -> Self {
        let access = if is_read_only { "rro" } else { "rw" };
        Mount {
            destination: destination.into(),
            kind: "bind".into(),
            source: source.into(),
            options: vec!["rbind".into(), access.into()],
            create: false,
        }
    }
}

/// The mounts that a definition asks for. With a user namespace the files of a bind have inside the
/// owners that they have on the host.
pub fn of(definition: &Definition) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let has_users = definition.private_users != PrivateUsers::default();
    for (name, bind) in &definition.bind_mounts {
        let place = bind.mount_point.as_ref().unwrap_or(name);
        let source = bind.host_path.as_ref().unwrap_or(place);
        let mut mount = Mount { create: bind.create, ..Mount::bind(source, place, bind.is_read_only.0) };
        mount.options.extend((has_users && bind.idmap != Some(Idmap::Noidmap)).then(|| "ridmap".into()));
        mounts.push(mount);
    }
    for (volumes, is_read_only) in [(&definition.volumes, false), (&definition.volumes_ro, true)] {
        let parts = volumes.iter().filter_map(|text| values::volume(text).ok());
        mounts.extend(parts.map(|(source, place)| {
            let mut mount = Mount::bind(source, place.unwrap_or(source), is_read_only);
            mount.options.extend(has_users.then(|| "ridmap".into()));
            mount
        }));
    }
    if definition.nix_daemon {
        mounts.push(Mount::bind("/nix/var/nix/daemon-socket", "/nix/var/nix/daemon-socket", true));
        mounts.push(Mount::bind("/nix/var/nix/db", "/nix/var/nix/db", true));
    }
    mounts.extend(definition.tmpfs.iter().map(|text| tmpfs(text)));
    mounts.sort_by_key(|mount| (depth(&mount.destination), mount.destination.clone()));
    mounts
}

/// `PATH[:OPTIONS]`, with the defaults of systemd-nspawn(1), --tmpfs.
fn tmpfs(text: &str) -> Mount {
    let (place, given) = text.split_once(':').unwrap_or((text, ""));
    let mut options: Vec<String> = ["nosuid", "nodev", "strictatime", "mode=0755"].map(String::from).into();
    options.extend(given.split(',').filter(|option| !option.is_empty()).map(String::from));
    Mount { destination: place.into(), kind: "tmpfs".into(), source: "tmpfs".into(), options, create: false }
}

fn depth(place: &str) -> usize {
    place.split('/').filter(|part| !part.is_empty() && *part != ".").count()
}

/// What has to go and what has to come so that `from` becomes `to`.
pub fn difference(from: &[Mount], to: &[Mount]) -> (Vec<Mount>, Vec<Mount>) {
    let by_place = |mounts: &[Mount]| -> BTreeMap<String, Mount> {
        mounts.iter().map(|mount| (mount.destination.clone(), mount.clone())).collect()
    };
    let (old, new) = (by_place(from), by_place(to));
    let gone = from.iter().rev().filter(|mount| new.get(&mount.destination) != Some(mount)).cloned().collect();
    let come = to.iter().filter(|mount| old.get(&mount.destination) != Some(mount)).cloned().collect();
    (gone, come)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mounts(definition: serde_json::Value) -> Vec<Mount> {
        of(&serde_json::from_value(definition).unwrap())
    }

    #[test]
    fn parents_come_before_what_is_in_them() {
        let mounts = mounts(json!({
            "tmpfs": ["/var/log:size=64m", "/var"],
            "bindMounts": {"/var/log/x": {"hostPath": "/a:b c"}, "/srv": {"hostPath": "/s", "isReadOnly": false}},
            "volumes": ["/h/v:/var/v"], "volumes-ro": ["/h/r"],
        }));
        let places: Vec<_> = mounts.iter().map(|mount| mount.destination.as_str()).collect();
        assert_eq!(places, ["/srv", "/var", "/h/r", "/var/log", "/var/v", "/var/log/x"]);
        assert_eq!(mounts[0].options, ["rbind", "rw"]);
        assert_eq!(mounts[2].options, ["rbind", "rro"]);
        assert_eq!(mounts[3].options, ["nosuid", "nodev", "strictatime", "mode=0755", "size=64m"]);
        assert_eq!(mounts[5].source, "/a:b c");
    }

    #[test]
    fn a_mount_that_differs_goes_and_comes() {
        let old = mounts(json!({"volumes": ["/a:/x", "/b:/y"]}));
        let new = mounts(json!({"volumes": ["/a:/x", "/c:/y", "/d:/z"]}));
        let (gone, come) = difference(&old, &new);
        assert_eq!(gone.iter().map(|mount| &*mount.source).collect::<Vec<_>>(), ["/b"]);
        assert_eq!(come.iter().map(|mount| &*mount.source).collect::<Vec<_>>(), ["/c", "/d"]);
    }
}
