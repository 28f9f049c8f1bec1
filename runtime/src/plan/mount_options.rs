//! Every mount option that firn interprets, in one table, which `features` prints too. Other
//! options are passed to the file system; a bind mount has none, so there they are an error, as
//! under runc since 1.2. Names and meanings: mount(8); runtime-spec, config.md, "Linux mount
//! options"; crun(1) for options that engines use.

use crate::sys::mount::{self as attr, MountAttr};

/// The effect of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    /// Sets and clears attributes of the mount (mount_setattr(2)); `true`: AT_RECURSIVE.
    Attr {
        set: u64,
        clear: u64,
        recursive: bool,
    },
    /// Cancels an earlier option; has no effect on a bind mount's source.
    Forget(u64),
    Propagation {
        kind: u64,
        recursive: bool,
    },
    Bind {
        recursive: bool,
    },
    /// A flag of the super block, set by name (fsconfig(2), FSCONFIG_SET_FLAG).
    Super,
    /// `tmpcopyup`: copies the content of the directory below a tmpfs into it.
    CopyUp,
    /// An ID-mapped mount: with the container's mapping, or the one after `=`.
    Idmap {
        recursive: bool,
    },
    /// Symlinks at the source and the target of a bind mount.
    Links(Links),
}

/// crun(1): a source that is a symlink is created again at the target (`copy-symlink`), or bound
/// itself (`src-nofollow`); a target that is a symlink is mounted over (`dest-nofollow`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Links {
    pub copy: bool,
    pub source_nofollow: bool,
    pub target_nofollow: bool,
}

impl Links {
    /// Whether a symlink as the last component of the source is followed.
    pub fn follows_source(self) -> bool {
        !self.copy && !self.source_nofollow
    }
}

const NO_LINKS: Links = Links { copy: false, source_nofollow: false, target_nofollow: false };

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
    ("copy-symlink", Effect::Links(Links { copy: true, ..NO_LINKS })),
    ("defaults", Effect::Nothing),
    ("dest-nofollow", Effect::Links(Links { target_nofollow: true, ..NO_LINKS })),
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
    // relatime is the default.
    ("norelatime", Effect::Nothing),
    ("nostrictatime", Effect::Forget(attr::ATTR_STRICTATIME)),
    ("nosuid", set(attr::ATTR_NOSUID)),
    ("nosymfollow", set(attr::ATTR_NOSYMFOLLOW)),
    ("private", propagation(attr::PROPAGATION_PRIVATE, false)),
    // crun's recursive variants, here and below, that mount_setattr(2) can't set.
    ("rasync", Effect::Nothing),
    ("ratime", rec(atime(0))),
    ("rbind", Effect::Bind { recursive: true }),
    ("rdev", rec(clear(attr::ATTR_NODEV))),
    ("rdiratime", rec(clear(attr::ATTR_NODIRATIME))),
    ("rdirsync", Effect::Nothing),
    ("relatime", atime(0)),
    ("remount", Effect::Nothing),
    ("rexec", rec(clear(attr::ATTR_NOEXEC))),
    ("ridmap", Effect::Idmap { recursive: true }),
    ("rmand", Effect::Nothing),
    ("rnoatime", rec(atime(attr::ATTR_NOATIME))),
    ("rnodev", rec(set(attr::ATTR_NODEV))),
    ("rnodiratime", rec(set(attr::ATTR_NODIRATIME))),
    ("rnoexec", rec(set(attr::ATTR_NOEXEC))),
    ("rnomand", Effect::Nothing),
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
    ("rsync", Effect::Nothing),
    ("runbindable", propagation(attr::PROPAGATION_UNBINDABLE, true)),
    ("rw", clear(attr::ATTR_RDONLY)),
    ("shared", propagation(attr::PROPAGATION_SHARED, false)),
    ("silent", Effect::Nothing),
    ("slave", propagation(attr::PROPAGATION_SLAVE, false)),
    ("src-nofollow", Effect::Links(Links { source_nofollow: true, ..NO_LINKS })),
    ("strictatime", atime(attr::ATTR_STRICTATIME)),
    ("suid", clear(attr::ATTR_NOSUID)),
    ("symfollow", clear(attr::ATTR_NOSYMFOLLOW)),
    ("sync", Effect::Super),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", propagation(attr::PROPAGATION_UNBINDABLE, false)),
];

/// The parsed options of one mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// A bind mount, `Some(true)` if recursive.
    pub bind: Option<bool>,
    pub attr: MountAttr,
    pub recursive_attr: MountAttr,
    /// MS_* type, and whether recursive; the last option decides.
    pub propagation: Option<(u64, bool)>,
    pub copy_up: bool,
    pub idmap: Option<IdmapOption>,
    pub links: Links,
    /// Options of the file system, `name` or `name=value`, in order.
    pub data: Vec<String>,
}

/// `idmap` or `ridmap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdmapOption {
    pub recursive: bool,
    /// The text after `=`.
    pub map: Option<String>,
}

impl Options {
    /// The first option that a bind mount can't have: its file system is mounted already, and the
    /// kernel would ignore it.
    pub fn unknown_to_binds(&self) -> Option<&str> {
        let is_flag = |option: &&String| matches!(effect(option), Some(Effect::Super));
        self.data.iter().find(|option| !is_flag(option)).map(String::as_str)
    }
}

fn effect(option: &str) -> Option<Effect> {
    TABLE.binary_search_by(|(name, _)| (*name).cmp(option)).ok().map(|at| TABLE[at].1)
}

/// Parses options in order; a later one overrides an earlier one.
pub fn parse(kind: &str, options: &[String]) -> Options {
    let mut parsed = Options::default();
    for option in split(kind, &options.join(",")) {
        let known = match option.split_once('=') {
            Some((name @ ("idmap" | "ridmap"), map)) => {
                let map = Some(map.to_owned()).filter(|map| !map.is_empty());
                parsed.idmap = Some(IdmapOption { recursive: name == "ridmap", map });
                continue;
            }
            _ => effect(option),
        };
        match known {
            Some(Effect::Nothing) => {}
            Some(Effect::Attr { set, clear, recursive }) => {
                let attr = if recursive { &mut parsed.recursive_attr } else { &mut parsed.attr };
                attr.set = attr.set & !clear | set;
                attr.clear = attr.clear & !set | clear;
            }
            Some(Effect::Forget(bits)) => {
                if parsed.attr.set & bits & attr::ATTR_ATIME != 0 {
                    parsed.attr.clear &= !attr::ATTR_ATIME;
                }
                parsed.attr.set &= !bits;
            }
            Some(Effect::Propagation { kind, recursive }) => parsed.propagation = Some((kind, recursive)),
            // MS_BIND and MS_REC of mount(2): flags accumulate.
            Some(Effect::Bind { recursive }) => parsed.bind = Some(recursive || parsed.bind == Some(true)),
            Some(Effect::CopyUp) => parsed.copy_up = true,
            Some(Effect::Idmap { recursive }) => parsed.idmap = Some(IdmapOption { recursive, map: None }),
            Some(Effect::Links(links)) => {
                parsed.links.copy |= links.copy;
                parsed.links.source_nofollow |= links.source_nofollow;
                parsed.links.target_nofollow |= links.target_nofollow;
            }
            // mount(2) ignores empty options; podman writes one for a mount without label.
            None if option.is_empty() => {}
            Some(Effect::Super) | None => parsed.data.push(option.to_owned()),
        }
    }
    parsed
}

/// Options with a security context, which may have commas in double quotes: mount(8), "context".
pub const CONTEXTS: [&str; 4] = ["context", "defcontext", "fscontext", "rootcontext"];

/// Splits the options, joined by commas, as the kernel splits the data that runc and crun pass to
/// mount(2): several may be in one string, and podman may have split a quoted one. For overlay,
/// `\` escapes a comma in a directory's name.
fn split<'a>(kind: &str, joined: &'a str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut rest = joined;
    loop {
        let end = end_of_option(kind == "overlay", rest);
        parts.push(&rest[..end]);
        match rest.get(end + 1..) {
            Some(more) => rest = more,
            None => return parts,
        }
    }
}

fn end_of_option(escapes: bool, text: &str) -> usize {
    let quoted = CONTEXTS.iter().find_map(|name| text.strip_prefix(name)?.strip_prefix("=\""));
    if let Some(after) = quoted.and_then(|value| value.split_once('"')).map(|(_, after)| after)
        && (after.is_empty() || after.starts_with(','))
    {
        return text.len() - after.len();
    }
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if escapes => escaped = true,
            b',' => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &str) -> Options {
        parse("tmpfs", &options.split(',').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_may_stand_in_one_string() {
        let options = parse("tmpfs", &["mode=700,size=1m".into(), "ro,nosuid".into()]);
        assert_eq!(options.data, ["mode=700", "size=1m"]);
        assert_eq!(options.attr.set, attr::ATTR_RDONLY | attr::ATTR_NOSUID);
    }

    #[test]
    fn a_comma_in_a_context_or_a_directory_ends_no_option() {
        let options = parse("overlay", &["context=\"a:b:c1".into(), "c2\"".into(), "lowerdir=/a\\,b,ro".into()]);
        assert_eq!(options.data, ["context=\"a:b:c1,c2\"", "lowerdir=/a\\,b"]);
        assert_eq!(parse("x", &["context=\"a,b".into()]).data, ["context=\"a", "b"]);
        assert_eq!(parse("x", &["a=b\\,c".into()]).data, ["a=b\\", "c"]);
    }

    #[test]
    fn what_a_bind_can_not_have_is_told_apart_from_flags() {
        assert_eq!(parsed("bind,sync,lazytime").unknown_to_binds(), None);
        assert_eq!(parsed("bind,sync,mode=700").unknown_to_binds(), Some("mode=700"));
    }

    #[test]
    fn options_of_cruns_for_binds() {
        let options = parsed("bind,copy-symlink,ridmap=uids=0-1-2;gids=0-1-2");
        assert!(options.links.copy && !options.links.follows_source());
        let map = Some("uids=0-1-2;gids=0-1-2".into());
        assert_eq!(options.idmap, Some(IdmapOption { recursive: true, map }));
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
        // mount_setattr(2): attr_clr must have MOUNT_ATTR__ATIME to change the mode.
        assert_eq!(options.attr.clear, attr::ATTR_ATIME);
    }

    #[test]
    fn what_is_not_in_the_table_is_the_file_systems() {
        let options = parsed("rbind,rslave,size=64m,mode=755,ridmap");
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.propagation, Some((attr::PROPAGATION_SLAVE, true)));
        assert_eq!(options.data, ["size=64m", "mode=755"]);
        assert_eq!(options.idmap, Some(IdmapOption { recursive: true, map: None }));
    }
}
