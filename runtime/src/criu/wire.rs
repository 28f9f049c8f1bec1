//! Protocol buffers as far as CRIU's messages need them: integers, and bytes that are a string
//! or a message. Source: protobuf.dev, "Encoding".

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message that is being encoded.
#[derive(Debug, Default, Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An integer field.
    pub fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value);
    }

    /// An int32 field: negative values are sign-extended to 64 bits.
    pub fn signed(&mut self, field: u32, value: i32) {
        self.number(field, i64::from(value) as u64);
    }

    /// A bool field; false is the default and is left out.
    pub fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.number(field, 1);
        }
    }

    /// A string or bytes field.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message field.
    pub fn message(&mut self, field: u32, message: &Writer) {
        self.bytes(field, &message.0);
    }

    /// The encoded message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Iterates over the fields of a message, in order; ends at malformed bytes.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            VARINT => Value::Number(self.varint()?),
            FIXED64 => Value::Bytes(self.take(8)?),
            FIXED32 => Value::Bytes(self.take(4)?),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's own documentation.
    #[test]
    fn messages_are_written_as_everybody_writes_them() {
        let mut inner = Writer::default();
        inner.number(1, 150);
        assert_eq!(inner.as_bytes(), [0x08, 0x96, 0x01]);
        let mut outer = Writer::default();
        outer.bytes(2, b"testing");
        outer.message(3, &inner);
        outer.flag(4, false);
        outer.signed(5, -2);
        let expected = [b"\x12\x07testing\x1a\x03\x08\x96\x01\x28\xfe".as_slice(), &[0xff; 8], &[1]].concat();
        assert_eq!(outer.as_bytes(), expected);
        let fields: Vec<_> = Reader(outer.as_bytes()).collect();
        let minus_two = Value::Number((-2i64) as u64);
        let inner = Value::Bytes(inner.as_bytes());
        assert_eq!(fields, [(2, Value::Bytes(b"testing")), (3, inner), (5, minus_two)]);
    }

    #[test]
    fn what_is_cut_off_ends_there() {
        for bytes in [&b"\x12\x07test"[..], b"\x08\x96", b"\x0b\x01", &[0xff; 20]] {
            assert_eq!(Reader(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(Reader(b"\x08\x01\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f").count(), 1);
    }
}
