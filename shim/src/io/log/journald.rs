//! Records in the journal, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram each, with
//! the fields that podman's log driver of this name has.

use super::record::Record;
use crate::stream::Stream;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The journal's socket.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to the journal. It is not waited for: what its socket has no room for is lost, and
/// counted.
#[derive(Debug)]
pub(super) struct Journal {
    socket: OwnedFd,
    address: SocketAddrUnix,
    /// The fields that are the same for all records.
    fields: Vec<u8>,
    lost: u64,
}

impl Journal {
    /// Errors: there is no journal at `path`.
    pub(super) fn open(path: &Path, id: &str) -> io::Result<Journal> {
        if !path.exists() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no journal runs here"));
        }
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        let mut fields = Vec::new();
        for name in ["CONTAINER_NAME", "CONTAINER_ID", "SYSLOG_IDENTIFIER"] {
            add_field(&mut fields, name, id.as_bytes());
        }
        Ok(Journal { socket, address: SocketAddrUnix::new(path)?, fields, lost: 0 })
    }

    /// Sends a record. Errors: the journal is not there; one that is restarted is found again.
    pub(super) fn send(&mut self, record: &Record<'_>, stream: Stream) -> io::Result<()> {
        if self.lost > 0 {
            let text = format!("firn-shim: {} records are missing here: the journal was busy", self.lost);
            // It was lost as well, or there is room now.
            if self.send_text(text.as_bytes(), true, Stream::Stderr)? {
                self.lost = 0;
            }
        }
        if !self.send_text(record.text, record.full, stream)? {
            self.lost = self.lost.saturating_add(1);
        }
        Ok(())
    }

    /// False: there is no room for it now.
    fn send_text(&self, text: &[u8], full: bool, stream: Stream) -> io::Result<bool> {
        let mut datagram = self.fields.clone();
        // Those of syslog(3): info, and error.
        let priority = match stream {
            Stream::Stdout => b"6",
            Stream::Stderr => b"3",
        };
        add_field(&mut datagram, "PRIORITY", priority);
        if !full {
            add_field(&mut datagram, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        add_field(&mut datagram, "MESSAGE", text);
        match sendto(&self.socket, &datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &self.address) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::NOBUFS) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// With its length in the place of an equals sign, as a value may hold newlines and any bytes.
fn add_field(datagram: &mut Vec<u8>, name: &str, value: &[u8]) {
    datagram.extend_from_slice(name.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    datagram.extend_from_slice(value);
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// The fields of a datagram, by the protocol's text.
    fn fields(mut datagram: &[u8]) -> Vec<(String, String)> {
        let mut all = Vec::new();
        while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(datagram[..end].to_vec()).unwrap();
            let length = u64::from_le_bytes(datagram[end + 1..end + 9].try_into().unwrap()) as usize;
            let value = &datagram[end + 9..end + 9 + length];
            assert_eq!(datagram[end + 9 + length], b'\n');
            all.push((name, String::from_utf8_lossy(value).into_owned()));
            datagram = &datagram[end + 10 + length..];
        }
        all
    }

    #[test]
    fn a_busy_journal_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("firn-shim-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let server = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path, "web").unwrap();
        journal.send(&Record { text: b"one\0", full: false }, Stream::Stderr).unwrap();
        let mut buffer = [0; 4096];
        let mut next = || {
            let count = server.recv(&mut buffer).unwrap();
            fields(&buffer[..count])
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            next(),
            [
                pair("CONTAINER_NAME", "web"),
                pair("CONTAINER_ID", "web"),
                pair("SYSLOG_IDENTIFIER", "web"),
                pair("PRIORITY", "3"),
                pair("CONTAINER_PARTIAL_MESSAGE", "true"),
                pair("MESSAGE", "one\0"),
            ]
        );
        let mut sent = 0;
        while journal.lost < 3 {
            journal.send(&Record { text: b"more", full: true }, Stream::Stdout).unwrap();
            sent += 1;
        }
        for _ in 0..sent - 3 {
            assert_eq!(next().last(), Some(&pair("MESSAGE", "more")));
        }
        journal.send(&Record { text: b"last", full: true }, Stream::Stdout).unwrap();
        let missing = "firn-shim: 3 records are missing here: the journal was busy";
        assert_eq!(next().last(), Some(&pair("MESSAGE", missing)));
        assert_eq!(next().last(), Some(&pair("MESSAGE", "last")));
        std::fs::remove_file(&path).unwrap();
        assert!(journal.send(&Record { text: b"", full: true }, Stream::Stdout).is_err());
        assert!(Journal::open(&path, "web").is_err());
    }
}
