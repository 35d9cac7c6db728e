//! MD5 of files: of the bytes, or as DVC 2 hashed text.

use std::{fs::File, io::Read, path::Path};

use md5::{Digest as _, Md5};
use mlops_core::Result;

use super::{fault::io_error, oid::Layout};

/// Bytes read at once. DVC 2 decided chunk by chunk of this size whether a file is text, so it is part of that format.
const CHUNK: usize = 1 << 20;
/// How much of a chunk DVC 2 looked at.
const SAMPLE: usize = 512;

/// Hashes bytes that come in pieces.
#[derive(Clone, Default)]
pub(super) struct Hasher(Md5);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

pub(super) fn md5_of(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// Reads `file` to its end in chunks that are full, but for the last.
pub(super) fn for_each_chunk(file: &mut File, path: &Path, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut buffer);
        if read.map_err(|error| io_error("cannot read", path, error))? == 0 {
            return Ok(());
        }
        take(&buffer)?;
    }
}

/// The hash of the file at `path`, as objects of `layout` are named.
pub(super) fn file_md5(path: &Path, layout: Layout) -> Result<[u8; 16]> {
    let mut file = File::open(path).map_err(|error| io_error("cannot read", path, error))?;
    let mut hasher = Hasher::default();
    for_each_chunk(&mut file, path, |chunk| {
        match layout {
            Layout::Files => hasher.update(chunk),
            Layout::Legacy => update_legacy(&mut hasher, chunk),
        }
        Ok(())
    })?;
    Ok(hasher.finish())
}

/// A chunk as DVC 2 hashed it: CRLF as LF when the chunk looks like text.
pub(super) fn update_legacy(hasher: &mut Hasher, chunk: &[u8]) {
    if !is_text(chunk.get(..SAMPLE).unwrap_or(chunk)) {
        return hasher.update(chunk);
    }
    let mut rest = chunk;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let (line, tail) = rest.split_at(at);
        hasher.update(line);
        rest = tail.get(1..).unwrap_or_default();
    }
    hasher.update(rest);
}

/// No zero byte, and at most 30 % of what is neither printable ASCII nor `\n\r\t\f\b`.
fn is_text(sample: &[u8]) -> bool {
    let odd = |byte: &&u8| !matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | b'\x0c' | b'\x08');
    let odd = sample.iter().filter(odd).count();
    !sample.contains(&0) && odd * 10 <= sample.len() * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(bytes: &[u8]) -> [u8; 16] {
        let mut hasher = Hasher::default();
        update_legacy(&mut hasher, bytes);
        hasher.finish()
    }

    #[test]
    fn dvc_2_did_not_see_the_line_ends_of_text() {
        assert_eq!(legacy(b"a,b\r\n1,2\r\n\r"), md5_of(b"a,b\n1,2\n\r"));
        assert_eq!(legacy(b"\0a\r\n"), md5_of(b"\0a\r\n"));
        assert_eq!(legacy(b""), md5_of(b""));
        assert_eq!(legacy(&[0xff, b'\r', b'\n']), md5_of(&[0xff, b'\r', b'\n']), "a third of it is not text");
        let four = [0xff, b'a', b'\r', b'\n'];
        assert_eq!(legacy(&four), md5_of(&[0xff, b'a', b'\n']));
    }
}
