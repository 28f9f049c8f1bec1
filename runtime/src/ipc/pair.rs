//! The two ends of what connects a new process with its caller: the console socket over
//! which the pty master is sent, or pipes instead of the caller's streams.

use rustix::fd::{OwnedFd, RawFd};

/// Both ends.
#[derive(Debug, Default)]
pub struct ConsolePair {
    pub caller: StreamEnds,
    pub process: StreamEnds,
    /// For each standard stream the name of its pipe, as in /proc/PID/fd (`pipe:[INODE]`), or
    /// an empty string. Empty if no stream is a pipe.
    pub names: Vec<String>,
}

/// One end.
#[derive(Debug, Default)]
pub struct StreamEnds {
    /// The socket over which the pty master is sent (SCM_RIGHTS).
    pub console: Option<OwnedFd>,
    /// Pipe ends by number of the standard stream.
    pub pipes: Vec<(RawFd, OwnedFd)>,
}

impl ConsolePair {
    /// With a console socket.
    pub fn terminal(caller: Option<OwnedFd>, process: OwnedFd) -> Self {
        let ends = |console| StreamEnds { console, pipes: Vec::new() };
        ConsolePair { caller: ends(caller), process: ends(Some(process)), names: Vec::new() }
    }

    /// Records that stream `number` of the process is the pipe with this inode.
    pub fn record_pipe(&mut self, number: usize, inode: u64) {
        self.names.resize(3, String::new());
        self.names[number] = format!("pipe:[{inode}]");
    }
}
