//! Fields of a protobuf message, as far as the record file needs them (the encoding guide of Protocol Buffers).
//!
//! Invariant: bytes that are no message end the fields; nothing is read beyond them.

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    /// Kind 0: a whole number, as it stands.
    Varint(u64),
    /// Kind 1: eight bytes.
    Fixed64(u64),
    /// Kind 2: text, bytes or a message.
    Bytes(&'a [u8]),
    /// Kind 5: four bytes.
    Fixed32,
}

impl<'a> Field<'a> {
    pub(super) fn text(self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    pub(super) fn number(self) -> i64 {
        match self {
            Self::Varint(number) => number.cast_signed(),
            _ => 0,
        }
    }
}

/// The fields of a message with their numbers.
pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

#[derive(Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let count = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(count)?)
            }
            5 => self.take(4).map(|_| Field::Fixed32)?,
            _ => return None,
        };
        Some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.field();
        if found.is_none() {
            self.0 = &[];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of the encoding guide: field 1 is 150, field 2 is "testing".
    #[test]
    fn the_examples_of_the_guide_are_read() {
        let message = b"\x08\x96\x01\x12\x07testing";
        let found: Vec<_> = fields(message).collect();
        assert_eq!(found, [(1, Field::Varint(150)), (2, Field::Bytes(b"testing"))]);
        assert_eq!(fields(b"\x12\x07test").count(), 0);
    }

    proptest! {
        #[test]
        fn noise_ends(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(fields(&noise).count() <= noise.len());
        }
    }
}
