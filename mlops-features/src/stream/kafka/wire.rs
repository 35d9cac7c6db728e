//! Numbers, texts and lists as Kafka's protocol has them: big-endian, lengths before contents. A length is checked
//! against what is there before anything is made of it.
//!
//! See "Protocol Primitive Types" of the Kafka protocol guide.

use bytes::{Buf as _, Bytes};

/// What an answer must not be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// A question under way.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn i8(&mut self, value: i8) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn i16(&mut self, value: i16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// How many items follow.
    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// A text of at most 32,767 bytes, as names of topics and clients are.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
        self.i16(length);
        self.0.extend(text.bytes().take(usize::from(length.unsigned_abs())));
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.extend(bytes);
        self
    }
}

/// What is left of an answer.
#[derive(Debug, Clone)]
pub(super) struct Fields(pub(super) Bytes);

impl Fields {
    pub(super) fn take(&mut self, count: usize) -> Result<Bytes> {
        if count > self.0.len() {
            return Err(Malformed("it ends before it should"));
        }
        Ok(self.0.split_to(count))
    }

    pub(super) fn i8(&mut self) -> Result<i8> {
        self.0.try_get_i8().map_err(|_| Malformed("it ends in a number"))
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        self.0.try_get_i16().map_err(|_| Malformed("it ends in a number"))
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.0.try_get_i32().map_err(|_| Malformed("it ends in a number"))
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        self.0.try_get_i64().map_err(|_| Malformed("it ends in a number"))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.0.try_get_u32().map_err(|_| Malformed("it ends in a number"))
    }

    /// A text, or none.
    pub(super) fn text(&mut self) -> Result<Option<String>> {
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("a text has a length below 0"))?;
                let text = String::from_utf8(self.take(length)?.to_vec());
                text.map(Some).map_err(|_| Malformed("a text is no UTF-8"))
            }
        }
    }

    /// Bytes, or none.
    pub(super) fn bytes(&mut self) -> Result<Option<Bytes>> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("bytes have a length below 0"))?;
                self.take(length).map(Some)
            }
        }
    }

    /// As many items as are announced; none of them is without bytes, so a count that is a lie ends soon.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        for _ in 0..self.i32()?.max(0) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// A number of variable length: 7 bits a byte, the lowest first, its sign in the lowest bit.
    pub(super) fn varint(&mut self) -> Result<i64> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.0.try_get_u8().map_err(|_| Malformed("it ends in a number"))?;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(Malformed("a number has more than 64 bits"))
    }

    /// Bytes whose length has a variable length, or none.
    pub(super) fn short_bytes(&mut self) -> Result<Option<Bytes>> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("bytes have a length below 0"))?;
                self.take(length).map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &'static [u8]) -> Fields {
        Fields(Bytes::from_static(bytes))
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.i8(-3).i16(-300).i32(-70_000).i64(i64::MIN).text("tópic").bytes(b"ab").count(2).i16(1).i16(2);
        let mut read = Fields(writer.0.into());
        assert_eq!((read.i8(), read.i16(), read.i32(), read.i64()), (Ok(-3), Ok(-300), Ok(-70_000), Ok(i64::MIN)));
        assert_eq!(read.text(), Ok(Some("tópic".to_owned())));
        assert_eq!(read.bytes(), Ok(Some(Bytes::from_static(b"ab"))));
        assert_eq!(read.list(Fields::i16), Ok(vec![1, 2]));
        assert!(read.0.is_empty());
    }

    #[test]
    fn numbers_of_variable_length_are_those_of_the_zigzag_code() {
        for (bytes, number) in [
            (&[0_u8][..], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0xac, 0x02], 150),
            (&[0xfe, 0xff, 0xff, 0xff, 0x0f], 2_147_483_647),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], i64::MIN),
        ] {
            assert_eq!(Fields(Bytes::copy_from_slice(bytes)).varint(), Ok(number));
        }
        assert!(fields(&[0xff; 11]).varint().is_err());
        assert!(fields(&[0x80]).varint().is_err());
    }

    #[test]
    fn lengths_that_are_lies_are_refused() {
        assert!(fields(&[0x7f, 0xff, 0xff, 0xff]).list(Fields::i8).is_err());
        assert!(fields(&[0x7f, 0xff, 0xff, 0xff, 1]).bytes().is_err());
        assert!(fields(&[0x80, 0, 0, 0]).bytes().is_err());
        assert!(fields(&[0x7f, 0xff, 1]).text().is_err());
        assert!(fields(&[0, 1, 0xff]).text().is_err());
        assert!(fields(&[0x06, 1]).short_bytes().is_err());
        assert_eq!(fields(&[0xff, 0xff, 0xff, 0xff]).bytes(), Ok(None));
        assert_eq!(fields(&[0xff, 0xff, 0xff, 0xff]).list(Fields::i8), Ok(Vec::new()));
        assert_eq!(fields(&[1]).short_bytes(), Ok(None));
    }
}
