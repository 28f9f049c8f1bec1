//! D-Bus messages as bytes, as far as systemd's manager needs them. Source: D-Bus
//! specification, "Message Protocol".

use crate::plan::cgroup::property::{Property, Value};

/// A message body being written. Alignment counts from its start, which is aligned to 8.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `u`
    pub fn uint32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    fn uint64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    /// `b`
    pub fn bool(&mut self, value: bool) {
        self.uint32(value.into());
    }

    /// `s` or `o`
    pub fn text(&mut self, text: &str) {
        self.uint32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array of elements that are aligned to `align`; its length excludes the padding before
    /// the first element.
    pub fn array<T>(&mut self, align: usize, items: &[T], each: impl Fn(&mut Self, &T)) {
        self.uint32(0);
        let length_at = self.0.len() - 4;
        self.align(align);
        let begin = self.0.len();
        items.iter().for_each(|item| each(self, item));
        let length = (self.0.len() - begin) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::Int32(value) => self.uint32(*value as u32),
            Value::Uint32(value) => self.uint32(*value),
            Value::Int64(value) => self.uint64(*value as u64),
            Value::Uint64(value) => self.uint64(*value),
            Value::Text(text) => self.text(text),
            Value::Texts(list) => self.array(4, list, |w, text| w.text(text)),
            Value::Bytes(bytes) => self.array(1, bytes, |w, byte| w.0.push(*byte)),
            Value::Uint32s(list) => self.array(4, list, |w, value| w.uint32(*value)),
            Value::Pairs(list) => self.array(8, list, |w, (one, two)| {
                w.align(8);
                w.text(one);
                w.text(two);
            }),
        }
    }

    /// An array of properties, `a(sv)`.
    pub fn properties(&mut self, list: &[Property]) {
        self.array(8, list, |w, (name, value)| {
            w.align(8);
            w.text(name);
            w.variant(value);
        });
    }
}

/// Address of a method.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    pub destination: &'static str,
    pub path: &'static str,
    pub interface: &'static str,
    pub member: &'static str,
}

// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

const METHOD_CALL: u8 = 1;
const LITTLE_ENDIAN: u8 = b'l';
const PROTOCOL: u8 = 1;

/// A method call as bytes.
pub fn call(serial: u32, method: &Method, signature: &str, body: Writer) -> Vec<u8> {
    let mut message = Writer(vec![LITTLE_ENDIAN, METHOD_CALL, 0, PROTOCOL]);
    message.uint32(body.0.len() as u32);
    message.uint32(serial);
    let mut fields = vec![
        (PATH, "o", method.path),
        (INTERFACE, "s", method.interface),
        (MEMBER, "s", method.member),
        (DESTINATION, "s", method.destination),
    ];
    if !signature.is_empty() {
        fields.push((SIGNATURE, "g", signature));
    }
    message.array(8, &fields, |w, (code, kind, text)| {
        w.align(8);
        w.0.push(*code);
        w.signature(kind);
        match *kind {
            "g" => w.signature(text),
            _ => w.text(text),
        }
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// Length in bytes of the fixed part of a header, which has the lengths of the rest.
pub const HEAD: usize = 16;

/// The length of a message from its first `HEAD` bytes.
pub fn length(head: &[u8; HEAD]) -> Option<usize> {
    let at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    // Far below the protocol's limit of 128 MiB; systemd's messages are small.
    let (body, fields) = (at(4), at(12));
    let fits = head[0] == LITTLE_ENDIAN && body < 1 << 24 && fields < 1 << 20;
    fits.then(|| (HEAD + fields).next_multiple_of(8) + body)
}

/// A received message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// Serial number of the call that this is a reply to.
    pub reply_to: Option<u32>,
    pub error: Option<String>,
    pub member: Option<String>,
    pub signature: String,
    pub body: Vec<u8>,
}

/// Parses a whole message. None if it is malformed.
pub fn read(message: &[u8]) -> Option<Incoming> {
    let mut reader = Reader { bytes: message, at: 12 };
    let mut incoming = Incoming::default();
    let end = reader.uint32()? as usize + HEAD;
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match (code, reader.signature()?.as_str()) {
            (REPLY_SERIAL, "u") => incoming.reply_to = Some(reader.uint32()?),
            (ERROR_NAME, "s") => incoming.error = Some(reader.text()?),
            (MEMBER, "s") => incoming.member = Some(reader.text()?),
            (SIGNATURE, "g") => incoming.signature = reader.signature()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.uint32()?),
            _ => return None,
        }
    }
    reader.align(8);
    incoming.body = message.get(reader.at..)?.to_vec();
    Some(incoming)
}

/// Parses a body or a header.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Parses from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(part)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// `u`
    pub fn uint32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A string or an object path.
    pub fn text(&mut self) -> Option<String> {
        let length = self.uint32()? as usize;
        let text = self.take(length)?;
        self.byte()?;
        String::from_utf8(text.to_vec()).ok()
    }

    /// `g`
    pub fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = self.take(length)?;
        self.byte()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: Method = Method { destination: "a.b", path: "/a", interface: "c.d", member: "Do" };

    #[test]
    fn messages_are_parsed_as_written() {
        let mut body = Writer::default();
        body.text("hello");
        body.uint32(7);
        let message = call(3, &METHOD, "su", body);
        assert_eq!(length(message[..HEAD].try_into().unwrap()), Some(message.len()));
        let incoming = read(&message).unwrap();
        assert_eq!((incoming.member.as_deref(), incoming.signature.as_str()), (Some("Do"), "su"));
        let mut reader = Reader::new(&incoming.body);
        assert_eq!((reader.text().as_deref(), reader.uint32(), reader.uint32()), (Some("hello"), Some(7), None));
    }

    #[test]
    fn a_truncated_message_is_malformed() {
        let mut body = Writer::default();
        body.text("x");
        let message = call(1, &METHOD, "s", body);
        for length in 0..message.len() - 6 {
            let cut = read(&message[..length]);
            assert!(cut.is_none_or(|cut| Reader::new(&cut.body).text().is_none()), "{length}");
        }
    }

    /// Written by hand after the specification: the length of an array excludes the padding
    /// before its first element.
    #[test]
    fn properties_are_structs_in_an_array() {
        let mut body = Writer::default();
        body.properties(&[("N".into(), Value::Uint64(5))]);
        let expected =
            [&[24, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0][..], b"N\0\x01t\0\0\0\0\0\0\0\0", &[5, 0, 0, 0, 0, 0, 0, 0]];
        assert_eq!(body.0, expected.concat());
    }
}
