//! Protocol buffers, as far as the messages of criu and of containerd's shims need them: numbers, bytes and
//! nested messages.

/// A message being written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

/// A field's value as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Message {
    /// Adds a number; a negative one is passed as its two's complement in 64 bits.
    pub(crate) fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    /// Adds a switch.
    pub(crate) fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        self.number(field, value.into())
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, field: u32, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a message.
    pub(crate) fn nested(&mut self, field: u32, value: &Self) -> &mut Self {
        self.text(field, &value.0)
    }

    /// What is sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

/// The fields of a message in order; `None` when it is none.
pub(crate) fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        fields.push((u32::try_from(key >> 3).ok()?, value));
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut inner = Message::default();
        inner.text(1, "key").number(2, 300);
        let mut message = Message::default();
        message.number(1, 6).flag(3, true).nested(25, &inner).number(9, u64::MAX);
        // From the encoding guide of protocol buffers: 300 is AC 02.
        assert!(inner.bytes().ends_with(&[0x10, 0xac, 0x02]));
        let read = fields(message.bytes()).expect("a message");
        assert_eq!(read[0], (1, Value::Number(6)));
        assert_eq!(read[2], (25, Value::Bytes(inner.bytes())));
        assert_eq!(read[3], (9, Value::Number(u64::MAX)));
    }

    #[test]
    fn what_is_torn_is_no_message() {
        for bytes in [&[0x08][..], &[0x12, 5, 1], &[0x0b], &[0xff; 12]] {
            assert_eq!(fields(bytes), None, "{bytes:?}");
        }
    }
}
