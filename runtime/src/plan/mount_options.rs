//! Every mount option that firn interprets, in one table: `plan` reads mounts
//! with it and `features` prints it. What is not in the table is the file
//! system's own and goes to it unchanged. Names and meanings: mount(8) and
//! runtime-spec's config.md, "Linux mount options".

use crate::sys::mount::{self as attr, MountAttr};

/// What one option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    /// Set and clear attributes of the mount; `true`: of all mounts below too.
    Attr {
        set: u64,
        clear: u64,
        recursive: bool,
    },
    /// Takes an earlier option back, and says nothing of a bind's source.
    Forget(u64),
    Propagation {
        kind: u64,
        recursive: bool,
    },
    Bind {
        recursive: bool,
    },
    /// A flag of the file system itself (super block), set by its name.
    Super,
    /// Copy what the directory under a tmpfs holds into it.
    CopyUp,
    /// An idmapped mount with the container's own mapping.
    Idmap {
        recursive: bool,
    },
}

const fn set(set: u64) -> Effect {
    Effect::Attr { set, clear: 0, recursive: false }
}

const fn clear(clear: u64) -> Effect {
    Effect::Attr { set: 0, clear, recursive: false }
}

const fn atime(set: u64) -> Effect {
    Effect::Attr { set, clear: attr::ATTR_ATIME, recursive: false }
}

const fn rec(effect: Effect) -> Effect {
    match effect {
        Effect::Attr { set, clear, .. } => Effect::Attr { set, clear, recursive: true },
        other => other,
    }
}

const fn propagation(kind: u64, recursive: bool) -> Effect {
    Effect::Propagation { kind, recursive }
}

/// Sorted by name.
pub const TABLE: &[(&str, Effect)] = &[
    ("async", Effect::Nothing),
    ("atime", Effect::Forget(attr::ATTR_NOATIME)),
    ("bind", Effect::Bind { recursive: false }),
    ("defaults", Effect::Nothing),
    ("dev", clear(attr::ATTR_NODEV)),
    ("diratime", Effect::Forget(attr::ATTR_NODIRATIME)),
    ("dirsync", Effect::Super),
    ("exec", clear(attr::ATTR_NOEXEC)),
    ("idmap", Effect::Idmap { recursive: false }),
    ("iversion", Effect::Super),
    ("lazytime", Effect::Super),
    ("loud", Effect::Nothing),
    ("mand", Effect::Super),
    ("noatime", atime(attr::ATTR_NOATIME)),
    ("nodev", set(attr::ATTR_NODEV)),
    ("nodiratime", set(attr::ATTR_NODIRATIME)),
    ("noexec", set(attr::ATTR_NOEXEC)),
    ("noiversion", Effect::Nothing),
    ("nolazytime", Effect::Nothing),
    ("nomand", Effect::Nothing),
    // Relative is also what is left when it is not asked for.
    ("norelatime", Effect::Nothing),
    ("nostrictatime", Effect::Forget(attr::ATTR_STRICTATIME)),
    ("nosuid", set(attr::ATTR_NOSUID)),
    ("nosymfollow", set(attr::ATTR_NOSYMFOLLOW)),
    ("private", propagation(attr::PROPAGATION_PRIVATE, false)),
    ("ratime", rec(atime(0))),
    ("rbind", Effect::Bind { recursive: true }),
    ("rdev", rec(clear(attr::ATTR_NODEV))),
    ("rdiratime", rec(clear(attr::ATTR_NODIRATIME))),
    ("relatime", atime(0)),
    ("remount", Effect::Nothing),
    ("rexec", rec(clear(attr::ATTR_NOEXEC))),
    ("ridmap", Effect::Idmap { recursive: true }),
    ("rnoatime", rec(atime(attr::ATTR_NOATIME))),
    ("rnodev", rec(set(attr::ATTR_NODEV))),
    ("rnodiratime", rec(set(attr::ATTR_NODIRATIME))),
    ("rnoexec", rec(set(attr::ATTR_NOEXEC))),
    ("rnorelatime", rec(atime(0))),
    ("rnostrictatime", rec(atime(0))),
    ("rnosuid", rec(set(attr::ATTR_NOSUID))),
    ("rnosymfollow", rec(set(attr::ATTR_NOSYMFOLLOW))),
    ("ro", set(attr::ATTR_RDONLY)),
    ("rprivate", propagation(attr::PROPAGATION_PRIVATE, true)),
    ("rrelatime", rec(atime(0))),
    ("rro", rec(set(attr::ATTR_RDONLY))),
    ("rrw", rec(clear(attr::ATTR_RDONLY))),
    ("rshared", propagation(attr::PROPAGATION_SHARED, true)),
    ("rslave", propagation(attr::PROPAGATION_SLAVE, true)),
    ("rstrictatime", rec(atime(attr::ATTR_STRICTATIME))),
    ("rsuid", rec(clear(attr::ATTR_NOSUID))),
    ("rsymfollow", rec(clear(attr::ATTR_NOSYMFOLLOW))),
    ("runbindable", propagation(attr::PROPAGATION_UNBINDABLE, true)),
    ("rw", clear(attr::ATTR_RDONLY)),
    ("shared", propagation(attr::PROPAGATION_SHARED, false)),
    ("silent", Effect::Nothing),
    ("slave", propagation(attr::PROPAGATION_SLAVE, false)),
    ("strictatime", atime(attr::ATTR_STRICTATIME)),
    ("suid", clear(attr::ATTR_NOSUID)),
    ("symfollow", clear(attr::ATTR_NOSYMFOLLOW)),
    ("sync", Effect::Super),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", propagation(attr::PROPAGATION_UNBINDABLE, false)),
];

/// What the options of one mount come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `Some(recursive)` for a bind mount.
    pub bind: Option<bool>,
    pub attr: MountAttr,
    pub recursive_attr: MountAttr,
    /// Kind and whether recursive; the last one given counts.
    pub propagation: Option<(u64, bool)>,
    pub copy_up: bool,
    pub idmap: Option<bool>,
    /// `name` or `name=value` for the file system itself.
    pub data: Vec<String>,
}

/// Reads options in order: a later one takes an earlier one back.
pub fn parse(options: &[String]) -> Options {
    let mut parsed = Options::default();
    for option in options {
        let known = TABLE.binary_search_by(|(name, _)| (*name).cmp(option.as_str()));
        match known.map(|at| TABLE[at].1) {
            Ok(Effect::Nothing) => {}
            Ok(Effect::Attr { set, clear, recursive }) => {
                let attr = if recursive { &mut parsed.recursive_attr } else { &mut parsed.attr };
                attr.set = attr.set & !clear | set;
                attr.clear = attr.clear & !set | clear;
            }
            Ok(Effect::Forget(bits)) => {
                if parsed.attr.set & bits & attr::ATTR_ATIME != 0 {
                    parsed.attr.clear &= !attr::ATTR_ATIME;
                }
                parsed.attr.set &= !bits;
            }
            Ok(Effect::Propagation { kind, recursive }) => parsed.propagation = Some((kind, recursive)),
            // Flags of mount(2), which add up.
            Ok(Effect::Bind { recursive }) => parsed.bind = Some(recursive || parsed.bind == Some(true)),
            Ok(Effect::CopyUp) => parsed.copy_up = true,
            Ok(Effect::Idmap { recursive }) => parsed.idmap = Some(recursive),
            // mount(2) passes over an empty one; podman writes it for a mount
            // without a label.
            Err(_) if option.is_empty() => {}
            Ok(Effect::Super) | Err(_) => parsed.data.push(option.clone()),
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &str) -> Options {
        parse(&options.split(',').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_bind_that_is_recursive_stays_so() {
        assert_eq!([parsed("rbind,ro,bind").bind, parsed("bind,rbind").bind], [Some(true); 2]);
    }

    #[test]
    fn an_empty_option_says_nothing() {
        assert!(parsed("rw,,nosuid").data.is_empty());
    }

    #[test]
    fn a_later_option_takes_an_earlier_one_back() {
        let options = parsed("ro,nosuid,rw");
        assert_eq!(options.attr.set, attr::ATTR_NOSUID);
        assert_eq!(options.attr.clear, attr::ATTR_RDONLY);
        let options = parsed("rw,ro");
        assert_eq!((options.attr.set, options.attr.clear), (attr::ATTR_RDONLY, 0));
    }

    #[test]
    fn the_three_access_time_modes_exclude_each_other() {
        let options = parsed("noatime,strictatime");
        assert_eq!(options.attr.set, attr::ATTR_STRICTATIME);
        // mount_setattr(2) wants the whole mask cleared to set one mode.
        assert_eq!(options.attr.clear, attr::ATTR_ATIME);
    }

    #[test]
    fn what_is_not_in_the_table_is_the_file_systems() {
        let options = parsed("rbind,rslave,size=64m,mode=755,ridmap");
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.propagation, Some((attr::PROPAGATION_SLAVE, true)));
        assert_eq!(options.data, ["size=64m", "mode=755"]);
        assert_eq!(options.idmap, Some(true));
    }
}
