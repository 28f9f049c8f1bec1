//! Who runs firn-image: root of the host, or an ordinary user, who works in a user namespace with
//! the ids that /etc/subuid and /etc/subgid give (subuid(5)), as under `podman unshare`.

use crate::sys;
use rustix::fd::AsFd;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, getegid, geteuid, getpid, waitpid};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Ids of a user namespace: the first one in it, the one outside, and how many.
pub(crate) type IdMap = (u32, u32, u32);

/// What a container of the caller's needs as its id maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) uids: Vec<IdMap>,
    pub(crate) gids: Vec<IdMap>,
}

/// Why an ordinary user can't work with the files of other users.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallerError {
    #[error(
        "user {user} has no ids in {file} to give to the users of an image (subuid(5)): as root, `usermod --add-subuids \
         100000-165535 --add-subgids 100000-165535 {user}` adds some that nobody else has; or run firn-image as root"
    )]
    NoRange { user: String, file: &'static str },
    #[error("read {file}")]
    Read { file: &'static str, source: io::Error },
    #[error(
        "enter a user namespace: allow them to ordinary users (user.max_user_namespaces, \
         kernel.unprivileged_userns_clone, AppArmor's restriction), or run firn-image as root"
    )]
    Namespace(#[source] io::Error),
    #[error("map the ids of a user namespace: {0}")]
    Map(String),
}

/// Whether the caller is root of the initial user namespace, which maps every id to itself
/// (user_namespaces(7)): it can use `trusted.` attributes and make device nodes. Entering a user
/// namespace does not change it.
pub(crate) fn is_host_root() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    let all = |text: String| text.split_whitespace().eq(["0", "0", "4294967295"]);
    *ANSWER.get_or_init(|| geteuid().is_root() && fs::read_to_string("/proc/self/uid_map").is_ok_and(all))
}

/// The user id of the caller, from outside of a user namespace that firn-image has entered.
pub(crate) fn uid() -> u32 {
    let uid = geteuid().as_raw();
    read_map("uid_map").iter().find(|(inside, ..)| *inside == uid).map_or(uid, |(_, outside, _)| *outside)
}

/// The id maps with which an ordinary user's containers show the owners that firn-image sees.
pub(crate) fn id_maps() -> Option<IdMaps> {
    if is_host_root() {
        return None;
    }
    Some(match geteuid().is_root() {
        true => IdMaps { uids: read_map("uid_map"), gids: read_map("gid_map") },
        // Outside of any, with the own id alone.
        false => IdMaps { uids: vec![(0, geteuid().as_raw(), 1)], gids: vec![(0, getegid().as_raw(), 1)] },
    })
}

fn read_map(file: &str) -> Vec<IdMap> {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split_whitespace().map(|field| field.parse().ok());
        let mut next = || fields.next().flatten();
        Some((next()?, next()?, next()?))
    };
    text.lines().filter_map(line).collect()
}

/// Enters a user namespace in which the caller is root, and its subordinate ids are the others; and a
/// mount namespace, so that it can mount. Nothing is done for root. Before firn-image has threads.
pub(crate) fn enter() -> Result<(), CallerError> {
    if geteuid().is_root() {
        return Ok(());
    }
    let user = user();
    let ranges = |file| ranges_in(file, &user);
    let (uids, gids) = (ranges("/etc/subuid")?, ranges("/etc/subgid")?);
    let (ready, waiting) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| CallerError::Namespace(errno.into()))?;
    let (answer, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| CallerError::Namespace(errno.into()))?;
    let caller = getpid().as_raw_nonzero().to_string();
    let (uids, gids) = (map(geteuid().as_raw(), &uids), map(getegid().as_raw(), &gids));
    // newuidmap(1) is setuid, which has an effect outside of the namespace alone.
    let helper = sys::fork(&[ready.as_fd(), theirs.as_fd()], || {
        let text = match rustix::io::read(&ready, &mut [0; 1]) {
            Ok(0) | Err(_) => return 1,
            Ok(_) => run("newuidmap", &caller, &uids).and_then(|()| run("newgidmap", &caller, &gids)),
        };
        let text = text.err().unwrap_or_default();
        // Less than what a pipe holds.
        rustix::io::write(&theirs, text.as_bytes()).map_or(1, |_| 0)
    });
    drop((ready, theirs));
    let helper = helper.map_err(CallerError::Namespace)?;
    sys::unshare_user_and_mount().map_err(|errno| CallerError::Namespace(errno.into()))?;
    let mut text = String::new();
    let mapped = File::from(waiting).write_all(&[0]).and_then(|()| File::from(answer).read_to_string(&mut text));
    let _ = waitpid(Some(helper), WaitOptions::empty());
    mapped.map_err(CallerError::Namespace)?;
    if text.is_empty() && geteuid().is_root() { Ok(()) } else { Err(CallerError::Map(text)) }
}

/// The same for what works with the caller's own files alone, too: without a range of ids it stays
/// outside.
pub(crate) fn enter_if_mapped() -> Result<(), CallerError> {
    match enter() {
        Err(CallerError::NoRange { .. } | CallerError::Read { .. }) => Ok(()),
        result => result,
    }
}

/// The caller's directory of data: $XDG_DATA_HOME/firn. `None` for root of the host, and for a user
/// without a home directory.
pub(crate) fn data_directory() -> Option<PathBuf> {
    if is_host_root() {
        return None;
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = variable("XDG_DATA_HOME").filter(|data| data.is_absolute());
    Some(data.or_else(|| Some(variable("HOME")?.join(".local/share")))?.join("firn"))
}

/// The caller's name, or its id if it has none.
fn user() -> String {
    let uid = geteuid().as_raw().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    found.unwrap_or(uid)
}

/// The ranges of a user in /etc/subuid or /etc/subgid: name or uid, first id, count (subuid(5)).
fn ranges_in(file: &'static str, user: &str) -> Result<Vec<(u32, u32)>, CallerError> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        result => result.map_err(|source| CallerError::Read { file, source })?,
    };
    let found = ranges(&text, user, &geteuid().as_raw().to_string());
    if found.is_empty() { Err(CallerError::NoRange { user: user.to_owned(), file }) } else { Ok(found) }
}

fn ranges(text: &str, user: &str, uid: &str) -> Vec<(u32, u32)> {
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        ((owner == user || owner == uid) && count > 0).then_some((first, count))
    };
    text.lines().filter_map(line).collect()
}

/// Root is the caller, and the ranges follow from id 1 on.
fn map(own: u32, ranges: &[(u32, u32)]) -> Vec<IdMap> {
    let mut maps = vec![(0, own, 1)];
    let mut next = 1_u32;
    for (first, count) in ranges {
        let count = (*count).min(u32::MAX - next);
        maps.push((next, *first, count));
        next += count;
    }
    maps
}

/// newuidmap(1), newgidmap(1).
fn run(program: &str, pid: &str, maps: &[IdMap]) -> Result<(), String> {
    let ids = maps.iter().flat_map(|(inside, outside, count)| [inside, outside, count]);
    let mut command = Command::new(program);
    command.arg(pid).args(ids.map(ToString::to_string)).stdin(Stdio::null());
    match command.output() {
        Err(error) => Err(format!("run {program}: {error} (Debian's package uidmap has it)")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "a:100000:65536\n1000:300000:10\n\nb:x:1\nb:500000\nab:1:1\na:400000:0\n";
        assert_eq!(ranges(text, "a", "1000"), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(text, "b", "1001"), []);
    }

    #[test]
    fn ids_are_mapped_one_after_the_other() {
        assert_eq!(map(1000, &[(5000, 10), (100, 3)]), [(0, 1000, 1), (1, 5000, 10), (11, 100, 3)]);
        assert_eq!(map(7, &[(5000, u32::MAX)]), [(0, 7, 1), (1, 5000, u32::MAX - 1)]);
    }
}
