//! What lies between the caller and a new process: the connection by which the pty
//! master comes out, or pipes in place of the caller's streams.

use rustix::fd::{OwnedFd, RawFd};

/// Both sides of it.
#[derive(Debug, Default)]
pub struct ConsolePair {
    pub caller: StreamEnds,
    pub process: StreamEnds,
    /// The process's streams that are pipes, as /proc/PID/fd names them: empty where a
    /// stream is none, and an empty list where none is.
    pub names: Vec<String>,
}

/// One side.
#[derive(Debug, Default)]
pub struct StreamEnds {
    /// Over which the pty master comes.
    pub console: Option<OwnedFd>,
    /// By the number of the stream.
    pub pipes: Vec<(RawFd, OwnedFd)>,
}

impl ConsolePair {
    /// For a process with a terminal.
    pub fn terminal(caller: Option<OwnedFd>, process: OwnedFd) -> Self {
        let ends = |console| StreamEnds { console, pipes: Vec::new() };
        ConsolePair { caller: ends(caller), process: ends(Some(process)), names: Vec::new() }
    }

    /// Stream `number` of the process is the pipe with this inode.
    pub fn note_pipe(&mut self, number: usize, inode: u64) {
        self.names.resize(3, String::new());
        self.names[number] = format!("pipe:[{inode}]");
    }
}
