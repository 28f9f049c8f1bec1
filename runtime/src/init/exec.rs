//! The program: looked up, and executed.

use super::context::ProcessState;
use super::fds;
use crate::compat;
use crate::error::{Context, Error, Kind, Result};
use crate::path::InRoot;
use crate::sys::exec::{CVec, execve, may_execute};
use crate::sys::{environment, signal};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// Finds the program, after the change of user: EACCES is that user's, and a missing program
/// is an error of `create`, in the words that engines match (`compat.rs`).
pub fn find_program(state: &mut ProcessState<'_>) -> Result<()> {
    let Some(name) = state.plan.args.first() else { return Err(Error::new("process.args must not be empty")) };
    let text = name.to_string_lossy();
    let program = if name.to_bytes().contains(&b'/') {
        let path = if name.to_bytes().starts_with(b"/") {
            InRoot::new(name.to_bytes())
        } else {
            resolve_relative(state, name)
        };
        check_executable(state, &path).doing(|| format!("exec {text:?}: stat {text}"))?;
        name.clone()
    } else {
        search_path(state, name)?
    };
    state.program = Some(program);
    Ok(())
}

/// A name with a slash that is not absolute is relative to the working directory.
fn resolve_relative(state: &ProcessState<'_>, name: &CStr) -> InRoot {
    state.plan.cwd.join(name.to_bytes())
}

/// Looks `name` up in PATH of the container's environment; the last PATH counts.
fn search_path(state: &ProcessState<'_>, name: &CStr) -> Result<CString> {
    let text = name.to_string_lossy();
    let path = state.env.iter().rev().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let mut denied = false;
    // As execvp(3): ENOENT and ENOTDIR go on to the next directory, EACCES too, but is
    // the error if no other has the program. Other errors end the search.
    for dir in path.unwrap_or_default().split(|b| *b == b':') {
        let candidate = if dir.starts_with(b"/") { InRoot::new(dir) } else { state.plan.cwd.join(dir) };
        let candidate = candidate.join(name.to_bytes());
        match check_executable(state, &candidate) {
            Ok(()) => {
                let full = if dir.is_empty() { b"." } else { dir };
                let full = [full, b"/", name.to_bytes()].concat();
                return CString::new(full).map_err(|_| Error::new("PATH has a NUL byte"));
            }
            Err(Errno::ACCESS) => denied = true,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno).doing(|| format!("exec {text:?}: stat {candidate}")),
        }
    }
    match denied {
        true => Err(Errno::ACCESS).doing(|| format!("exec {text:?}")),
        false => Err(Error::new(format!("exec {text:?}: {}", compat::NOT_FOUND_IN_PATH))),
    }
}

/// Checks for a regular file that the user may execute. Magic links are not followed: as
/// program, /proc/self/exe would execute the runtime's binary, which the container could
/// then open for writing (CVE-2019-5736).
fn check_executable(state: &ProcessState<'_>, path: &InRoot) -> rustix::io::Result<()> {
    let root = state.root.as_ref().ok_or(Errno::BADF)?;
    let file = root.open(path, OFlags::PATH)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    may_execute(file.as_fd())
}

/// Prepares execve while memory can be allocated and any system call made: default SIGPIPE,
/// argv and envp, and descriptors. Open stay the standard streams, the preserved ones,
/// and `kept`, which have FD_CLOEXEC.
pub fn prepare_exec(state: &mut ProcessState<'_>, kept: &[BorrowedFd<'_>]) -> Result<()> {
    signal::reset_sigpipe();
    let argv = CVec::new(state.plan.args.clone());
    state.vectors = Some((argv, CVec::new(std::mem::take(&mut state.env))));
    fds::close_except(&state.plan.preserved_fds, kept)?;
    // The caller's environment; the program's is in `vectors`.
    environment::overwrite();
    Ok(())
}

/// execve(2) of the program; returns only the error, of [`Kind::Program`].
pub fn exec_program(state: &mut ProcessState<'_>) -> Error {
    let (Some(program), Some((argv, envp))) = (&state.program, &state.vectors) else {
        return Error::new("exec: the program was not looked up");
    };
    let errno = execve(program, argv, envp);
    Error::of_errno(errno, format!("exec {}", program.to_string_lossy())).with_kind(Kind::Program)
}
