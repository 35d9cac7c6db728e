//! The record file of a Weights & Biases run, `run-ID.wandb`.
//!
//! The file is cut into blocks of 32 KiB, as LevelDB's log is. The first has a head of seven bytes: `:W&B`, the number
//! 0xBEE1 and the version 0. A record is one chunk (kind 1) or a first, middle and last one (2, 3, 4); a chunk has the
//! CRC-32 (IEEE) of its kind and bytes, their number (2 bytes) and the kind, all little-endian, in front. A block's last
//! bytes, if fewer than seven, are empty.
//!
//! Invariant: a record is given only when the checksums of all its chunks are right. After a wrong one reading goes on with
//! the next block; the end of a file that is still written, or was when its program died, ends it quietly.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    path::Path,
};

/// Largest record, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 20;
const BLOCK_BYTES: u64 = 32 << 10;
const HEAD: [u8; 7] = *b":W&B\xe1\xbe\x00";
const CHUNK_HEAD_BYTES: u64 = 7;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A record and where it ends in the file.
    Record(Vec<u8>, u64),
    /// Something that is no record, and where.
    Broken(u64, &'static str),
    /// Nothing more.
    End,
}

/// Reads record by record.
#[derive(Debug)]
pub(super) struct RecordFile<R> {
    bytes: R,
    at: u64,
}

impl RecordFile<BufReader<File>> {
    /// From `offset`, the end of a record; 0 is the beginning. None when it is no such file.
    pub(super) fn open(path: &Path, offset: u64) -> io::Result<Option<Self>> {
        let mut file = BufReader::new(File::open(path)?);
        let mut head = [0; HEAD.len()];
        if file.read_exact(&mut head).is_err() || head != HEAD {
            return Ok(None);
        }
        let at = offset.max(CHUNK_HEAD_BYTES);
        file.seek(SeekFrom::Start(at))?;
        Ok(Some(Self { bytes: file, at }))
    }
}

enum Chunk {
    Whole(u8, Vec<u8>),
    Broken(&'static str),
    End,
}

impl<R: Read> RecordFile<R> {
    /// The next record.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        let start = self.at;
        let mut record: Option<Vec<u8>> = None;
        loop {
            let (kind, bytes) = match self.chunk()? {
                Chunk::End => return Ok(Next::End),
                Chunk::Broken(why) => {
                    self.skip(self.left())?;
                    return Ok(Next::Broken(start, why));
                }
                Chunk::Whole(kind, bytes) => (kind, bytes),
            };
            match (kind, &mut record) {
                (1, None) => return Ok(Next::Record(bytes, self.at)),
                (2, None) => record = Some(bytes),
                (3 | 4, Some(record)) if RECORD_BYTES_MAX < record.len() + bytes.len() => {
                    return Ok(Next::Broken(start, "a record of more than 64 MiB is not read"));
                }
                (3 | 4, Some(record)) => record.extend_from_slice(&bytes),
                // The rest of a record whose beginning was broken.
                (3 | 4, None) => {}
                _ => return Ok(Next::Broken(start, "a record ends before its last piece")),
            }
            if let (4, Some(record)) = (kind, &mut record) {
                return Ok(Next::Record(std::mem::take(record), self.at));
            }
        }
    }

    fn chunk(&mut self) -> io::Result<Chunk> {
        if self.left() < CHUNK_HEAD_BYTES {
            self.skip(self.left())?;
        }
        let mut head = [0; CHUNK_HEAD_BYTES as usize];
        if !self.fill(&mut head)? {
            return Ok(Chunk::End);
        }
        let [c0, c1, c2, c3, l0, l1, kind] = head;
        let size = u16::from_le_bytes([l0, l1]);
        if kind == 0 || 4 < kind {
            return Ok(Chunk::Broken("the kind of a piece is not known"));
        }
        if self.left() < u64::from(size) {
            return Ok(Chunk::Broken("a piece is longer than its block"));
        }
        let mut bytes = vec![0; usize::from(size)];
        if !self.fill(&mut bytes)? {
            return Ok(Chunk::End);
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&[kind]);
        sum.update(&bytes);
        Ok(match sum.finalize() == u32::from_le_bytes([c0, c1, c2, c3]) {
            true => Chunk::Whole(kind, bytes),
            false => Chunk::Broken("the checksum of a piece is wrong"),
        })
    }

    /// Bytes of the block that are not read yet; 0 at its end.
    fn left(&self) -> u64 {
        (BLOCK_BYTES - self.at % BLOCK_BYTES) % BLOCK_BYTES
    }

    /// Whether there were so many bytes.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.bytes.read_exact(bytes) {
            Ok(()) => self.at += bytes.len() as u64,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        self.at += io::copy(&mut self.bytes.by_ref().take(count), &mut io::sink())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The file, and where each record ends in it.
    fn write(records: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let (mut file, mut ends) = (HEAD.to_vec(), Vec::new());
        for record in records {
            let (mut rest, mut first) = (record.as_slice(), true);
            loop {
                let left = BLOCK_BYTES as usize - file.len() % BLOCK_BYTES as usize;
                if left < 7 {
                    file.resize(file.len() + left, 0);
                    continue;
                }
                let (bytes, more) = rest.split_at(rest.len().min(left - 7));
                let kind = match (first, more.is_empty()) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                let mut sum = crc32fast::Hasher::new();
                sum.update(&[kind]);
                sum.update(bytes);
                file.extend(sum.finalize().to_le_bytes());
                file.extend((bytes.len() as u16).to_le_bytes());
                file.push(kind);
                file.extend(bytes);
                (rest, first) = (more, false);
                if rest.is_empty() {
                    break;
                }
            }
            ends.push(file.len());
        }
        (file, ends)
    }

    fn read(file: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let mut records = RecordFile { bytes: file.get(7..).unwrap_or_default(), at: 7 };
        let (mut found, mut broken) = (Vec::new(), 0);
        loop {
            match records.next().unwrap() {
                Next::Record(bytes, _) => found.push(bytes),
                Next::Broken(..) => broken += 1,
                Next::End => return (found, broken),
            }
        }
    }

    proptest! {
        #[test]
        fn records_come_back_and_damage_is_never_taken_for_one(
            sizes in proptest::collection::vec(0_usize..40_000, 1..12), at in any::<prop::sample::Index>(), cut in any::<bool>(),
        ) {
            let records: Vec<Vec<u8>> =
                sizes.iter().enumerate().map(|(n, &size)| vec![n as u8 + 1; size]).collect();
            let (mut file, ends) = write(&records);
            prop_assert_eq!(read(&file), (records.clone(), 0));
            let at = 7 + at.index(file.len() - 7);
            match cut {
                true => file.truncate(at),
                false => file[at] ^= 0x55,
            }
            let (found, _) = read(&file);
            prop_assert!(found.iter().all(|record| records.contains(record)));
            // A fault costs the records of its block, a cut what stands behind it.
            let block = at / BLOCK_BYTES as usize;
            let last = |end: usize| (end - 1) / BLOCK_BYTES as usize;
            let starts = std::iter::once(7).chain(ends.iter().copied());
            for ((record, &end), start) in records.iter().zip(&ends).zip(starts) {
                let whole = if cut { end <= at } else { last(end) < block || block < start / BLOCK_BYTES as usize };
                prop_assert!(!whole || found.contains(record), "{start}..{end}, fault at {at}");
            }
        }
    }
}
