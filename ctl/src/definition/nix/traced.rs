//! A program that is run under ptrace(2), to know every file that it asks for.
//!
//! Nix tells of some files that it reads and not of others (`readFile`, `readDir`, `pathExists`, what NixOS's
//! modules read by themselves), so its system calls are looked at.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How a program has ended, and what it has asked for.
#[derive(Debug)]
pub struct Ended {
    pub succeeded: bool,
    pub stdout: Vec<u8>,
    pub stderr: String,
    /// `None`: could not be watched.
    pub asked: Option<Asked>,
}

/// What a program has asked the kernel for.
#[derive(Debug, Default)]
pub struct Asked {
    /// Paths, whether there is something or not.
    pub paths: BTreeSet<PathBuf>,
    /// Directories that were listed.
    pub listed: BTreeSet<PathBuf>,
    /// Whether it has spoken to another machine.
    pub network: bool,
    /// Whether it has started processes, of which it is not known what they have asked for.
    pub processes: bool,
}

/// Runs the program with this text as standard input; `watches`: what it asks for is to be known.
pub fn run(program: &str, arguments: &[OsString], directory: &Path, input: &str, watches: bool) -> Result<Ended> {
    // The shell waits for the first line, until it is traced, and leaves the rest to the program.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"read -r go && exec "$@""#, "sh", program]).args(arguments).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("run /bin/sh")?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let watched = watches.then(|| watch::begin(&child)).flatten();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that ends early says why.
            stdin.map(|mut stdin| stdin.write_all(b"\n").and_then(|()| stdin.write_all(input.as_bytes())))
        });
        let stdout = scope.spawn(move || all(stdout));
        let stderr = scope.spawn(move || all(stderr));
        let (succeeded, asked) = match watched {
            Some(()) => watch::until_end(&child)?,
            None => (child.wait().with_context(|| format!("run {program}"))?.success(), None),
        };
        let read = |thread: std::thread::ScopedJoinHandle<'_, std::io::Result<Vec<u8>>>| {
            let joined = thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread has panicked")));
            joined.with_context(|| format!("read what {program} prints"))
        };
        let stderr = String::from_utf8_lossy(&read(stderr)?).into_owned();
        Ok(Ended { succeeded, stdout: read(stdout)?, stderr, asked })
    })
}

fn all(pipe: Option<impl Read>) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut read))?;
    Ok(read)
}

/// Other processors name system calls and their arguments otherwise.
#[cfg(not(target_arch = "x86_64"))]
mod watch {
    pub fn begin(_child: &super::Child) -> Option<()> {
        None
    }

    pub fn until_end(_child: &super::Child) -> super::Result<(bool, Option<super::Asked>)> {
        Ok((false, None))
    }
}

#[cfg(target_arch = "x86_64")]
mod watch {
    use super::{Asked, Child, Context, Path, PathBuf, Result};
    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::ptrace::{self, Event, Options};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::Pid;
    use std::collections::{BTreeSet, HashMap};
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::FileExt;

    /// Begins to trace a child of this thread; `None`: it may not be traced.
    pub fn begin(child: &Child) -> Option<()> {
        let pid = pid_of(child);
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(pid, options).ok()?;
        ptrace::interrupt(pid).ok()
    }

    fn pid_of(child: &Child) -> Pid {
        Pid::from_raw(child.id().cast_signed())
    }

    /// Follows the child and its threads until it has ended.
    pub fn until_end(child: &Child) -> Result<(bool, Option<Asked>)> {
        let main = pid_of(child);
        let mut asked = Asked::default();
        let mut memories = HashMap::new();
        let mut processes = BTreeSet::new();
        loop {
            // Other threads of firnctl have children too.
            let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Err(Errno::EINTR) => continue,
                result => result.context("wait for a traced program")?,
            };
            let (pid, signal) = match status {
                WaitStatus::Exited(pid, code) if pid == main => return Ok((code == 0, Some(asked))),
                WaitStatus::Signaled(pid, ..) if pid == main => return Ok((false, Some(asked))),
                WaitStatus::PtraceSyscall(pid) => {
                    record(pid, &mut memories, &mut asked);
                    (pid, None)
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event == Event::PTRACE_EVENT_EXEC as i32 {
                        memories.remove(&pid);
                    }
                    if [Event::PTRACE_EVENT_FORK as i32, Event::PTRACE_EVENT_VFORK as i32].contains(&event) {
                        processes.extend(ptrace::getevent(pid));
                        asked.processes = true;
                    }
                    (pid, None)
                }
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            // A process of its own, as a builder of Nix's, goes on untraced.
            let went_on = match processes.remove(&i64::from(pid.as_raw())) {
                true => ptrace::detach(pid, signal),
                false => ptrace::syscall(pid, signal),
            };
            match went_on {
                // Killed meanwhile: its end comes next.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).context("trace a program"),
            }
        }
    }

    /// Of a system call, which argument is a path, and which the directory that it counts from.
    fn path_arguments(call: i64) -> Option<(Option<usize>, usize)> {
        Some(match call {
            libc::SYS_open
            | libc::SYS_stat
            | libc::SYS_lstat
            | libc::SYS_access
            | libc::SYS_execve
            | libc::SYS_readlink
            | libc::SYS_getxattr
            | libc::SYS_lgetxattr
            | libc::SYS_listxattr
            | libc::SYS_llistxattr => (None, 0),
            libc::SYS_openat
            | libc::SYS_newfstatat
            | libc::SYS_readlinkat
            | libc::SYS_faccessat
            | libc::SYS_faccessat2
            | libc::SYS_statx
            | libc::SYS_execveat
            | libc::SYS_openat2 => (Some(0), 1),
            _ => return None,
        })
    }

    fn record(pid: Pid, memories: &mut HashMap<Pid, File>, asked: &mut Asked) {
        let Ok(registers) = ptrace::getregs(pid) else { return };
        // Entered, and not left (ptrace(2)); what fails so when it is left is recorded twice.
        if registers.rax.cast_signed() != -i64::from(libc::ENOSYS) {
            return;
        }
        let arguments = [registers.rdi, registers.rsi, registers.rdx];
        let call = registers.orig_rax.cast_signed();
        let mut read = |address: u64| {
            let memory = match memories.entry(pid) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(File::open(format!("/proc/{pid}/mem")).ok()?)
                }
            };
            text_at(memory, address)
        };
        match (call, path_arguments(call)) {
            (_, Some((directory, path))) => {
                let Some(path_text) = read(arguments[path]) else { return };
                let from = directory.map(|at| descriptor(arguments[at]));
                let path = absolute(pid, from, Path::new(OsStr::from_bytes(&path_text)));
                // By the path that it has, which may lead through links, and not only where that is.
                if is_listed(call, &arguments) {
                    asked.listed.extend(path.clone());
                }
                asked.paths.extend(path);
            }
            (libc::SYS_getdents | libc::SYS_getdents64, _) => {
                asked.listed.extend(std::fs::read_link(format!("/proc/{pid}/fd/{}", descriptor(arguments[0]))));
            }
            (libc::SYS_socket, _) => {
                let family = i32::try_from(arguments[0]).unwrap_or(0);
                asked.network |= [libc::AF_INET, libc::AF_INET6].contains(&family);
            }
            _ => {}
        }
    }

    /// A directory is opened to be listed (opendir(3)).
    fn is_listed(call: i64, arguments: &[u64; 3]) -> bool {
        let flags = match call {
            libc::SYS_open => arguments[1],
            libc::SYS_openat => arguments[2],
            _ => return false,
        };
        descriptor(flags) & libc::O_DIRECTORY != 0
    }

    /// The lower half of a register is an int.
    fn descriptor(register: u64) -> i32 {
        (register & 0xffff_ffff).try_into().map_or(libc::AT_FDCWD, |low: u32| low.cast_signed())
    }

    /// A path of another process: `None` counts from its working directory.
    fn absolute(pid: Pid, from: Option<i32>, path: &Path) -> Option<PathBuf> {
        if path.is_absolute() {
            return Some(path.to_owned());
        }
        let base = match from {
            None | Some(libc::AT_FDCWD) => "cwd".to_owned(),
            Some(number) => format!("fd/{number}"),
        };
        let base = std::fs::read_link(format!("/proc/{pid}/{base}")).ok()?;
        // Of the descriptor itself, which was opened by its path.
        if path.as_os_str().is_empty() { None } else { Some(base.join(path)) }
    }

    /// A text that ends with NUL. The page after it may not be there.
    fn text_at(memory: &File, address: u64) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut page = [0; 4096];
        while text.len() < libc::PATH_MAX as usize {
            let at = address.checked_add(text.len() as u64)?;
            let length = 4096 - (at % 4096) as usize;
            let read = memory.read_at(&mut page[..length], at).ok().filter(|read| *read > 0)?;
            if let Some(end) = page[..read].iter().position(|byte| *byte == 0) {
                text.extend(&page[..end]);
                return Some(text);
            }
            text.extend(&page[..read]);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_a_program_asks_for_is_known() {
        let directory = std::env::temp_dir().join(format!("firnctl-traced-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("d/e")).unwrap();
        std::fs::write(directory.join("read"), "of the file\n").unwrap();
        let script = "cat read; ls d >&2; test -e absent; cat; exit 3";
        let ended = run("sh", &["-c".into(), script.into()], &directory, "input\n", true).unwrap();
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), "of the file\ninput\n");
        assert_eq!((ended.succeeded, ended.stderr.as_str()), (false, "e\n"));
        // cat and ls are processes of their own, as builders are of Nix's.
        let asked = ended.asked.unwrap();
        assert!(asked.paths.contains(&directory.join("absent")), "{asked:?}");
        assert!(asked.processes && !asked.network);

        let ended = run("cat", &["read".into()], &directory, "", true).unwrap();
        let asked = ended.asked.unwrap();
        assert!(asked.paths.contains(&directory.join("read")) && !asked.processes, "{asked:?}");
        std::os::unix::fs::symlink("d", directory.join("link")).unwrap();
        let ended = run("ls", &["link/".into()], &directory, "", true).unwrap();
        assert!(ended.asked.unwrap().listed.contains(&directory.join("link/")));
        let ended = run("ls", &["d".into()], &directory, "", true).unwrap();
        assert!(ended.asked.unwrap().listed.contains(&std::fs::canonicalize(directory.join("d")).unwrap()));
        assert!(ended.succeeded);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
