//! Hooks (runtime-spec, config.md, "POSIX-platform Hooks"): programs of the caller that run
//! at defined points, with the container's state on stdin.

use super::seal;
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::log::Log;
use crate::path::write_all;
use crate::spec::hooks::Hook;
use crate::state::oci_state::state_json;
use crate::state::{Record, Status};
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::SeekFrom;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Runs `hooks` in order, in directory `dir` or the current one. Errors: the first hook
/// that fails, in runc's words, which scripts match.
pub fn run(kind: &str, hooks: &[Hook], dir: Option<&Path>, state: &str) -> Result<()> {
    hooks.iter().enumerate().try_for_each(|(number, hook)| run_one(kind, number, hook, dir, state))
}

/// Runs the poststop hooks, after the container is deleted. A failure is logged as a
/// warning, and the remaining hooks run (runtime-spec, runtime.md, "Lifecycle").
pub fn run_poststop(hooks: &[Hook], record: &Record, log: &Log) {
    if hooks.is_empty() {
        return;
    }
    let state = state_json(record, Status::Stopped, 0);
    for (number, hook) in hooks.iter().enumerate() {
        if let Err(error) = run_one("poststop", number, hook, record.hooks_directory(), &state) {
            log.warn(&error.chain());
        }
    }
}

fn run_one(kind: &str, number: usize, hook: &Hook, dir: Option<&Path>, state: &str) -> Result<()> {
    spawn_and_wait(hook, dir, state)
        .doing(|| format!("error running {kind} hook #{number}: error running hook {}", hook.path))
}

fn spawn_and_wait(hook: &Hook, dir: Option<&Path>, state: &str) -> Result<()> {
    let mut command = Command::new(&hook.path);
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    command.env_remove(seal::SEALED_VARIABLE);
    if let Some(env) = &hook.env {
        command.env_clear().envs(env.iter().filter_map(|entry| entry.split_once('=')));
    }
    // memfds instead of pipes: neither a hook that does not read its stdin nor one that
    // writes more than a pipe's buffer can block.
    let output = memory_file("")?;
    let stream = || output.try_clone().map(Stdio::from).doing(|| "duplicate its output file");
    let stdin = Stdio::from(memory_file(state)?);
    let mut child = command.stdin(stdin).stdout(stream()?).stderr(stream()?).spawn().doing(|| "execute it")?;
    let status = wait(&mut child, hook.timeout)?;
    if status.success() {
        return Ok(());
    }
    rustix::fs::seek(&output, SeekFrom::Start(0)).doing(|| "read its output")?;
    let text = crate::path::read_all(&output, 4095).doing(|| "read its output")?;
    let text = String::from_utf8_lossy(&text[..text.len().min(4096)]);
    bail!("{}, output: {:?}", describe_exit(status), text.trim_end());
}

fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal: {}", sys::signal::description(signal)),
        _ => status.to_string(),
    }
}

/// A memfd that holds `text`, at offset 0.
fn memory_file(text: &str) -> Result<OwnedFd> {
    let make = || {
        let file = super::memfd::data(c"hook")?;
        write_all(&file, text.as_bytes())?;
        rustix::fs::seek(&file, SeekFrom::Start(0))?;
        Ok::<_, rustix::io::Errno>(file)
    };
    make().doing(|| "memfd_create")
}

fn wait(child: &mut Child, timeout: Option<i64>) -> Result<ExitStatus> {
    let Some(seconds) = timeout else { return child.wait().doing(|| "wait for it") };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| Error::new("it has no pid"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).doing(|| "pidfd_open")?;
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).doing(|| "wait for it")? == 0 {
        child.kill().doing(|| "kill it after its timeout")?;
        child.wait().doing(|| "wait for it")?;
        bail!("it did not end within its timeout of {seconds} s");
    }
    child.wait().doing(|| "wait for it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Option<i64>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", script].map(String::from).to_vec(),
            env: Some(vec!["WORD=x".into()]),
            timeout,
        }
    }

    #[test]
    fn a_hook_gets_the_state_on_stdin_and_its_environment_only() {
        run(
            "prestart",
            &[shell("read line && test \"$line\" = '{}' && test $WORD = x && test -z \"$HOME\"", None)],
            None,
            "{}\n",
        )
        .unwrap();
    }

    #[test]
    fn a_failing_hook_is_reported_with_its_output() {
        let error =
            run("poststop", &[shell("true", None), shell("echo no >&2; exit 3", None)], None, "{}").unwrap_err();
        assert_eq!(
            error.chain(),
            "error running poststop hook #1: error running hook /bin/sh: exit status 3, output: \"no\""
        );
    }

    #[test]
    fn a_hook_is_killed_after_its_timeout() {
        let error = run("prestart", &[shell("exec sleep 60", Some(1))], None, "{}").unwrap_err();
        assert!(error.chain().ends_with("within its timeout of 1 s"), "{}", error.chain());
    }
}
