//! The standard streams of a container's process.
//!
//! An engine gives pipes of its own to `create` and `--detach`: they become the
//! container's, and its user their owner, who can open them again by /dev/stdout.
//! In the foreground the streams are the caller's and stay that. A terminal in the
//! container could be read by what `exec` has left behind, when the caller types
//! the next line for somebody else; so a pipe of our own lies between. Files and pipes
//! pass, and keep their owner.

use super::console::Way;
use crate::bail;
use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::plan::process::{ProcessPlan, Stream};
use crate::sys::clone::NEWPID;
use rustix::fd::{AsFd, OwnedFd, RawFd};
use rustix::fs::{FileType, OFlags, Stat, makedev};
use rustix::pipe::{PipeFlags, pipe_with};

const STDIN: usize = 0;

/// What becomes of output that goes to a file or a pipe of the caller's.
#[derive(Debug, Clone, Copy)]
pub enum Output {
    /// It passes as it is, as under runc, so that what the process leaves behind can
    /// write on. /dev/stdout can be opened again by the file's owner only.
    Passes,
    /// Nothing outlives the process: so output has a pipe of firn's, where it does not
    /// belong to this user of the host, and servers can open /dev/stdout again.
    OpensAgain(Option<u32>),
}

impl Output {
    pub fn of_init(plan: &Plan) -> Self {
        match plan.namespaces.makes(NEWPID) {
            true => Output::OpensAgain(plan.owner()),
            false => Output::Passes,
        }
    }
}

/// The caller's streams as they are.
pub fn pass(process: &mut ProcessPlan) -> Result<Way> {
    let mut way = Way::default();
    for (number, stat) in look()? {
        process.streams[number] = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Stream::Give,
            _ if is_null(&stat) => Stream::Null,
            _ => Stream::Pass,
        };
        way.name(number, &stat);
    }
    Ok(way)
}

/// Pipes between the caller's streams and those of a process.
pub fn stand_between(process: &mut ProcessPlan, outputs: Output) -> Result<Way> {
    let mut way = Way::default();
    let mut output: Option<(Stat, usize)> = None;
    for (number, stat) in look()? {
        if is_null(&stat) {
            process.streams[number] = Stream::Null;
        } else if !needs_pipe(number, &stat, outputs) {
            way.name(number, &stat);
        } else {
            process.streams[number] = Stream::Give;
            // One pipe for both outputs where they go to one place: else what was
            // written to one might overtake what was written to the other.
            let same = output.as_ref().filter(|(other, _)| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino));
            match same {
                Some((_, at)) => way.share(*at, number),
                None => way.add(number),
            }
            .doing(|| "make a pipe for a standard stream")?;
            output = (number != STDIN).then_some((stat, way.far.pipes.len() - 1));
        }
    }
    Ok(way)
}

/// Input that is a file or a pipe is read no further than the process reads it.
fn needs_pipe(number: usize, stat: &Stat, outputs: Output) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => true,
        FileType::Fifo | FileType::RegularFile => match outputs {
            Output::Passes => false,
            Output::OpensAgain(user) => number != STDIN && user != Some(stat.st_uid),
        },
        _ => false,
    }
}

/// Those that are open. A directory leads to everything beside it.
fn look() -> Result<Vec<(usize, Stat)>> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut found = Vec::with_capacity(3);
    for (number, stream) in streams.into_iter().enumerate() {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        if matches!(FileType::from_raw_mode(stat.st_mode), FileType::Directory | FileType::Symlink) {
            bail!("descriptor {number} is a directory or a link, and no standard stream");
        }
        found.push((number, stat));
    }
    Ok(found)
}

pub fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3)
}

impl Way {
    fn add(&mut self, number: usize) -> rustix::io::Result<()> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let (near, far) = if number == STDIN { (writer, reader) } else { (reader, writer) };
        // Ours alone: the other end has flags of its own.
        rustix::fs::fcntl_setfl(&near, rustix::fs::fcntl_getfl(&near)? | OFlags::NONBLOCK)?;
        self.name(number, &rustix::fs::fstat(&far)?);
        self.near.pipes.push((number as RawFd, near));
        self.far.pipes.push((number as RawFd, far));
        Ok(())
    }

    fn share(&mut self, at: usize, number: usize) -> rustix::io::Result<()> {
        let far = rustix::io::fcntl_dupfd_cloexec(&self.far.pipes[at].1, 0)?;
        self.name(number, &rustix::fs::fstat(&far)?);
        self.far.pipes.push((number as RawFd, far));
        Ok(())
    }

    /// As /proc/PID/fd names a pipe, for a checkpoint.
    fn name(&mut self, number: usize, stat: &Stat) {
        if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
            self.names.resize(3, String::new());
            self.names[number] = format!("pipe:[{}]", stat.st_ino);
        }
    }
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
