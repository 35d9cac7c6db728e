//! The little of tar (POSIX ustar) that a bundle needs: regular files with short names, one after another.
//!
//! Invariant: what is not exactly of this kind is refused, so that a bundle has one reading. Not a tar library.

use mlops_core::{Error, Result};

/// Size of a header, and what content is padded to.
pub(super) const BLOCK: u64 = 512;
/// What ends the file: two blocks of zeros.
pub(super) const END: [u8; 1024] = [0; 1024];
/// Largest content that the twelve bytes of the size field hold in octal.
pub(super) const SIZE_MAX: u64 = (1 << 33) - 1;

/// Where the fields of a header begin, and how long they are.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const OWNER: (usize, usize) = (108, 8);
const GROUP: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MODIFIED: (usize, usize) = (136, 12);
const CHECKSUM: (usize, usize) = (148, 8);
const KIND: (usize, usize) = (156, 1);
const MAGIC: (usize, usize) = (257, 8);
const DEVICE: (usize, usize) = (329, 16);
const REGULAR: &[u8] = b"0";
const USTAR: &[u8] = b"ustar\x0000";

/// A file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) size: u64,
}

/// How many bytes follow content of this size up to the next header.
pub(super) fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

fn damaged(what: &str) -> Error {
    Error::data_loss(format!("not a bundle, or damaged: {what}"))
}

impl Header {
    pub(super) fn write(&self) -> Result<[u8; BLOCK as usize]> {
        if self.name.is_empty() || self.name.len() > NAME.1 || self.size > SIZE_MAX {
            return Err(Error::resource_exhausted(format!(
                "file {:?} of {} bytes does not fit into a bundle; at most {SIZE_MAX} bytes do",
                self.name, self.size
            )));
        }
        let mut block = [0_u8; BLOCK as usize];
        put(&mut block, NAME, self.name.as_bytes());
        put(&mut block, MODE, b"0000644\0");
        put(&mut block, OWNER, b"0000000\0");
        put(&mut block, GROUP, b"0000000\0");
        put(&mut block, SIZE, format!("{:011o}\0", self.size).as_bytes());
        put(&mut block, MODIFIED, b"00000000000\0");
        put(&mut block, KIND, REGULAR);
        put(&mut block, MAGIC, USTAR);
        put(&mut block, DEVICE, b"0000000\x000000000\0");
        let sum = format!("{:06o}\0 ", checksum(&block));
        put(&mut block, CHECKSUM, sum.as_bytes());
        Ok(block)
    }

    /// The header in a block; none in a block of zeros, which ends the archive.
    pub(super) fn read(block: &[u8; BLOCK as usize]) -> Result<Option<Self>> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if octal(field(block, CHECKSUM)) != Some(checksum(block)) {
            return Err(damaged("the checksum of a header is wrong"));
        }
        if field(block, MAGIC) != USTAR || field(block, KIND) != REGULAR {
            return Err(damaged("something in it is no regular file; unpack nothing and pack nothing into it"));
        }
        let name = field(block, NAME);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| damaged("a file name is not UTF-8"))?.to_owned();
        let size = octal(field(block, SIZE)).ok_or_else(|| damaged("the size of a file is no octal number"))?;
        let header = Self { name, size };
        // One reading only: whatever else the header says must be what we write.
        match header.write()? == *block {
            true => Ok(Some(header)),
            false => Err(damaged("a header has fields that a bundle does not use")),
        }
    }
}

fn put(block: &mut [u8; BLOCK as usize], (start, length): (usize, usize), bytes: &[u8]) {
    for (to, from) in block.iter_mut().skip(start).take(length).zip(bytes) {
        *to = *from;
    }
}

fn field(block: &[u8; BLOCK as usize], (start, length): (usize, usize)) -> &[u8] {
    block.get(start..start + length).unwrap_or_default()
}

/// The sum of all bytes, those of the checksum itself counted as blanks.
fn checksum(block: &[u8; BLOCK as usize]) -> u64 {
    let is_sum = |at: usize| (CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1).contains(&at);
    block.iter().enumerate().map(|(at, byte)| if is_sum(at) { u64::from(b' ') } else { u64::from(*byte) }).sum()
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_end_matches(['\0', ' ']);
    if digits.is_empty() || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_come_back_as_they_were(name in "[a-z0-9/._-]{1,100}", size in 0_u64..=SIZE_MAX) {
            let header = Header { name, size };
            prop_assert_eq!(Header::read(&header.write().unwrap()).unwrap(), Some(header.clone()));
            prop_assert_eq!((size + padding(size)) % BLOCK, 0);
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0_usize..512, change in 1_u8..=255) {
            let mut block = Header { name: "blobs/x".to_owned(), size: 700 }.write().unwrap();
            block[at] ^= change;
            prop_assert!(Header::read(&block).is_err());
        }

        #[test]
        fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 512)) {
            let block: [u8; 512] = noise.try_into().unwrap();
            prop_assert!(!matches!(Header::read(&block), Ok(Some(_))));
        }
    }

    /// GNU tar 1.34: `tar --format=ustar --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=644 -cf - blobs/x`.
    #[test]
    fn headers_are_those_of_tar() {
        let block = Header { name: "blobs/x".to_owned(), size: 3 }.write().unwrap();
        assert_eq!(&block[100..157], b"0000644\x000000000\x000000000\x0000000000003\x0000000000000\x00010471\0 0");
        assert_eq!(&block[257..265], b"ustar\x0000");
        assert_eq!(&block[329..345], b"0000000\x000000000\0");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (name, size) in [("", 1), (&*"n".repeat(101), 1), ("n", SIZE_MAX + 1)] {
            assert!(Header { name: name.to_owned(), size }.write().is_err());
        }
        assert_eq!(Header::read(&[0; 512]).unwrap(), None);
    }
}
