//! `firn-bench count`: system calls or instructions of a command and of all its
//! processes, up to the container's program. By ptrace(2), which serves every
//! command on every machine; profilers need counters that virtual machines lack,
//! or don't know the system calls of the mount API.

use crate::{Result, options};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// What a container's program is called in the roots of the bench.
const PROGRAMS: [&str; 2] = ["true", "sleep"];
/// linux/ptrace.h: struct ptrace_syscall_info begins with the kind of stop.
const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const INFO_ENTRY: u8 = 1;

#[derive(Debug)]
struct Tracer {
    /// How to let a process go on.
    go_on: libc::c_uint,
    known: BTreeSet<i32>,
    count: u64,
}

/// `calls|instructions FILE -- COMMAND…`: writes the number into the file and
/// fails if the command does.
pub fn run(args: &[String]) -> Result<()> {
    let [kind, file, _, program, args @ ..] = args else { return Err(options::HELP.into()) };
    let go_on = match kind.as_str() {
        "calls" => libc::PTRACE_SYSCALL,
        "instructions" => libc::PTRACE_SINGLESTEP,
        _ => return Err(options::HELP.into()),
    };
    // A stop for each instruction: half the time where nobody has to be woken on
    // another processor.
    let mut processor = rustix::thread::CpuSet::new();
    processor.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &processor)?;
    let mut command = Command::new(program);
    command.args(args);
    let trace_me = || ptrace(libc::PTRACE_TRACEME, 0, 0, 0).map(drop);
    // SAFETY: the closure makes one system call and touches no memory.
    unsafe { command.pre_exec(trace_me) };
    let root = i32::try_from(command.spawn()?.id())?;
    let mut tracer = Tracer { go_on, known: BTreeSet::from([root]), count: 0 };
    let status = tracer.wait_exited(root)?;
    tracer.let_go();
    std::fs::write(file, tracer.count.to_string())?;
    if status == 0 { Ok(()) } else { Err(format!("{program} ended with status {status:#x}").into()) }
}

impl Tracer {
    fn wait_exited(&mut self, root: i32) -> Result<i32> {
        let (pid, _) = wait(root)?;
        let options = libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACEEXEC
            | libc::PTRACE_O_TRACESYSGOOD;
        ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options as usize)?;
        self.resume(pid, 0)?;
        loop {
            let (pid, status) = wait(-1)?;
            if !libc::WIFSTOPPED(status) {
                self.known.remove(&pid);
                if pid == root {
                    return Ok(status);
                }
                continue;
            }
            self.stopped(pid, status)?;
        }
    }

    fn stopped(&mut self, pid: i32, status: i32) -> Result<()> {
        const CALL: i32 = libc::SIGTRAP | 0x80;
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        // A new process begins with a stop that is not its own.
        let is_new = self.known.insert(pid);
        if event == libc::PTRACE_EVENT_EXEC && is_program(pid) {
            self.known.remove(&pid);
            ptrace(libc::PTRACE_DETACH, pid, 0, 0)?;
            return Ok(());
        }
        match signal {
            CALL => self.count += u64::from(enters(pid)?),
            libc::SIGTRAP if event == 0 => self.count += 1,
            libc::SIGTRAP => {}
            libc::SIGSTOP if is_new => {}
            signal => return self.resume(pid, signal),
        }
        self.resume(pid, 0)
    }

    fn resume(&self, pid: i32, signal: i32) -> Result<()> {
        match ptrace(self.go_on, pid, 0, signal as usize) {
            // Killed meanwhile; the next wait tells.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    /// Those that are still there (a created container's init) go on by
    /// themselves. Only a process that has stopped can be let go.
    fn let_go(&mut self) {
        for pid in std::mem::take(&mut self.known) {
            // To this thread alone: a stop of the whole process would last.
            // SAFETY: no memory is passed.
            unsafe { libc::syscall(libc::SYS_tkill, pid, libc::SIGSTOP) };
            while let Ok((_, status)) = wait(pid) {
                if !libc::WIFSTOPPED(status) {
                    break;
                }
                if libc::WSTOPSIG(status) == libc::SIGSTOP {
                    let _ = ptrace(libc::PTRACE_DETACH, pid, 0, 0);
                    break;
                }
                let _ = ptrace(libc::PTRACE_CONT, pid, 0, 0);
            }
        }
    }
}

fn wait(pid: i32) -> std::io::Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: there is a place for the status.
    match unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } {
        -1 => Err(std::io::Error::last_os_error()),
        pid => Ok((pid, status)),
    }
}

fn is_program(pid: i32) -> bool {
    let exe = std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).unwrap_or_default();
    PROGRAMS.iter().any(|name| exe.file_name().is_some_and(|file| file == *name))
}

/// Whether the process stopped at a call's begin; otherwise at its end.
fn enters(pid: i32) -> std::io::Result<bool> {
    let mut info = [0u8; 88];
    ptrace(GET_SYSCALL_INFO, pid, info.len(), info.as_mut_ptr() as usize)?;
    Ok(info[0] == INFO_ENTRY)
}

fn ptrace(request: libc::c_uint, pid: i32, address: usize, data: usize) -> std::io::Result<libc::c_long> {
    // SAFETY: the one request that writes to memory, GET_SYSCALL_INFO, gets a
    // place and its size; the others pass numbers.
    match unsafe { libc::ptrace(request, pid, address, data) } {
        -1 => Err(std::io::Error::last_os_error()),
        result => Ok(result),
    }
}
