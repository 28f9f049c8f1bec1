//! The descriptor store of a service manager, with a real runtime.

mod common;

use common::killed::{COUNTS, adopt, assert_only_log_and_record, go, logged};
use common::{Fixture, until};
use serde_json::json;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A unit's descriptor store, as systemd has it: what a service stores comes back at its next start.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    stored: Vec<(String, OwnedFd)>,
    ready: u32,
}

impl Manager {
    fn new(fixture: &Fixture) -> Manager {
        let path = fixture.dir.join("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { socket, path, stored: Vec::new(), ready: 0 }
    }

    fn names(&self) -> Vec<&str> {
        self.stored.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Takes all messages that have come.
    fn receive(&mut self) {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        loop {
            let mut text = [0; 4096];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [std::io::IoSliceMut::new(&mut text)];
            let Ok(message) = recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) else { return };
            let fds = control.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
                _ => Vec::new(),
            });
            let mut fds: Vec<OwnedFd> = fds.collect();
            let text = common::text_of(&text[..message.bytes]);
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default();
            if text.starts_with("FDSTORE=1") {
                assert!(text.contains("FDPOLL=0"), "{text}");
                self.stored.push((name.into(), fds.remove(0)));
            } else if text.starts_with("FDSTOREREMOVE=1") {
                self.stored.retain(|(stored, _)| stored != name);
            } else if text == "READY=1" {
                self.ready += 1;
            }
        }
    }

    /// Starts the unit, with what is stored from descriptor 3 on.
    fn start(&mut self, fixture: &Fixture, options: &[&str]) -> common::Monitor {
        let monitor = fixture.command(&[&["--adopt", "--restart", "unit", "--log-size", "0"], options].concat());
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(monitor.get_program()).args(monitor.get_args());
        command.env("NOTIFY_SOCKET", &self.path).env("FDSTORE", "16").env("LISTEN_FDS", self.stored.len().to_string());
        command.env("LISTEN_FDNAMES", self.names().join(":")).stdout(Stdio::null()).stderr(Stdio::null());
        // Out of the way of the numbers from 3 on, first.
        let copy = |(_, fd): &(String, OwnedFd)| rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap();
        let fds: Vec<OwnedFd> = self.stored.iter().map(copy).collect();
        let place = move || {
            for (fd, number) in fds.iter().zip(3..) {
                // SAFETY: dup2 is a system call, and nothing of the child uses these numbers yet.
                if unsafe { nix::libc::dup2(fd.as_raw_fd(), number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: it makes system calls only, and allocates nothing.
        unsafe { command.pre_exec(place) };
        common::Monitor::spawn(command)
    }

    fn until_ready(&mut self, times: u32) {
        until("READY=1", || {
            self.receive();
            self.ready == times
        });
    }
}

#[test]
fn the_store_of_a_unit_holds_what_else_the_keeper_does() {
    for terminal in [false, true] {
        let mut fixture = Fixture::new(&format!("store-{terminal}"), COUNTS);
        fixture.config["process"]["terminal"] = json!(terminal);
        let mut manager = Manager::new(&fixture);
        for starts in 1..=5 {
            let monitor = manager.start(&fixture, &[]);
            manager.until_ready(starts);
            fixture.wait_for("up");
            std::thread::sleep(Duration::from_millis(3));
            monitor.kill();
            manager.receive();
            let mut names = manager.names();
            names.sort_unstable();
            let expected: &[&str] = match terminal {
                true => &["firn-init", "firn-notify", "firn-relay", "firn-spool", "firn-terminal"],
                false => &["firn-init", "firn-notify", "firn-spool", "firn-stderr", "firn-stdout"],
            };
            assert_eq!(names, expected, "after start {starts}");
        }
        assert!(!fixture.dir.join("state/@keeper/socket").exists(), "no keeper is needed");
        let output = adopt(&fixture);
        assert_eq!(output.status.code(), Some(1), "without the store nobody can take it over");
        assert!(common::text_of(&output.stderr).contains("the service manager holds its streams"));
        go(&fixture);
        let mut monitor = manager.start(&fixture, &[]);
        assert_eq!(monitor.wait(), Some(7));
        manager.receive();
        assert!(manager.stored.is_empty(), "{:?}", manager.names());
        let last: usize = fs::read_to_string(fixture.data("n")).unwrap().trim().parse().unwrap();
        let lines: Vec<String> =
            logged(&fixture, "stdout").into_iter().filter(|line| line.starts_with("line")).collect();
        assert_eq!((lines.len(), lines.last()), (last, Some(&format!("line {last}"))));
        assert_only_log_and_record(&fixture);
    }
}
