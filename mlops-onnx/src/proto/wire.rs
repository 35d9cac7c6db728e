//! The wire format of protocol buffers: tags, varints, fixed words, length-delimited bytes.
//!
//! Invariant: a reader never looks past its slice, and allocates nothing by a length it has not seen the bytes of.
//! Source: the encoding chapter of the protocol buffers documentation. Groups, which ONNX does not use, are refused.

use mlops_core::{Error, Result};

/// One field's value, as the wire has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Word64([u8; 8]),
    Bytes(&'a [u8]),
    Word32([u8; 4]),
}

/// Reads the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

fn damaged(what: &str) -> Error {
    Error::data_loss(format!("model bytes are not a protocol buffer: {what}; export the model again"))
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field number and value; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Word64(self.array()?),
            2 => {
                let length =
                    usize::try_from(self.varint()?).map_err(|_| damaged("a length exceeds the address space"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Word32(self.array()?),
            kind => return Err(damaged(&format!("wire type {kind} is unknown"))),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| damaged("a field is cut short"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| damaged("a number is cut short"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged("a variable-length number has more than ten bytes"))
    }
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(damaged("a number stands where bytes are expected")),
        }
    }

    pub(crate) fn text(self) -> Result<String> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| damaged("a name is not UTF-8"))?;
        Ok(text.to_owned())
    }

    #[allow(clippy::cast_possible_wrap, reason = "the wire carries signed numbers in two's complement")]
    pub(crate) fn int(self) -> Result<i64> {
        match self {
            Self::Varint(value) => Ok(value as i64),
            _ => Err(damaged("an integer is expected")),
        }
    }

    pub(crate) fn float(self) -> Result<f32> {
        match self {
            Self::Word32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(damaged("a float is expected")),
        }
    }

    /// Appends integers, packed or single.
    pub(crate) fn push_ints(self, to: &mut Vec<i64>) -> Result<()> {
        let Self::Bytes(bytes) = self else {
            to.push(self.int()?);
            return Ok(());
        };
        let mut reader = Reader::new(bytes);
        while !reader.rest.is_empty() {
            let value = reader.varint()?;
            to.push(Self::Varint(value).int()?);
        }
        Ok(())
    }

    /// Appends floats, packed or single.
    pub(crate) fn push_floats(self, to: &mut Vec<f32>) -> Result<()> {
        let Self::Bytes(bytes) = self else {
            to.push(self.float()?);
            return Ok(());
        };
        let (words, []) = bytes.as_chunks::<4>() else {
            return Err(damaged("packed floats are cut short"));
        };
        to.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        Ok(())
    }

    /// Appends doubles, packed or single.
    pub(crate) fn push_doubles(self, to: &mut Vec<f64>) -> Result<()> {
        match self {
            Self::Word64(word) => to.push(f64::from_le_bytes(word)),
            Self::Bytes(bytes) => {
                let (words, []) = bytes.as_chunks::<8>() else {
                    return Err(damaged("packed doubles are cut short"));
                };
                to.extend(words.iter().map(|word| f64::from_le_bytes(*word)));
            }
            _ => return Err(damaged("a double is expected")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_are_read_and_cuts_are_refused() {
        let bytes = [0x08, 0xac, 0x02, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f];
        let mut reader = Reader::new(&bytes);
        let (number, field) = reader.next().unwrap().unwrap();
        assert_eq!((number, field.int().unwrap()), (1, 300));
        assert_eq!(reader.next().unwrap().unwrap().1.text().unwrap(), "hi");
        assert_eq!(reader.next().unwrap().unwrap().1.float().unwrap(), 1.0);
        assert!(reader.next().unwrap().is_none());
        for cut in [1, 2, 4, 5, 6, 8, 11] {
            let mut reader = Reader::new(&bytes[..cut]);
            let outcome = std::iter::from_fn(|| reader.next().transpose()).collect::<Result<Vec<_>>>();
            assert!(outcome.is_err(), "cut at {cut}");
        }
        assert!(Reader::new(&[0x0b]).next().is_err());
        assert!(Reader::new(&[0xff; 12]).next().is_err());
        let huge = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(Reader::new(&huge).next().is_err());
    }
}
