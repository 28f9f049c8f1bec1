//! The streams of `Exec` and `Attach`, as `kubectl` gets them: a WebSocket whose
//! messages begin with the number of their channel.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

pub const STDIN: u8 = 0;
const CHANNELS: usize = 4;
const RESIZE: u8 = 4;

pub struct Stream(BufReader<TcpStream>);

/// What came, by channel.
#[derive(Debug)]
pub struct Streams {
    pub stdout: String,
    pub stderr: String,
    /// A status of the Kubernetes API, as JSON.
    pub status: String,
}

impl Stream {
    /// Of the address that the CRI answered.
    pub fn open(url: &str) -> Self {
        let rest = url.strip_prefix("http://").expect("an http address");
        let (host, path) = rest.split_once('/').expect("a path");
        let mut socket = TcpStream::connect(host).unwrap_or_else(|e| panic!("connect to {host}: {e}"));
        write!(
            socket,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Zmlybi1jb25mb3JtYW5jZQ==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\nOrigin: http://{host}\r\n\r\n"
        )
        .unwrap();
        let mut stream = Stream(BufReader::new(socket));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.0.read_line(&mut head).unwrap(), 0, "the connection ended: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    }

    pub fn send(&mut self, channel: u8, text: &str) {
        let length = u8::try_from(text.len() + 1).ok().filter(|length| *length < 126).expect("a short text");
        // A client's message is masked, here with zeros.
        let head = [0x82, 0x80 | length, 0, 0, 0, 0, channel];
        self.0.get_mut().write_all(&[&head, text.as_bytes()].concat()).expect("send");
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.send(RESIZE, &format!("{{\"Width\":{columns},\"Height\":{rows}}}"));
    }

    /// All that comes until the other side ends it, or until `enough` has come on stdout.
    pub fn read(&mut self, enough: Option<&str>) -> Streams {
        let mut channels = [const { Vec::new() }; CHANNELS];
        while let Some(message) = self.message() {
            if let [channel, text @ ..] = message.as_slice() {
                channels[usize::from(*channel)].extend_from_slice(text);
            }
            if enough.is_some_and(|words| String::from_utf8_lossy(&channels[1]).contains(words)) {
                break;
            }
        }
        let [_, stdout, stderr, status] = channels.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Streams { stdout, stderr, status }
    }

    /// The next message, or nothing at the end.
    fn message(&mut self) -> Option<Vec<u8>> {
        const CLOSE: u8 = 8;
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        let length = match head[1] {
            126 => {
                let mut more = [0; 2];
                self.0.read_exact(&mut more).ok()?;
                usize::from(u16::from_be_bytes(more))
            }
            length => usize::from(length),
        };
        let mut message = vec![0; length];
        self.0.read_exact(&mut message).ok()?;
        (head[0] & 15 != CLOSE).then_some(message)
    }
}
