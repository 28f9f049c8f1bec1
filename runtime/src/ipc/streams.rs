//! The standard streams: the caller's are looked at, pipes are made in their place, and
//! the new process takes them.

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

/// The caller's standard streams. `terminal`: whether the new process has one, which
/// needs no more than the window's size.
pub fn look_at_callers(terminal: bool) -> CallerStreams {
    if terminal {
        let size = tcgetwinsize(rustix::stdio::stdin()).ok();
        let window = size.map(|size| ConsoleSize { height: size.ws_row, width: size.ws_col });
        return CallerStreams { stats: [None; 3], window };
    }
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    CallerStreams { stats: streams.map(|stream| rustix::fs::fstat(stream).ok()), window: None }
}

/// Makes the pipes of the plan.
pub fn open(streams: &[Stream; 3]) -> Result<ConsolePair> {
    let mut pair = ConsolePair::default();
    for (number, stream) in streams.iter().enumerate() {
        match stream {
            Stream::Null | Stream::Inherit { pipe: None } => {}
            Stream::Inherit { pipe: Some(inode) } | Stream::Give { pipe: inode } => pair.note_pipe(number, *inode),
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
    // Ours alone: the other end has flags of its own.
    rustix::fs::fcntl_setfl(&caller, rustix::fs::fcntl_getfl(&caller)? | OFlags::NONBLOCK)?;
    pair.note_pipe(number, rustix::fs::fstat(&process)?.st_ino);
    pair.caller.pipes.push((number as RawFd, caller));
    pair.process.pipes.push((number as RawFd, process));
    Ok(())
}

/// The process's end of the pipe for stream `other` once more, for stream `number`.
fn share_pipe(pair: &mut ConsolePair, other: usize, number: usize) -> rustix::io::Result<()> {
    let made = pair.process.pipes.iter().find(|(made, _)| *made == other as RawFd);
    let (_, pipe) = made.ok_or(rustix::io::Errno::BADF)?;
    let process = rustix::io::fcntl_dupfd_cloexec(pipe, 0)?;
    pair.note_pipe(number, rustix::fs::fstat(&process)?.st_ino);
    pair.process.pipes.push((number as RawFd, process));
    Ok(())
}

/// In the new process: makes its ends of the pipes its standard streams.
pub fn take(pipes: Vec<(RawFd, OwnedFd)>) {
    for (number, pipe) in pipes {
        if crate::sys::fds::place(pipe.as_fd(), number).is_err() {
            // Never on with the caller's.
            crate::sys::exec::exit(255);
        }
    }
}
