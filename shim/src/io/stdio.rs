//! Takes the container's output into the spool, and copies it from there into the log and to the
//! monitor's stdout and stderr. While one
//! of these would block, the container's is not read: its writers wait, and the monitor's memory
//! doesn't grow.

use super::attach::Views;
use super::input::Input;
use super::log::Log;
use super::sink::Sink;
use super::spool::{CHUNK, Spool, Taken};
use crate::reactor::{Reactor, Token};
use crate::stream::Stream;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The names by which another monitor finds what was held.
pub(crate) mod held {
    pub(crate) const TERMINAL: &str = "terminal";
    pub(crate) const STDOUT: &str = "stdout";
    pub(crate) const STDERR: &str = "stderr";
    pub(crate) const STDIN: &str = "stdin";
    pub(crate) const SPOOL: &str = "spool";
    pub(crate) const RELAY: &str = "relay";
}

/// Bytes that are read at most of an output whose container is gone. A pipe holds no more by
/// default (fs.pipe-max-size, pipe(7)), and a process that still writes must not hold the loop.
const DRAIN_LIMIT: usize = 1 << 20;

/// An output of the container: the reading end of a pipe, or a pty's master.
#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    stream: Stream,
    is_terminal: bool,
    /// Of a terminal, the slave: while no process had it open, reads of the master would fail with EIO,
    /// and systemd opens its console anew for each line.
    _peer: Option<OwnedFd>,
    /// It is in the reactor's set.
    polled: bool,
}

impl Output {
    fn name(&self) -> &'static str {
        match (self.is_terminal, self.stream) {
            (true, _) => held::TERMINAL,
            (false, Stream::Stdout) => held::STDOUT,
            (false, Stream::Stderr) => held::STDERR,
        }
    }
}

/// An output of the monitor.
#[derive(Debug)]
struct PolledSink {
    sink: Sink,
    stream: Stream,
    /// It is in the reactor's set.
    polled: bool,
}

/// The outputs of a container, and where they go. A terminal is one output, `Stdout`.
#[derive(Debug)]
pub(crate) struct Stdio {
    log: Log,
    spool: Spool,
    /// The last write to the log failed.
    log_failed: bool,
    outputs: Vec<Output>,
    /// Indexed by [`Stream`].
    sinks: [PolledSink; 2],
    /// Attached clients.
    pub(crate) views: Views,
    pub(crate) input: Input,
    /// Whether output goes on to sinks and clients. Not while the runtime's `create` runs: its stderr
    /// is the container's, and the monitor prints its error itself, once.
    pub(crate) passes_on: bool,
}

impl Stdio {
    /// The outputs of a container: none yet. What is pending in the spool, of a monitor that was
    /// killed, is logged.
    pub(crate) fn new(log: Log, spool: Spool, reactor: &Reactor) -> Stdio {
        let sink = |fd, stream| PolledSink { sink: Sink::new(fd), stream, polled: false };
        let mut stdio = Stdio {
            log,
            spool,
            log_failed: false,
            outputs: Vec::new(),
            sinks: [sink(io::stdout().as_fd(), Stream::Stdout), sink(io::stderr().as_fd(), Stream::Stderr)],
            views: Views::default(),
            input: Input::default(),
            passes_on: false,
        };
        let rewound = stdio.log.rewind(stdio.spool.position());
        stdio.note_log_result(rewound);
        stdio.log_pending(reactor);
        stdio
    }

    /// Reads the container's terminal from now on, and writes what clients type to it.
    pub(crate) fn add_terminal(&mut self, master: OwnedFd, reactor: &Reactor) -> io::Result<()> {
        self.spool.open_relay()?;
        self.input.open(master.try_clone()?, true, reactor);
        let peer = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        self.add(master, Stream::Stdout, Some(peer), reactor)
    }

    /// Reads the container's output `fd`, the reading end of a pipe, from now on.
    pub(crate) fn add_output(&mut self, fd: OwnedFd, stream: Stream, reactor: &Reactor) -> io::Result<()> {
        self.add(fd, stream, None, reactor)
    }

    fn add(&mut self, fd: OwnedFd, stream: Stream, peer: Option<OwnedFd>, reactor: &Reactor) -> io::Result<()> {
        let mut output = Output { fd, stream, is_terminal: peer.is_some(), _peer: peer, polled: false };
        reactor.set_polled(output.fd.as_fd(), &mut output.polled, true, Token::Output(stream))?;
        self.outputs.push(output);
        Ok(())
    }

    /// What must outlive the monitor, by name.
    pub(crate) fn held(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        let mut held: Vec<_> = self.outputs.iter().map(|output| (output.name(), output.fd.as_fd())).collect();
        let (spool, relay) = self.spool.held();
        held.push((held::SPOOL, spool));
        held.extend(relay.map(|relay| (held::RELAY, relay)));
        held.extend(self.input.pipe().map(|pipe| (held::STDIN, pipe)));
        held
    }

    /// Prints a line of the monitor's own on stderr. Control characters are escaped, as names
    /// and texts of the container may be in it.
    pub(crate) fn print_message(&mut self, text: &str, reactor: &Reactor) {
        let text = firn::log::printable(text);
        self.sinks[Stream::Stderr as usize].sink.push(format!("firn-shim: {text}\n").as_bytes());
        self.update_polled(reactor);
    }

    /// Opens the log's files anew, after another program has moved them.
    pub(crate) fn reopen_logs(&mut self) -> io::Result<()> {
        self.log.reopen()?;
        self.spool.set_logged(0, self.log.position())
    }

    /// The last lines of this attempt's output.
    pub(crate) fn last_lines(&self) -> String {
        self.log.tail.text()
    }

    /// Forgets the last lines of the attempt before; the log keeps them.
    pub(crate) fn begin_attempt(&mut self) {
        self.log.tail.clear();
        self.passes_on = false;
    }

    /// Reads once from an output of the container that is readable.
    pub(crate) fn on_readable(&mut self, stream: Stream, reactor: &Reactor) {
        if let Some(index) = self.outputs.iter().position(|output| output.stream == stream) {
            self.read_output(index, reactor);
        }
        self.update_polled(reactor);
    }

    /// Writes to an output of the monitor that has room again.
    pub(crate) fn on_writable(&mut self, stream: Stream, reactor: &Reactor) {
        self.sinks[stream as usize].sink.flush();
        self.update_polled(reactor);
    }

    /// Reads what the container's outputs hold now, without waiting for their end.
    pub(crate) fn drain_outputs(&mut self, reactor: &Reactor) {
        for index in (0..self.outputs.len()).rev() {
            let mut left = DRAIN_LIMIT;
            while left > 0 {
                let count = self.read_output(index, reactor);
                if count == 0 {
                    break;
                }
                left = left.saturating_sub(count);
            }
        }
        self.update_polled(reactor);
    }

    /// Reads the rest of the container's outputs and closes them.
    pub(crate) fn close_outputs(&mut self, reactor: &Reactor) {
        self.drain_outputs(reactor);
        self.input.close(reactor);
        while let Some(output) = self.outputs.pop() {
            self.end_output(&output, reactor);
        }
        self.update_polled(reactor);
    }

    /// Writes what the sinks still hold, if its reader takes it within a second.
    pub(crate) fn flush_sinks(&mut self) {
        for PolledSink { sink, .. } in &mut self.sinks {
            sink.flush_at_end();
        }
        self.views.flush_at_end();
    }

    /// The number of bytes read; an output at its end is removed.
    fn read_output(&mut self, index: usize, reactor: &Reactor) -> usize {
        let output = &self.outputs[index];
        match self.spool.take(output.fd.as_fd(), output.stream, output.is_terminal) {
            Ok(Taken::Some) => self.log_pending(reactor),
            Ok(Taken::Nothing) => 0,
            Ok(Taken::End) | Err(_) => {
                let output = self.outputs.remove(index);
                self.end_output(&output, reactor);
                0
            }
        }
    }

    /// Passes on and logs what is pending in the spool; the number of bytes.
    fn log_pending(&mut self, reactor: &Reactor) -> usize {
        let mut buffer = [0; CHUNK];
        let mut total = 0;
        while let Ok((stream, chunk)) = self.spool.pending(&mut buffer)
            && !chunk.is_empty()
        {
            if self.passes_on {
                self.sinks[stream as usize].sink.push(chunk);
                self.views.push(stream, chunk, reactor);
            }
            let written = self.log.write(stream, chunk);
            let spooled = self.spool.set_logged(chunk.len(), self.log.position());
            self.note_log_result(written.and(spooled));
            total += chunk.len();
        }
        total
    }

    fn end_output(&mut self, output: &Output, reactor: &Reactor) {
        if output.polled {
            let _ = reactor.remove(&output.fd);
        }
        let ended = self.log.end_stream(output.stream);
        let spooled = self.spool.set_logged(0, self.log.position());
        self.note_log_result(ended.and(spooled));
    }

    /// Warns once when writing the log begins to fail. A full disk is no reason to stop a
    /// container.
    fn note_log_result(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.log_failed = false,
            Err(error) if !self.log_failed => {
                self.log_failed = true;
                let text = format!("firn-shim: warning: write the log: {error}\n");
                self.sinks[Stream::Stderr as usize].sink.push(text.as_bytes());
            }
            Err(_) => {}
        }
    }

    /// Waits for each sink while it is blocked, and for each output while its sink is not. An
    /// output is removed from the set, not only given no events: EPOLLHUP is always reported,
    /// and would make the loop spin.
    fn update_polled(&mut self, reactor: &Reactor) {
        for PolledSink { sink, stream, polled } in &mut self.sinks {
            let blocked = sink.is_blocked();
            if let Some(fd) = sink.pollable() {
                let _ = reactor.set_polled(fd, polled, blocked, Token::Sink(*stream));
            }
        }
        for Output { fd, stream, polled, .. } in &mut self.outputs {
            let has_room = !self.passes_on || !self.sinks[*stream as usize].sink.is_blocked();
            let _ = reactor.set_polled(fd.as_fd(), polled, has_room, Token::Output(*stream));
        }
    }
}
