//! Users of a container that runs, by its own /etc/passwd and /etc/group (passwd(5), group(5)).

use crate::generation::Container;
use anyhow::{Context, Result, bail};
use firn::path::{InRoot, RootFd};
use rustix::fs::{FileType, Mode, OFlags};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// Bytes that are read of either file.
const LIMIT: u64 = 4 << 20;
/// Where a user has none (passwd(5)).
const SHELL: &str = "/bin/sh";

/// What a process of a user has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary ones, sorted.
    pub groups: Vec<u32>,
    pub home: String,
    pub shell: String,
}

/// The root of a container, held while its files are read.
#[derive(Debug)]
pub struct Root(RootFd);

impl Root {
    /// Errors: it does not run.
    pub fn of(container: &Container) -> Result<Self> {
        let what = || format!("container {}", container.name);
        let pid = pid(container)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())
            .with_context(|| format!("{}: open its root", what()))?;
        // If init has not ended since, the number was its own all the time.
        if self::pid(container)? != pid {
            bail!("{}: has restarted just now: try again", what());
        }
        Ok(Root(RootFd::new(root)))
    }

    /// That of one that runs; else of what it has written, where that stays. `None`: nothing stays.
    pub fn of_any(container: &Container) -> Result<Option<Self>> {
        if container.connect()?.is_some() {
            return Self::of(container).map(Some);
        }
        let wanted = container.wanted()?.with_context(|| format!("container {}: is not installed", container.name))?;
        let Some(upper) = container.upper(&wanted.definition) else { return Ok(None) };
        // What is written of an overlay.
        let upper = upper.join("upper");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&upper, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            result => Ok(Some(Root(RootFd::new(result.with_context(|| format!("open {}", upper.display()))?)))),
        }
    }

    /// A user by name.
    pub fn user(&self, name: &str) -> Result<User> {
        let (passwd, groups) = (self.text("/etc/passwd")?, self.text("/etc/group")?);
        find(name, &passwd, &groups).with_context(|| format!("user {name}: there is none in its /etc/passwd"))
    }

    /// The number of a group.
    pub fn group(&self, name: &str) -> Result<u32> {
        let groups = self.text("/etc/group")?;
        group(name, &groups).with_context(|| format!("group {name}: there is none in its /etc/group"))
    }

    /// Whether it has a directory there.
    pub fn has_directory(&self, path: &str) -> bool {
        self.0.open(&InRoot::new(path), OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// A connection to a socket that listens there; `None`: none does. By a descriptor, so that it is no other
    /// one: no link is followed but within the root.
    pub fn connect(&self, path: &str) -> Result<Option<UnixStream>> {
        let Ok(socket) = self.0.open(&InRoot::new(path), OFlags::PATH | OFlags::NOFOLLOW) else { return Ok(None) };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&socket).with_context(|| format!("stat {path}"))?.st_mode);
        if kind != FileType::Socket {
            return Ok(None);
        }
        match UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
            result => result.map(Some).with_context(|| format!("connect to its socket {path}")),
        }
    }

    /// A file's text; nothing where there is none.
    pub fn text(&self, path: &str) -> Result<String> {
        let bytes = self.0.read_file(&InRoot::new(path), LIMIT)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn pid(container: &Container) -> Result<i32> {
    let name = &container.name;
    let mut client = container
        .connect()?
        .with_context(|| format!("container {name}: does not run; `firnctl start {name}` starts it"))?;
    let (reply, _) = client.call(firn_shim::control::protocol::Request::Status)?;
    reply.status.and_then(|status| status.pid).with_context(|| format!("container {name}: does not run just now"))
}

fn find(name: &str, passwd: &str, groups: &str) -> Option<User> {
    let entry = fields(passwd).find(|entry| entry.len() >= 7 && entry[0] == name)?;
    let (uid, gid) = (id(entry[2])?, id(entry[3])?);
    let mut of_user: Vec<u32> = fields(groups)
        .filter(|group| group.len() >= 4 && group[3].split(',').any(|member| member == name))
        .filter_map(|group| id(group[2]))
        .collect();
    of_user.sort_unstable();
    of_user.dedup();
    let absolute = |text: &str, default: &str| if text.starts_with('/') { text } else { default }.to_owned();
    let (home, shell) = (absolute(entry[5], "/"), absolute(entry[6], SHELL));
    Some(User { name: name.into(), uid, gid, groups: of_user, home, shell })
}

fn group(name: &str, groups: &str) -> Option<u32> {
    let entry = fields(groups).find(|entry| entry.len() >= 3 && entry[0] == name)?;
    id(entry[2])
}

/// (uid_t)-1 is none: it means "no change" in setresuid(2).
fn id(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?.filter(|&id| id != u32::MAX)
}

fn fields(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0::/root:/bin/bash\nweb:x:33:34::/srv:\nodd:x:-1:0::/:/bin/sh\nlast:x:4294967295:0::/:\n";
    const GROUP: &str = "root:x:0:\nlog:x:4:root,web\nadm:x:3:web\nx:x:y:web\n";

    #[test]
    fn users_have_what_their_files_say() {
        let web = find("web", PASSWD, GROUP).unwrap();
        assert_eq!((web.uid, web.gid, &*web.groups), (33, 34, &[3, 4][..]));
        assert_eq!((&*web.home, &*web.shell), ("/srv", "/bin/sh"));
        assert_eq!(find("root", PASSWD, GROUP).unwrap().shell, "/bin/bash");
        for name in ["nobody", "odd", "last", "", "33"] {
            assert_eq!(find(name, PASSWD, GROUP), None, "{name}");
        }
        assert_eq!((group("adm", GROUP), group("x", GROUP), group("none", GROUP)), (Some(3), None, None));
    }
}
