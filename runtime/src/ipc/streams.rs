//! Standard streams: the caller's are examined, pipes replace them, and the new process
//! installs its ends.

use super::pair::ConsolePair;
use crate::error::{Context, Result};
use crate::plan::request::CallerStreams;
use crate::plan::streams::Stream;
use crate::spec::process::ConsoleSize;
use rustix::fd::{AsFd, OwnedFd, RawFd};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::tcgetwinsize;

const STDIN: usize = 0;

/// Examines the caller's standard streams. `terminal`: the new process has a terminal, for
/// which only the window size matters.
pub fn probe_caller_streams(terminal: bool) -> CallerStreams {
    if terminal {
        let size = tcgetwinsize(rustix::stdio::stdin()).ok();
        let window = size.map(|size| ConsoleSize { height: size.ws_row, width: size.ws_col });
        return CallerStreams { stats: [None; 3], window };
    }
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    CallerStreams { stats: streams.map(|stream| rustix::fs::fstat(stream).ok()), window: None }
}

/// Makes the pipes of the plan.
pub fn make_pipes(streams: &[Stream; 3]) -> Result<ConsolePair> {
    let mut pair = ConsolePair::default();
    for (number, stream) in streams.iter().enumerate() {
        match stream {
            Stream::Null | Stream::Inherit { pipe: None } => {}
            Stream::Inherit { pipe: Some(inode) } | Stream::Give { pipe: inode } => pair.record_pipe(number, *inode),
            Stream::Relay { same_as } => match same_as {
                Some(other) => share_pipe(&mut pair, *other, number),
                None => make_pipe(&mut pair, number),
            }
            .doing(|| "make a pipe for a standard stream")?,
        }
    }
    Ok(pair)
}

fn make_pipe(pair: &mut ConsolePair, number: usize) -> rustix::io::Result<()> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let (caller, process) = if number == STDIN { (writer, reader) } else { (reader, writer) };
    // O_NONBLOCK for this end only: the two ends are separate open file descriptions.
    rustix::fs::fcntl_setfl(&caller, rustix::fs::fcntl_getfl(&caller)? | OFlags::NONBLOCK)?;
    pair.record_pipe(number, rustix::fs::fstat(&process)?.st_ino);
    pair.caller.pipes.push((number as RawFd, caller));
    pair.process.pipes.push((number as RawFd, process));
    Ok(())
}

/// Uses the pipe of stream `other` for stream `number` as well.
fn share_pipe(pair: &mut ConsolePair, other: usize, number: usize) -> rustix::io::Result<()> {
    let made = pair.process.pipes.iter().find(|(made, _)| *made == other as RawFd);
    let (_, pipe) = made.ok_or(rustix::io::Errno::BADF)?;
    let process = rustix::io::fcntl_dupfd_cloexec(pipe, 0)?;
    pair.record_pipe(number, rustix::fs::fstat(&process)?.st_ino);
    pair.process.pipes.push((number as RawFd, process));
    Ok(())
}

/// In the new process: dup2(2) of its pipe ends onto the standard streams.
pub fn install(pipes: Vec<(RawFd, OwnedFd)>) {
    for (number, pipe) in pipes {
        if crate::sys::fds::dup2(pipe.as_fd(), number).is_err() {
            // It must not run on the caller's streams.
            crate::sys::exec::exit(255);
        }
    }
}
