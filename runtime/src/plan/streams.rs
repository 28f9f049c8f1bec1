//! The standard streams of a process.
//!
//! Pipes that an engine passes to `create` or with `--detach` become the container's, and are
//! chowned to its user, who can then open /dev/stdout again. In the foreground the streams stay
//! the caller's. If the container had the caller's terminal, a process that `exec` left behind
//! could read what the caller types later; so a pipe is placed between. Files and pipes are
//! passed, and keep their owner.

use super::request::{Attachment, Console};
use crate::bail;
use crate::error::Result;
use crate::spec::process::ConsoleSize;
use rustix::fs::{FileType, Stat, makedev};

const STDIN: usize = 0;

/// A standard stream of the new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Inherited. `pipe`: the inode, if it is a pipe.
    Inherit { pipe: Option<u64> },
    /// The host's /dev/null, later replaced by the container's.
    Null,
    /// A pipe of the caller with this inode, chowned to the process's user.
    Give { pipe: u64 },
    /// A new pipe between the caller's stream and the process, chowned to the process's user; or the
    /// pipe of an earlier stream.
    Relay { same_as: Option<usize> },
}

impl Default for Stream {
    fn default() -> Self {
        Stream::Inherit { pipe: None }
    }
}

/// The console and the standard streams of a process.
#[derive(Debug, Default)]
pub struct StreamsPlan {
    pub console: Console,
    pub streams: [Stream; 3],
    /// Initial window size.
    pub size: Option<ConsoleSize>,
}

/// How output to a file or pipe of the caller is handled.
#[derive(Debug, Clone, Copy)]
pub enum Output {
    /// Inherited, as under runc: processes that are left behind can continue to write. Only the
    /// file's owner can open /dev/stdout again.
    Inherited,
    /// No process outlives this one: output is relayed unless this host uid owns the file, so that
    /// servers can open /dev/stdout again.
    OpensAgain(Option<u32>),
}

/// `terminal` and `size` are the config's. Errors: a terminal without console socket outside the
/// foreground, or the reverse; a directory as a standard stream.
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
        // Set before the program can query it.
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

/// A directory descriptor would give access to files of the host (CVE-2024-21626).
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
                // One pipe for stdout and stderr if they are the same file, so that the order of
                // writes is kept.
                let is_same = |(_, other): &(usize, &Stat)| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino);
                let same_as = last.filter(is_same).map(|(number, _)| number);
                last = (number != STDIN).then_some((number, stat));
                Stream::Relay { same_as }
            }
        };
    }
    streams
}

/// Input from a file or pipe is not relayed: no more is read of it than the process reads.
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

/// Whether it is /dev/null.
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
