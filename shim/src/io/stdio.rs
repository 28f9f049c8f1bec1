//! The container's output on its way into the log and to the monitor's own
//! output. Where that one is full, the container's is not read: its writers
//! wait, and the monitor's memory doesn't grow.

use crate::container::token;
use crate::io::log::{Log, Stream};
use crate::io::sink::Sink;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

const BUFFER: usize = 16 << 10;

/// What is read at most of an output whose container is gone; a pipe holds no
/// more (fs.pipe-max-size), and a left-over writer must not hold us.
const REST: usize = 1 << 20;

#[derive(Debug)]
struct Source {
    fd: OwnedFd,
    stream: Stream,
    token: u64,
    polled: bool,
}

#[derive(Debug)]
struct Output {
    sink: Sink,
    token: u64,
    polled: bool,
}

/// Both directions of both streams. A terminal is one source, for stdout.
#[derive(Debug)]
pub struct Stdio {
    log: Log,
    log_failed: bool,
    sources: Vec<Source>,
    outputs: [Output; 2],
    /// Off while the runtime's `create` runs, whose stderr is the container's:
    /// its error is told once, by us.
    pub pass: bool,
}

impl Stdio {
    pub fn new(log: Log) -> Stdio {
        let output = |sink, token| Output { sink, token, polled: false };
        Stdio {
            log,
            log_failed: false,
            sources: Vec::new(),
            outputs: [
                output(Sink::new(io::stdout().as_fd()), token::SINK_OUT),
                output(Sink::new(io::stderr().as_fd()), token::SINK_ERR),
            ],
            pass: false,
        }
    }

    /// Reads `fd` from now on.
    pub fn add(&mut self, fd: OwnedFd, stream: Stream, epoll: &Epoll) -> io::Result<()> {
        let token = token::SOURCE + stream as u64;
        let mut source = Source { fd, stream, token, polled: false };
        set_polled(epoll, &source.fd, &mut source.polled, true, EpollFlags::EPOLLIN, token)?;
        self.sources.push(source);
        Ok(())
    }

    /// A line of the monitor's own. Names and words of the container's may stand in it.
    pub fn say(&mut self, text: &str, epoll: &Epoll) {
        let text = firn::log::printable(text);
        self.outputs[1].sink.push(format!("firn-shim: {text}\n").as_bytes());
        self.balance(epoll);
    }

    /// The last lines of this attempt's output.
    pub fn last_lines(&self) -> String {
        self.log.tail.text()
    }

    /// Forgets the last attempt's output, except in the log.
    pub fn begin(&mut self) {
        self.log.tail.clear();
        self.pass = false;
    }

    /// One read of the source that `token` stands for.
    pub fn readable(&mut self, token: u64, epoll: &Epoll) {
        let mut buffer = [0; BUFFER];
        if let Some(index) = self.sources.iter().position(|source| source.token == token) {
            self.read(index, &mut buffer, epoll);
        }
        self.balance(epoll);
    }

    /// A full output has room again.
    pub fn writable(&mut self, token: u64, epoll: &Epoll) {
        if let Some(output) = self.outputs.iter_mut().find(|output| output.token == token) {
            output.sink.flush();
        }
        self.balance(epoll);
    }

    /// Reads what lies in the pipes now, without waiting for their end.
    pub fn drain(&mut self, epoll: &Epoll) {
        let mut buffer = [0; BUFFER];
        for index in (0..self.sources.len()).rev() {
            let mut rest = REST;
            while rest > 0 {
                let count = self.read(index, &mut buffer, epoll);
                if count == 0 {
                    break;
                }
                rest = rest.saturating_sub(count);
            }
        }
        self.balance(epoll);
    }

    /// The container is gone: reads the rest and closes its outputs.
    pub fn close(&mut self, epoll: &Epoll) {
        self.drain(epoll);
        while let Some(source) = self.sources.pop() {
            self.end(&source, epoll);
        }
        self.balance(epoll);
    }

    /// Writes what is pending, if its reader takes it within a second.
    pub fn finish(&mut self) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        for output in &mut self.outputs {
            for _ in 0..10 {
                let Some(fd) = output.sink.pollable().filter(|_| output.sink.is_blocked()) else {
                    break;
                };
                let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::from(100u8));
                output.sink.flush();
            }
        }
    }

    /// How many bytes were read; a source at its end is removed.
    fn read(&mut self, index: usize, buffer: &mut [u8], epoll: &Epoll) -> usize {
        let source = &self.sources[index];
        let count = match nix::unistd::read(&source.fd, buffer) {
            Ok(count) if count > 0 => count,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return 0,
            // The end; of a terminal, EIO once no process has it open.
            _ => {
                let source = self.sources.remove(index);
                self.end(&source, epoll);
                return 0;
            }
        };
        let stream = source.stream;
        let chunk = &buffer[..count];
        if self.pass {
            self.outputs[stream as usize].sink.push(chunk);
        }
        let written = self.log.write(stream, chunk);
        self.logged(written);
        count
    }

    fn end(&mut self, source: &Source, epoll: &Epoll) {
        if source.polled {
            let _ = epoll.delete(&source.fd);
        }
        let ended = self.log.end(source.stream);
        self.logged(ended);
    }

    fn logged(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.log_failed = false,
            // A full disk is no reason to stop a container; said once.
            Err(error) if !self.log_failed => {
                self.log_failed = true;
                let text = format!("firn-shim: warning: write the log: {error}\n");
                self.outputs[1].sink.push(text.as_bytes());
            }
            Err(_) => {}
        }
    }

    /// Polls each output exactly while it is blocked, and each source exactly
    /// while its output is not. A source is taken out of the epoll set, not
    /// only muted: EPOLLHUP is always told, and would turn the loop hot.
    fn balance(&mut self, epoll: &Epoll) {
        for output in &mut self.outputs {
            let blocked = output.sink.is_blocked();
            if let Some(fd) = output.sink.pollable() {
                let _ = set_polled(epoll, fd, &mut output.polled, blocked, EpollFlags::EPOLLOUT, output.token);
            }
        }
        for source in &mut self.sources {
            let free = !self.pass || !self.outputs[source.stream as usize].sink.is_blocked();
            let _ = set_polled(epoll, &source.fd, &mut source.polled, free, EpollFlags::EPOLLIN, source.token);
        }
    }
}

fn set_polled(
    epoll: &Epoll,
    fd: impl AsFd,
    polled: &mut bool,
    wanted: bool,
    flags: EpollFlags,
    token: u64,
) -> io::Result<()> {
    match (*polled, wanted) {
        (false, true) => epoll.add(fd, EpollEvent::new(flags, token))?,
        (true, false) => epoll.delete(fd)?,
        _ => {}
    }
    *polled = wanted;
    Ok(())
}
