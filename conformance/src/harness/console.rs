//! Terminals: the console socket of an engine, and a person's terminal.

use super::Scratch;
use super::descriptors::receive;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a terminal may be silent before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket on which the master of a container's terminal comes.
#[derive(Debug)]
pub struct ConsoleSocket {
    pub path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    pub fn listen(scratch: &Scratch, name: &str) -> Self {
        let path = scratch.join(name);
        let listener = UnixListener::bind(&path).expect("listen at the console socket");
        ConsoleSocket { path, listener }
    }

    /// The terminal that has been sent; a runtime that has returned has sent it.
    pub fn receive(&self) -> Terminal {
        wait_readable(&self.listener, PATIENCE).expect("nobody came to the console socket");
        let (socket, _) = self.listener.accept().expect("accept at the console socket");
        let master = receive(&socket).1.pop();
        Terminal::of(master.expect("a message without a terminal"))
    }
}

/// The master's side of a terminal.
#[derive(Debug)]
pub struct Terminal {
    pub master: OwnedFd,
    /// What has come out of it so far.
    pub text: String,
}

impl Terminal {
    fn of(master: OwnedFd) -> Self {
        Terminal { master, text: String::new() }
    }

    /// A new one of the host's, with its other end.
    pub fn open() -> (Self, OwnedFd) {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::open("/dev/ptmx", flags, Mode::empty()).expect("open /dev/ptmx");
        firn::internals::sys::tty::unlock(master.as_fd()).expect("unlock the terminal");
        let other = firn::internals::sys::tty::open_peer(master.as_fd()).expect("open the terminal's other end");
        (Terminal::of(master), other)
    }

    pub fn send(&self, text: &str) {
        firn::path::write_all(&self.master, text.as_bytes()).expect("write to the terminal");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).expect("resize the terminal");
    }

    /// The arguments of the process that leads the group in the foreground, each with a
    /// NUL byte behind it.
    pub fn foreground(&self) -> String {
        let group = rustix::termios::tcgetpgrp(&self.master).expect("ask for the group in the foreground");
        std::fs::read_to_string(format!("/proc/{group}/cmdline")).unwrap_or_default()
    }

    /// Reads until `text` has come since the last call, and returns all up to
    /// there.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(text) {
                let rest = self.text.split_off(at + text.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(wait_readable(&self.master, left).is_some() && self.read(), "no {text:?} in {:?}", self.text);
        }
    }

    /// Everything up to the end.
    pub fn rest(mut self) -> String {
        while wait_readable(&self.master, PATIENCE).is_some() && self.read() {}
        self.text
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0u8; 4096];
        // EIO: the other end is closed.
        let length = rustix::io::read(&self.master, &mut buffer).unwrap_or(0);
        self.text += &String::from_utf8_lossy(&buffer[..length]);
        length > 0
    }
}

fn wait_readable(fd: impl AsFd, time: Duration) -> Option<()> {
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    let count = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&time)).expect("wait for the terminal");
    (count > 0).then_some(())
}
