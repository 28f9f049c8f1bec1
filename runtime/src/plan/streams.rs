//! What becomes of a process's standard streams.
//!
//! An engine gives pipes of its own to `create` and `--detach`: they become the
//! container's, and its user their owner, who can open them again by /dev/stdout.
//! In the foreground the streams are the caller's and stay that. A terminal in the
//! container could be read by what `exec` has left behind, when the caller types
//! the next line for somebody else; so a pipe of our own lies between. Files and pipes
//! pass, and keep their owner.

use super::request::{Attachment, Console};
use crate::bail;
use crate::error::Result;
use crate::spec::process::ConsoleSize;
use rustix::fs::{FileType, Stat, makedev};

const STDIN: usize = 0;

/// One standard stream of the new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Inherited as it is. `pipe` is its inode where it is one.
    Inherit { pipe: Option<u64> },
    /// The host's null device, which the container's own replaces.
    Null,
    /// A pipe of the caller's, with this inode, which is given to the process's user.
    Give { pipe: u64 },
    /// A new pipe between the caller's stream and the process, which is given to the
    /// process's user; or the one that was made for an earlier stream.
    Relay { same_as: Option<usize> },
}

impl Default for Stream {
    fn default() -> Self {
        Stream::Inherit { pipe: None }
    }
}

/// The terminal of a process and its streams.
#[derive(Debug, Default)]
pub struct StreamsPlan {
    pub console: Console,
    pub streams: [Stream; 3],
    /// The terminal's first size.
    pub size: Option<ConsoleSize>,
}

/// What becomes of output that goes to a file or a pipe of the caller's.
#[derive(Debug, Clone, Copy)]
pub enum Output {
    /// It is inherited, as under runc, so that what the process leaves behind can write
    /// on. /dev/stdout can be opened again by the file's owner only.
    Inherited,
    /// Nothing outlives the process: output is relayed where it does not belong to this
    /// user of the host, so that servers can open /dev/stdout again.
    OpensAgain(Option<u32>),
}

/// `terminal` and `size` are those of the config.
pub fn plan(terminal: bool, size: Option<ConsoleSize>, output: Output, attachment: &Attachment) -> Result<StreamsPlan> {
    let Attachment { console, streams } = attachment;
    match (console, terminal) {
        (Console::None, true) => {
            bail!("process.terminal is true: a terminal needs --console-socket when it is not in the foreground")
        }
        (Console::Socket(path), false) => {
            bail!("--console-socket {} is given, but process.terminal is false", path.display())
        }
        (Console::Socket(_), true) => Ok(StreamsPlan { console: console.clone(), size, ..StreamsPlan::default() }),
        // It must have the size of the caller's before the program asks for it.
        (Console::Foreground, true) => {
            Ok(StreamsPlan { console: console.clone(), size: size.or(streams.window), ..StreamsPlan::default() })
        }
        (Console::None | Console::Foreground, false) => {
            refuse_directories(&streams.stats)?;
            let relays = *console == Console::Foreground;
            let streams = if relays { relay(&streams.stats, output) } else { inherit(&streams.stats) };
            Ok(StreamsPlan { console: Console::None, streams, size })
        }
    }
}

/// A directory leads to everything beside it.
fn refuse_directories(stats: &[Option<Stat>; 3]) -> Result<()> {
    let leads_on =
        |stat: &Stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::Directory | FileType::Symlink);
    if let Some(number) = stats.iter().position(|stat| stat.as_ref().is_some_and(leads_on)) {
        bail!("descriptor {number} is a directory or a link, and no standard stream");
    }
    Ok(())
}

fn inherit(stats: &[Option<Stat>; 3]) -> [Stream; 3] {
    stats.each_ref().map(|stat| match stat {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo => Stream::Give { pipe: stat.st_ino },
        Some(stat) if is_null(stat) => Stream::Null,
        _ => Stream::default(),
    })
}

fn relay(stats: &[Option<Stat>; 3], output: Output) -> [Stream; 3] {
    let mut streams = [Stream::default(); 3];
    let mut last: Option<(usize, &Stat)> = None;
    for (number, stat) in stats.iter().enumerate().filter_map(|(number, stat)| Some((number, stat.as_ref()?))) {
        let pipe = (FileType::from_raw_mode(stat.st_mode) == FileType::Fifo).then_some(stat.st_ino);
        streams[number] = match stat {
            stat if is_null(stat) => Stream::Null,
            stat if !needs_relay(number, stat, output) => Stream::Inherit { pipe },
            stat => {
                // One pipe for both outputs where they go to one place: else what was
                // written to one might overtake what was written to the other.
                let is_same = |(_, other): &(usize, &Stat)| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino);
                let same_as = last.filter(is_same).map(|(number, _)| number);
                last = (number != STDIN).then_some((number, stat));
                Stream::Relay { same_as }
            }
        };
    }
    streams
}

/// Input that is a file or a pipe is read no further than the process reads it.
fn needs_relay(number: usize, stat: &Stat, output: Output) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => true,
        FileType::Fifo | FileType::RegularFile => match output {
            Output::Inherited => false,
            Output::OpensAgain(user) => number != STDIN && user != Some(stat.st_uid),
        },
        _ => false,
    }
}

/// Whether it is the null device.
pub fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::request::CallerStreams;
    use rustix::fd::AsFd;
    use std::fs::File;

    fn stat(file: impl AsFd) -> Option<Stat> {
        Some(rustix::fs::fstat(file).unwrap())
    }

    fn planned(console: Console, output: Output, stats: [Option<Stat>; 3]) -> Result<[Stream; 3]> {
        let attachment = Attachment { console, streams: CallerStreams { stats, window: None } };
        plan(false, None, output, &attachment).map(|plan| plan.streams)
    }

    #[test]
    fn streams_of_engines_are_given_and_the_callers_stay_its_own() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let (pipe, null) = (stat(&reader), stat(File::open("/dev/null").unwrap()));
        let (device, file) = (stat(File::open("/dev/zero").unwrap()), stat(File::open("/proc/self/exe").unwrap()));
        let inode = pipe.unwrap().st_ino;
        let (kept, relay) = (Stream::default(), |same_as| Stream::Relay { same_as });
        let owner = Output::OpensAgain(file.map(|stat| stat.st_uid));
        let other = Output::OpensAgain(Some(u32::MAX - 1));
        let piped = Stream::Inherit { pipe: Some(inode) };
        for (console, output, stats, expected) in [
            (Console::None, other, [pipe, null, file], [Stream::Give { pipe: inode }, Stream::Null, kept]),
            (Console::None, other, [None, device, None], [kept; 3]),
            (Console::Foreground, other, [null, None, None], [Stream::Null, kept, kept]),
            // One pipe for outputs that go to one place, and none for files of its own.
            (Console::Foreground, other, [device, device, device], [relay(None), relay(None), relay(Some(1))]),
            (Console::Foreground, owner, [pipe, file, file], [piped, kept, kept]),
            (Console::Foreground, other, [pipe, file, file], [piped, relay(None), relay(Some(1))]),
            (Console::Foreground, other, [file, file, device], [kept, relay(None), relay(None)]),
            // exec: what it leaves behind writes on.
            (Console::Foreground, Output::Inherited, [pipe, file, device], [piped, kept, relay(None)]),
        ] {
            assert_eq!(planned(console.clone(), output, stats).unwrap(), expected, "{console:?} {output:?}");
        }
    }

    #[test]
    fn a_terminal_needs_a_place_and_a_place_a_terminal() {
        let window = Some(ConsoleSize { height: 5, width: 7 });
        let attach = |console| Attachment { console, streams: CallerStreams { stats: [None; 3], window } };
        let socket = || attach(Console::Socket("/s".into()));
        assert!(plan(true, None, Output::Inherited, &attach(Console::None)).is_err());
        assert!(plan(false, None, Output::Inherited, &socket()).is_err());
        assert!(plan(true, None, Output::Inherited, &socket()).unwrap().size.is_none());
        let foreground = plan(true, None, Output::Inherited, &attach(Console::Foreground)).unwrap();
        assert_eq!(foreground.size.map(|size| (size.height, size.width)), Some((5, 7)));
        let given = Some(ConsoleSize { height: 1, width: 2 });
        let foreground = plan(true, given, Output::Inherited, &attach(Console::Foreground)).unwrap();
        assert_eq!(foreground.size.map(|size| size.height), Some(1));
    }

    #[test]
    fn a_directory_is_no_standard_stream() {
        let directory = stat(File::open("/").unwrap());
        let error = planned(Console::None, Output::Inherited, [None, directory, None]).unwrap_err();
        assert!(error.chain().starts_with("descriptor 1 is a directory"), "{}", error.chain());
    }
}
