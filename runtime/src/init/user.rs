//! The change to the user of process.user.

use super::caps;
use super::context::ProcessState;
use crate::error::{Context, Error, Result};
use crate::path::InRoot;
use crate::sys::{ids, prctl};
use rustix::fs::Mode;
use std::ffi::CString;

/// PR_SET_NO_NEW_PRIVS, where the process has it.
pub fn set_no_new_privs(state: &ProcessState<'_>) -> Result<()> {
    if state.has_no_new_privs() {
        prctl::set_no_new_privs().doing(|| "set no_new_privs")?;
    }
    Ok(())
}

/// umask, supplementary groups, gid, uid, then capabilities: setgroups(2) and setresgid(2)
/// need those that setresuid(2) drops.
pub fn become_user(state: &mut ProcessState<'_>) -> Result<()> {
    set_home(state)?;
    let process = state.plan;
    rustix::process::umask(Mode::from_raw_mode(process.umask));
    let set_groups = || if process.keeps_groups { Ok(()) } else { ids::set_groups(&process.groups) };
    match set_groups() {
        // setgroups is denied in a user namespace whose gid map was written without
        // CAP_SETGID (CVE-2014-8989: a dropped group could grant access). None was asked for.
        Err(rustix::io::Errno::PERM) if process.groups.is_empty() => {}
        result => result.doing(|| format!("set the groups {:?}", process.groups))?,
    }
    let become_id = |kind: &str, id: u32, result: rustix::io::Result<()>| match result {
        Err(rustix::io::Errno::INVAL) => Err(Error::new(format!("{kind} {id} is not mapped in the user namespace"))),
        result => result.doing(|| format!("set {kind} {id}")),
    };
    become_id("group", process.gid, ids::set_gid(process.gid))?;
    become_id("user", process.uid, ids::set_uid(process.uid))?;
    caps::set_capabilities(state)?;
    caps::raise_ambient(state)
}

/// Sets HOME where the config has none or an empty one: from the container's /etc/passwd, or
/// `/`.
fn set_home(state: &mut ProcessState<'_>) -> Result<()> {
    const LIMIT: u64 = 4 << 20;
    let given = state.env.iter().position(|entry| entry.to_bytes().starts_with(b"HOME="));
    if let Some(at) = given {
        if state.env[at].as_c_str() != c"HOME=" {
            return Ok(());
        }
        state.env.remove(at);
    }
    // An unreadable passwd counts as an empty one.
    let passwd = state.root()?.read_file(&InRoot::new("/etc/passwd"), LIMIT).ok().flatten().unwrap_or_default();
    let home = home_of(&passwd, state.plan.uid).unwrap_or(b"/");
    state.env.push(CString::new([b"HOME=", home].concat()).unwrap_or_else(|_| c"HOME=/".to_owned()));
    Ok(())
}

/// The home directory of `uid`: the sixth field of its line, passwd(5).
fn home_of(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    let uid = uid.to_string();
    let line = passwd.split(|b| *b == b'\n').find(|line| line.split(|b| *b == b':').nth(2) == Some(uid.as_bytes()))?;
    line.split(|b| *b == b':').nth(5).filter(|home| !home.is_empty())
}

#[cfg(test)]
mod tests {
    use super::home_of;

    #[test]
    fn home_is_the_sixth_field_of_the_users_line() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nbad\nx:x:10:1::/home/x:/bin/sh\ny:x:11:1:::/bin/sh";
        assert_eq!(home_of(passwd, 0), Some(&b"/root"[..]));
        assert_eq!(home_of(passwd, 10), Some(&b"/home/x"[..]));
        assert_eq!(home_of(passwd, 11), None);
        assert_eq!(home_of(passwd, 1), None);
    }
}
