//! A file that grows by whole frames: what was appended is there after a crash, or was never
//! acknowledged.
//!
//! Format, version 1: the line `mlops-alert-journal 1`, then one line for each frame: the CRC-32
//! (IEEE) of the text as eight hexadecimal digits, a space, the text (JSON, without line breaks).
//!
//! Invariant: [`Journal::append`] returns after `fsync`; frames are appended one after another, so
//! only the last one can be torn, and it is cut off when the file is opened. Damage anywhere else
//! is an error, never skipped. After a failed write or `fsync` nothing more is written: what is on
//! disk is unknown until the file is read again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use mlops_core::{Error, Result};

const HEADER: &[u8] = b"mlops-alert-journal 1\n";
const HEADER_WORD: &[u8] = b"mlops-alert-journal ";
/// Longest frame in bytes; a snapshot of ten thousand alerts has about ten million.
const FRAME_BYTES_MAX: u64 = 512 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    bytes: u64,
    poisoned: bool,
}

pub(super) fn io_error(path: &Path, what: &str, error: io::Error) -> Error {
    let error_kind = error.kind();
    let message = format!("{} cannot be {what}: {error}", path.display());
    let full = matches!(error_kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error_type = if full { Error::resource_exhausted(message) } else { Error::unavailable(message) };
    error_type.with("path", path.display()).with_source(error)
}

/// Makes a new or renamed file's name durable. Where directories cannot be opened, the operating
/// system keeps names by itself.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent().map(File::open) {
        Some(Ok(directory)) => directory.sync_all(),
        Some(Err(_)) | None => Ok(()),
    }
}

impl Journal {
    /// Opens the file, making it when it is not there, and shows every frame in order.
    ///
    /// # Errors
    /// `DataLoss` when the file is damaged before its last frame; `FailedPrecondition` when it has
    /// a version above 1; `Unavailable` when it cannot be read or written; and those of `visit`.
    pub(super) fn open(path: PathBuf, mut visit: impl FnMut(&str) -> Result<()>) -> Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| io_error(&path, "opened", error))?;
        let found = file.metadata().map_err(|error| io_error(&path, "read", error))?.len();
        let bytes = read_frames(&path, &mut file, found, &mut visit)?;
        let settle = |file: &mut File| {
            if bytes == 0 {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                file.write_all(HEADER)?;
                file.sync_all()?;
                sync_directory(&path)?;
            } else if bytes < found {
                file.set_len(bytes)?;
                file.sync_all()?;
            }
            file.seek(SeekFrom::End(0))
        };
        let bytes = settle(&mut file).map_err(|error| io_error(&path, "written", error))?;
        Ok(Self { file, path, bytes, poisoned: false })
    }

    /// Refuses every write from now on.
    pub(super) fn close(&mut self) {
        self.poisoned = true;
    }

    /// The size of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a frame; it is durable when this returns.
    ///
    /// # Errors
    /// `Unavailable` or `ResourceExhausted` when it cannot be written; `FailedPrecondition` ever
    /// after, until the file is opened again.
    pub(super) fn append(&mut self, text: &str) -> Result<()> {
        self.check_usable()?;
        let frame = frame(text)?;
        self.poisoned = true;
        self.file
            .write_all(frame.as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|error| io_error(&self.path, "written", error))?;
        self.poisoned = false;
        self.bytes = self.bytes.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Whether anything can be written.
    ///
    /// # Errors
    /// `FailedPrecondition` after a failed write, or when it is closed.
    pub(super) fn check_usable(&self) -> Result<()> {
        if self.poisoned {
            let path = self.path.display();
            return Err(Error::failed_precondition(format!(
                "{path} is closed or could not be written before; find out why, then open it again"
            )));
        }
        Ok(())
    }

    /// Replaces all frames by one, at once: a crash leaves the old ones or the new one.
    ///
    /// # Errors
    /// As [`Journal::append`]; the old frames are still there then.
    pub(super) fn replace(&mut self, text: &str) -> Result<()> {
        self.check_usable()?;
        let frame = frame(text)?;
        let aside = self.path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&aside)?;
            file.write_all(HEADER)?;
            file.write_all(frame.as_bytes())?;
            file.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|error: io::Error| io_error(&aside, "written", error))?;
        // From the renaming on, the old file is nobody's; an error in between leaves that unclear.
        self.poisoned = true;
        fs::rename(&aside, &self.path)
            .and_then(|()| sync_directory(&self.path))
            .map_err(|error| io_error(&self.path, "replaced", error))?;
        let header = HEADER.len();
        self.bytes = u64::try_from(header.saturating_add(frame.len())).unwrap_or(u64::MAX);
        self.file = file;
        self.poisoned = false;
        Ok(())
    }
}

fn frame(text: &str) -> Result<String> {
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes >= FRAME_BYTES_MAX) || text.contains('\n') {
        let found = text.len();
        return Err(Error::resource_exhausted(format!(
            "a journal frame is one line of less than {FRAME_BYTES_MAX} bytes, found {found}; lower alerts_max"
        )));
    }
    Ok(format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes())))
}

fn unframe(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (digits, text) = text.split_at_checked(8)?;
    let text = text.strip_prefix(' ')?;
    let sum = u32::from_str_radix(digits, 16).ok()?;
    (sum == crc32fast::hash(text.as_bytes())).then_some(text)
}

/// Shows every whole frame; gives where the last one ends, zero for a file without a whole header.
fn read_frames(path: &Path, file: &mut File, found: u64, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<u64> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut whole = 0_u64;
    loop {
        line.clear();
        let read = (&mut reader).take(FRAME_BYTES_MAX).read_until(b'\n', &mut line);
        let read = read.map_err(|error| io_error(path, "read", error))?;
        if read == 0 {
            return Ok(whole);
        }
        let end = whole.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if whole == 0 {
            if !check_header(path, &line, end == found)? {
                return Ok(0);
            }
        } else if let Some(text) = unframe(&line) {
            visit(text)?;
        } else if end == found {
            tracing::warn!(path = %path.display(), bytes = read, "cut a torn frame off the alert journal");
            return Ok(whole);
        } else {
            return Err(Error::data_loss(format!(
                "{} is damaged at byte {whole} of {found}; set it aside to start anew, or cut it there to lose what follows",
                path.display()
            ))
            .with("path", path.display()));
        }
        whole = end;
    }
}

fn check_header(path: &Path, line: &[u8], last: bool) -> Result<bool> {
    if line == HEADER {
        return Ok(true);
    }
    if last && HEADER.starts_with(line) {
        return Ok(false);
    }
    let path = path.display();
    Err(if line.starts_with(HEADER_WORD) {
        Error::failed_precondition(format!("{path} was written by a later version; upgrade mlops"))
    } else {
        Error::data_loss(format!("{path} is no alert journal; choose another directory"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &Path) -> Result<Vec<String>> {
        let mut frames = Vec::new();
        Journal::open(path.to_owned(), |text| {
            frames.push(text.to_owned());
            Ok(())
        })?;
        Ok(frames)
    }

    fn written(texts: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(path.clone(), |_| Ok(())).unwrap();
        texts.iter().for_each(|text| journal.append(text).unwrap());
        assert_eq!(journal.bytes(), fs::metadata(&path).unwrap().len());
        (directory, path)
    }

    #[test]
    fn the_format_is_as_written_down() {
        let (_directory, path) = written(&["{\"a\":1}"]);
        // zlib.crc32(b'{"a":1}') of Python 3.11.
        assert_eq!(fs::read_to_string(path).unwrap(), "mlops-alert-journal 1\n561bacaf {\"a\":1}\n");
    }

    #[test]
    fn cut_anywhere_it_gives_the_whole_frames_before_the_cut() {
        let texts = ["one", "{\"two\":\"ü\"}", "three"];
        let (_directory, path) = written(&texts);
        let all = fs::read(&path).unwrap();
        for length in 0..all.len() {
            fs::write(&path, &all[..length]).unwrap();
            let frames = read(&path).unwrap();
            let whole = all[..length].iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
            assert_eq!(frames, texts[..whole], "cut at {length}");
            // The tail is gone, and writing goes on.
            Journal::open(path.clone(), |_| Ok(())).unwrap().append("more").unwrap();
            assert_eq!(read(&path).unwrap().last().unwrap(), "more");
        }
    }

    #[test]
    fn replaces_all_at_once_and_goes_on() {
        let (_directory, path) = written(&["one", "two"]);
        let mut journal = Journal::open(path.clone(), |_| Ok(())).unwrap();
        journal.replace("both").unwrap();
        journal.append("three").unwrap();
        assert_eq!(read(&path).unwrap(), ["both", "three"]);
        assert_eq!(journal.bytes(), fs::metadata(&path).unwrap().len());
        // A replacement that was not finished changes nothing.
        fs::write(path.with_extension("new"), "mlops-alert-jour").unwrap();
        assert_eq!(read(&path).unwrap(), ["both", "three"]);
    }

    #[test]
    fn strangers_and_later_versions_are_left_alone() {
        let (_directory, path) = written(&[]);
        for (text, kind) in [
            ("mlops-alert-journal 2\n", mlops_core::ErrorKind::FailedPrecondition),
            ("my thesis\n", mlops_core::ErrorKind::DataLoss),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap_err().kind(), kind);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// A changed byte before the last frame is noticed; nothing panics; no changed text is shown.
        #[test]
        fn damage_is_noticed(position in 22_usize..60, byte: u8) {
            let texts = ["the first frame", "the second frame", "the third frame"];
            let (_directory, path) = written(&texts);
            let mut all = fs::read(&path).unwrap();
            prop_assume!(all[position] != byte);
            all[position] = byte;
            fs::write(&path, &all).unwrap();
            match read(&path) {
                Err(error) => prop_assert_eq!(error.kind(), mlops_core::ErrorKind::DataLoss),
                Ok(frames) => prop_assert!(frames.iter().zip(texts).all(|(found, text)| found == text)),
            }
        }
    }
}
