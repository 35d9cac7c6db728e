//! Batches of messages as brokers keep them: message format 2, which producers and brokers have had since 0.11. See
//! "Record Batch" of Kafka's documentation.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    compression::expand,
    messages::Aborted,
    wire::{Fields, Malformed},
};

/// The one format of batches that is read.
pub(super) const FORMAT: i8 = 2;

/// Bytes before a batch's length is known, and those up to its format.
const LENGTH_ENDS: usize = 12;
const FORMAT_AT: usize = 16;

/// Bits of a batch's attributes.
const CODEC: i16 = 0b111;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// What a control batch says of a transaction by the second number of its key.
const ABORT: i16 = 0;

/// Why batches cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(Malformed),
    /// A format of before 0.11, or of after what we know.
    Format(i8),
    Codec(String),
    /// More bytes than are allowed come out.
    TooLarge,
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// A message. One without a value is a tombstone: it says that its key is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) offset: u64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
}

/// Messages, and where the next one may be: what lies between is for nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) messages: Vec<Message>,
    pub(super) next: u64,
    /// About how many bytes they take.
    pub(super) bytes: usize,
}

/// The messages in `bytes` from offset `from` on, without those of `aborted` transactions, as far as they take at most
/// about `bytes_max` bytes when they are expanded. The last batch may be cut off. A batch that cannot be read is left,
/// too, if there are others before it: the next read begins with it, and tells.
pub(super) fn read(bytes: Bytes, from: u64, aborted: &[Aborted], bytes_max: usize) -> Result<Records, Fault> {
    let mut aborted: Vec<Aborted> = aborted.to_vec();
    aborted.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first));
    let mut reading = Reading {
        fields: Fields(bytes),
        aborted,
        open: BTreeSet::new(),
        bytes_max,
        found: Records { messages: Vec::new(), next: from, bytes: 0 },
    };
    loop {
        let whole = reading.found.messages.len();
        match reading.step() {
            Ok(true) => {}
            Ok(false) => return Ok(reading.found),
            Err(_) if reading.found.next > from => {
                reading.found.messages.truncate(whole);
                return Ok(reading.found);
            }
            Err(fault) => return Err(fault),
        }
    }
}

/// How far batches are read.
struct Reading {
    fields: Fields,
    /// Transactions that were given up and have not begun yet, the first one last.
    aborted: Vec<Aborted>,
    /// Producers whose transaction is one that is given up.
    open: BTreeSet<i64>,
    bytes_max: usize,
    found: Records,
}

impl Reading {
    /// Reads the next batch, if there is a whole one.
    fn step(&mut self) -> Result<bool, Fault> {
        let Some(batch) = Batch::cut(&mut self.fields)? else { return Ok(false) };
        while let Some(transaction) = self.aborted.pop_if(|transaction| transaction.first <= batch.last) {
            self.open.insert(transaction.producer);
        }
        let of_aborted = batch.is(TRANSACTIONAL) && self.open.contains(&batch.producer);
        let next = u64::try_from(batch.last + 1).map_err(|_| Malformed("a batch ends before offset 0"))?;
        if batch.is(CONTROL) {
            if batch.aborts()? {
                self.open.remove(&batch.producer);
            }
        } else if !of_aborted && next > self.found.next {
            let left = self.bytes_max.saturating_sub(self.found.bytes);
            // Not from where this read began: a broker that gives batches twice gives no message twice.
            self.found.bytes += batch.messages(self.found.next, left, &mut self.found.messages)?;
        }
        self.found.next = self.found.next.max(next);
        Ok(true)
    }
}

/// A batch whose messages are not read yet.
struct Batch {
    attributes: i16,
    first: i64,
    last: i64,
    producer: i64,
    count: i32,
    records: Bytes,
}

impl Batch {
    /// The next whole batch.
    fn cut(fields: &mut Fields) -> Result<Option<Self>, Fault> {
        let mut head = fields.clone();
        if head.0.len() < LENGTH_ENDS {
            return Ok(None);
        }
        let (first, length) = (head.i64()?, head.i32()?);
        let length = usize::try_from(length).map_err(|_| Malformed("a batch has a length below 0"))?;
        // Checked first, since other formats have other lengths.
        match fields.0.get(FORMAT_AT) {
            Some(format) if format.cast_signed() != FORMAT => return Err(Fault::Format(format.cast_signed())),
            Some(_) if head.0.len() >= length => {}
            _ => return Ok(None),
        }
        let mut body = Fields(head.take(length)?);
        *fields = head;
        let (_epoch, _format, checksum) = (body.i32()?, body.i8()?, body.u32()?);
        if crc32c::crc32c(&body.0) != checksum {
            return Err(Malformed("a batch does not have its checksum").into());
        }
        let (attributes, last_delta) = (body.i16()?, body.i32()?);
        let (_time, _newest) = (body.i64()?, body.i64()?);
        let (producer, _epoch, _sequence, count) = (body.i64()?, body.i16()?, body.i32()?, body.i32()?);
        let last =
            first.checked_add(i64::from(last_delta)).filter(|last| 0 <= first && first <= *last && *last < i64::MAX);
        let last = last.ok_or(Malformed("a batch has offsets that are none"))?;
        Ok(Some(Self { attributes, first, last, producer, count, records: body.0 }))
    }

    fn is(&self, attribute: i16) -> bool {
        self.attributes & attribute != 0
    }

    /// Whether this control batch says that a transaction was given up. One that compaction has emptied says nothing: the
    /// messages of its transaction are gone, too.
    fn aborts(&self) -> Result<bool, Malformed> {
        if self.count <= 0 || self.records.is_empty() {
            return Ok(false);
        }
        let key = Self::record(&mut Fields(self.records.clone()))?.1;
        let mut key = Fields(key.unwrap_or_default());
        let (_version, kind) = (key.i16()?, key.i16()?);
        Ok(kind == ABORT)
    }

    /// Adds the messages from offset `from` on, and tells about how many bytes they take.
    fn messages(self, from: u64, bytes_max: usize, found: &mut Vec<Message>) -> Result<usize, Fault> {
        let expanded = expand(self.attributes & CODEC, self.records, bytes_max)?;
        let count = usize::try_from(self.count).unwrap_or(0);
        if count > expanded.len() {
            return Err(Malformed("a batch has fewer bytes than messages").into());
        }
        let bytes = expanded.len().saturating_add(count.saturating_mul(size_of::<Message>()));
        if bytes > bytes_max {
            return Err(Fault::TooLarge);
        }
        let mut fields = Fields(expanded);
        let mut before = self.first - 1;
        for _ in 0..count {
            let (delta, key, value) = Self::record(&mut fields)?;
            let offset = self.first.checked_add(delta).filter(|offset| before < *offset && *offset <= self.last);
            before = offset.ok_or(Malformed("offsets of a batch do not ascend within it"))?;
            let offset = u64::try_from(before).map_err(|_| Malformed("an offset is below 0"))?;
            if offset >= from {
                found.push(Message { offset, key, value });
            }
        }
        Ok(bytes)
    }

    /// How far a message lies behind the first one of its batch, its key and its value.
    fn record(fields: &mut Fields) -> Result<(i64, Option<Bytes>, Option<Bytes>), Malformed> {
        let length = usize::try_from(fields.varint()?).map_err(|_| Malformed("a message has a length below 0"))?;
        // With its headers, which nobody asks for.
        let mut record = Fields(fields.take(length)?);
        let (_attributes, _time, delta) = (record.i8()?, record.varint()?, record.varint()?);
        Ok((delta, record.short_bytes()?, record.short_bytes()?))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stream::kafka::wire::Writer;

    /// A batch as a broker keeps it.
    pub(in crate::stream::kafka) struct Kept {
        first: i64,
        last: i64,
        attributes: i16,
        producer: i64,
        messages: Vec<Record>,
    }

    /// How far behind the first message, key and value.
    type Record = (i64, Option<&'static [u8]>, Option<&'static [u8]>);

    fn varint(number: i64) -> Vec<u8> {
        let mut bits = ((number << 1) ^ (number >> 63)).cast_unsigned();
        let mut bytes = Vec::new();
        while bits >= 0x80 {
            bytes.push((bits & 0x7f) as u8 | 0x80);
            bits >>= 7;
        }
        bytes.push(bits as u8);
        bytes
    }

    impl Kept {
        pub(in crate::stream::kafka) fn of(first: i64, values: &[&'static str]) -> Self {
            let messages = (0..).zip(values).map(|(at, value)| (at, Some(&b"k"[..]), Some(value.as_bytes()))).collect();
            Self { first, last: first + values.len() as i64 - 1, attributes: 0, producer: -1, messages }
        }

        /// By zstd.
        pub(in crate::stream::kafka) fn compressed(self) -> Self {
            Self { attributes: self.attributes | 4, ..self }
        }

        fn in_transaction(self, producer: i64) -> Self {
            Self { attributes: self.attributes | TRANSACTIONAL, producer, ..self }
        }

        fn marker(at: i64, producer: i64, kind: &'static [u8]) -> Self {
            let messages = vec![(0, Some(kind), Some(&[0, 0, 0, 0, 0, 0][..]))];
            Self { first: at, last: at, attributes: TRANSACTIONAL | CONTROL, producer, messages }
        }

        pub(in crate::stream::kafka) fn bytes(&self) -> Vec<u8> {
            let mut records = Vec::new();
            for (delta, key, value) in &self.messages {
                let mut record = vec![0];
                record.extend([varint(-5), varint(*delta)].concat());
                for part in [key, value] {
                    record.extend(
                        part.map_or_else(|| varint(-1), |part| [varint(part.len() as i64), part.to_vec()].concat()),
                    );
                }
                // One header, which is not read.
                record.extend([varint(1), varint(1), b"h".to_vec(), varint(-1)].concat());
                records.extend([varint(record.len() as i64), record].concat());
            }
            if self.attributes & CODEC == 4 {
                records = zstd::encode_all(records.as_slice(), 1).unwrap();
            }
            let mut body = Writer::default();
            body.i16(self.attributes).i32((self.last - self.first) as i32).i64(0).i64(0);
            body.i64(self.producer).i16(0).i32(0).count(self.messages.len());
            let body = [body.0, records].concat();
            let mut batch = Writer::default();
            batch.i64(self.first).count(body.len() + 9).i32(0).i8(FORMAT).i32(crc32c::crc32c(&body).cast_signed());
            [batch.0, body].concat()
        }
    }

    fn log(batches: &[Kept]) -> Bytes {
        batches.iter().flat_map(Kept::bytes).collect::<Vec<u8>>().into()
    }

    fn values(found: &Records) -> Vec<(u64, &str)> {
        let mut pairs = Vec::new();
        for Message { offset, value, .. } in &found.messages {
            pairs.push((*offset, value.as_ref().map_or("-", |value| std::str::from_utf8(value).unwrap())));
        }
        pairs
    }

    const ABORTED: &[u8] = &[0, 0, 0, 0];
    const COMMITTED: &[u8] = &[0, 0, 0, 1];

    #[test]
    fn messages_are_read_from_the_middle_of_a_batch_and_up_to_one_that_is_cut_off() {
        let compressed = Kept::of(3, &["d", "e"]).compressed();
        let bytes = log(&[Kept::of(0, &["a", "b", "c"]), compressed, Kept::of(5, &["f"])]);
        let found = read(bytes.clone(), 1, &[], 1_000).unwrap();
        assert_eq!((values(&found), found.next), (vec![(1, "b"), (2, "c"), (3, "d"), (4, "e"), (5, "f")], 6));
        for cut in 1..bytes.len() {
            let found = read(bytes.slice(..cut), 1, &[], 1_000).unwrap();
            assert!(found.messages.len() < 5 && found.next < 6, "{cut} bytes");
        }
        let three = 3 * size_of::<Message>() + 40;
        assert_eq!(read(bytes.clone(), 1, &[], three - 20), Err(Fault::TooLarge), "the first batch has to fit");
        let found = read(bytes, 1, &[], three).unwrap();
        assert_eq!((values(&found), found.next), (vec![(1, "b"), (2, "c")], 3), "others are left");
        assert!((3 * size_of::<Message>()..three).contains(&found.bytes), "{}", found.bytes);
    }

    #[test]
    fn what_is_for_nobody_is_passed_over() {
        // Of the batch only one message survived compaction, and of the next one none.
        let mut compacted = Kept::of(0, &["old", "old", "new"]);
        compacted.messages.drain(..2);
        let emptied = Kept { last: 9, messages: Vec::new(), ..Kept::of(3, &["x"]) };
        let found = read(log(&[compacted, emptied, Kept::marker(10, 7, COMMITTED)]), 0, &[], 1_000).unwrap();
        assert_eq!((values(&found), found.next), (vec![(2, "new")], 11));
        // Of the last marker of a producer compaction keeps the batch without its message.
        let marker = Kept { messages: Vec::new(), ..Kept::marker(10, 7, COMMITTED) };
        let found = read(log(&[marker, Kept::of(11, &["next"])]), 10, &[], 1_000).unwrap();
        assert_eq!((values(&found), found.next), (vec![(11, "next")], 12));
        let tombstone = Kept { messages: vec![(0, Some(b"k"), None)], ..Kept::of(11, &["x"]) };
        assert_eq!(values(&read(log(&[tombstone]), 11, &[], 1_000).unwrap()), [(11, "-")]);
    }

    #[test]
    fn messages_of_aborted_transactions_are_not_given() {
        let batches = [
            Kept::of(0, &["one"]).in_transaction(7),
            Kept::of(1, &["other"]).in_transaction(8),
            Kept::marker(2, 7, COMMITTED),
            Kept::of(3, &["given up"]).in_transaction(7),
            Kept::of(4, &["plain"]),
            Kept::of(5, &["given up too"]).in_transaction(7),
            Kept::marker(6, 7, ABORTED),
            Kept::of(7, &["two"]).in_transaction(7),
            Kept::marker(8, 8, COMMITTED),
            Kept::marker(9, 7, COMMITTED),
        ];
        let aborted = [Aborted { producer: 7, first: 3 }];
        let found = read(log(&batches), 0, &aborted, 1_000).unwrap();
        assert_eq!(values(&found), [(0, "one"), (1, "other"), (4, "plain"), (7, "two")]);
        assert_eq!(found.next, 10);
        // From the marker of a transaction on whose messages were passed before.
        let found = read(log(&batches[6..]), 6, &[], 1_000).unwrap();
        assert_eq!(values(&found), [(7, "two")]);
    }

    #[test]
    fn batches_that_come_twice_or_overlap_give_each_message_once() {
        let batches = [Kept::of(0, &["a", "b"]), Kept::of(0, &["a", "b"]), Kept::of(1, &["b", "c"])];
        let found = read(log(&batches), 0, &[], 1_000).unwrap();
        assert_eq!((values(&found), found.next), (vec![(0, "a"), (1, "b"), (2, "c")], 3));
    }

    #[test]
    fn what_lies_before_a_bad_batch_is_given() {
        let unsorted = Kept { messages: vec![(0, None, None), (0, None, None)], ..Kept::of(2, &["c", "d"]) };
        let mut old = Kept::of(2, &["c"]).bytes();
        old[FORMAT_AT] = 1;
        let mut flipped = Kept::of(2, &["c"]).bytes();
        *flipped.last_mut().unwrap() ^= 1;
        let codec = Kept { attributes: 5, ..Kept::of(2, &["c"]) };
        for bad in [unsorted.bytes(), old, flipped, codec.bytes()] {
            let bytes: Bytes = [Kept::of(0, &["a", "b"]).bytes(), bad].concat().into();
            let found = read(bytes.clone(), 0, &[], 1_000).unwrap();
            assert_eq!((values(&found), found.next), (vec![(0, "a"), (1, "b")], 2));
            assert!(read(bytes, 2, &[], 1_000).is_err(), "then it is the first one that is wanted");
        }
    }

    #[test]
    fn what_is_broken_or_of_another_format_is_told() {
        let good = log(&[Kept::of(0, &["a", "b"])]);
        for at in 17..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            assert!(matches!(read(bad.into(), 0, &[], 1_000), Err(Fault::Malformed(_))), "byte {at}");
        }
        let mut old = good.to_vec();
        old[FORMAT_AT] = 1;
        assert_eq!(read(old.into(), 0, &[], 1_000), Err(Fault::Format(1)));
        let unsorted = Kept { messages: vec![(1, None, None), (1, None, None)], ..Kept::of(0, &["a", "b"]) };
        assert!(matches!(read(log(&[unsorted]), 0, &[], 1_000), Err(Fault::Malformed(_))));
        let more = Kept { messages: vec![(2, None, None)], ..Kept::of(0, &["a", "b"]) };
        assert!(matches!(read(log(&[more]), 0, &[], 1_000), Err(Fault::Malformed(_))));
    }
}
