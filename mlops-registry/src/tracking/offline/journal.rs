//! The file behind offline runs: it grows by whole frames and is emptied at once.
//!
//! Format, version 1: the line `mlops-offline 1`, then frames. A frame is three little-endian `u32` (the length of its
//! text in bytes, the CRC-32 (IEEE) of these four bytes, the CRC-32 of the text) and the text.
//!
//! Invariant: a frame is on disk before the next one is begun, so only the end of the file can be torn, and it is cut off
//! when the file is opened. Damage anywhere else is an error, never skipped. After a failed write or `fsync` nothing more
//! is written until the file is opened again.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use mlops_core::{Error, Result};

const HEADER: &[u8] = b"mlops-offline 1\n";
const HEADER_WORD: &[u8] = b"mlops-offline ";
const HEAD_BYTES: usize = 12;
/// Longest text of a frame.
pub(super) const FRAME_BYTES_MAX: usize = 256 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    bytes: u64,
    poisoned: bool,
    /// Held as long as the journal is open.
    _lock: File,
}

fn io_error(path: &Path, what: &str, error: io::Error) -> Error {
    let message = format!("offline journal {} cannot be {what}: {error}", path.display());
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let outcome = if full { Error::resource_exhausted(message) } else { Error::unavailable(message) };
    outcome.with("path", path.display()).with_source(error)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Makes a new or renamed file's name durable. Where directories cannot be opened, the operating system keeps names by
/// itself.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    match parent.map(File::open) {
        Some(Ok(directory)) => directory.sync_all(),
        Some(Err(_)) | None => Ok(()),
    }
}

fn open_file(path: &Path, truncate: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(truncate).read(true).write(true);
    options.open(path).map_err(|error| io_error(path, "opened", error))
}

/// A lock beside the file, because the file itself is replaced when it is emptied.
fn lock(path: &Path) -> Result<File> {
    let beside = path.with_added_extension("lock");
    let file = open_file(&beside, false)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::failed_precondition(format!(
            "offline journal {} is open already, here or in another process; give each process a file of its own",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(io_error(&beside, "locked", error)),
    }
}

impl Journal {
    /// Opens the file, making it when it is not there, and shows every text with where its frame ends.
    ///
    /// # Errors
    /// `DataLoss` when the file is damaged before its end; `FailedPrecondition` when it is open elsewhere or has a version
    /// above 1; `Unavailable` when it cannot be read or written; and those of `visit`.
    pub(super) fn open(path: PathBuf, mut visit: impl FnMut(&[u8], u64) -> Result<()>) -> Result<Self> {
        let lock = lock(&path)?;
        let mut file = open_file(&path, false)?;
        let found = file.metadata().map_err(|error| io_error(&path, "read", error))?.len();
        let mut whole = 0;
        if read_header(&path, &mut file)? {
            whole = length(HEADER.len());
            while let Some(text) = read_frame(&path, &mut file, whole, found)? {
                whole += length(HEAD_BYTES + text.len());
                visit(&text, whole)?;
            }
        }
        let settle = |file: &mut File| {
            if whole < found {
                tracing::warn!(path = %path.display(), bytes = found - whole, "cut a torn end off an offline journal");
            }
            file.set_len(whole)?;
            file.seek(SeekFrom::Start(whole))?;
            if whole == 0 {
                file.write_all(HEADER)?;
            }
            file.sync_all()?;
            sync_directory(&path)
        };
        settle(&mut file).map_err(|error| io_error(&path, "written", error))?;
        Ok(Self { file, bytes: whole.max(length(HEADER.len())), path, poisoned: false, _lock: lock })
    }

    /// The size of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the first frame begins.
    pub(super) fn start() -> u64 {
        length(HEADER.len())
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes a text takes.
    pub(super) fn cost(text: &[u8]) -> u64 {
        length(HEAD_BYTES + text.len())
    }

    /// Adds a frame, which is on disk when this returns.
    ///
    /// # Errors
    /// `Unavailable` or `ResourceExhausted` when it cannot be written; `FailedPrecondition` ever after.
    pub(super) fn append(&mut self, text: &[u8]) -> Result<()> {
        self.check_usable()?;
        let frame = frame(text)?;
        self.poisoned = true;
        let write = |file: &mut File| {
            file.seek(SeekFrom::End(0))?;
            file.write_all(&frame)?;
            file.sync_data()
        };
        write(&mut self.file).map_err(|error| io_error(&self.path, "written", error))?;
        self.poisoned = false;
        self.bytes += length(frame.len());
        Ok(())
    }

    /// The frame that begins at `from`, with where it ends; none at the end of the file.
    ///
    /// # Errors
    /// `DataLoss` when there is no frame; `Unavailable`.
    pub(super) fn read(&mut self, from: u64) -> Result<Option<(Vec<u8>, u64)>> {
        if from >= self.bytes {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(from)).map_err(|error| io_error(&self.path, "read", error))?;
        let text = read_frame(&self.path, &mut self.file, from, self.bytes)?;
        let text = text.ok_or_else(|| damaged(&self.path, from, self.bytes))?;
        let end = from + Self::cost(&text);
        Ok(Some((text, end)))
    }

    /// Replaces all frames by these, at once: a crash leaves the old ones or the new ones.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub(super) fn replace(&mut self, texts: &[Vec<u8>]) -> Result<()> {
        self.check_usable()?;
        let mut all = HEADER.to_vec();
        for text in texts {
            all.extend(frame(text)?);
        }
        let aside = self.path.with_added_extension("new");
        let mut file = open_file(&aside, true)?;
        let written = file.write_all(&all).and_then(|()| file.sync_all());
        written.map_err(|error| io_error(&aside, "written", error))?;
        // From the renaming on, the old file is nobody's; an error in between leaves that unclear.
        self.poisoned = true;
        let renamed = fs::rename(&aside, &self.path).and_then(|()| sync_directory(&self.path));
        renamed.map_err(|error| io_error(&self.path, "replaced", error))?;
        (self.file, self.bytes, self.poisoned) = (file, length(all.len()), false);
        Ok(())
    }

    fn check_usable(&self) -> Result<()> {
        if self.poisoned {
            return Err(Error::failed_precondition(format!(
                "offline journal {} could not be written before; find out why, then open it again",
                self.path.display()
            )));
        }
        Ok(())
    }
}

fn frame(text: &[u8]) -> Result<Vec<u8>> {
    let size = u32::try_from(text.len()).ok().filter(|_| text.len() <= FRAME_BYTES_MAX).ok_or_else(|| {
        Error::resource_exhausted(format!(
            "what is logged at once takes {} bytes in the offline journal; at most {FRAME_BYTES_MAX} are allowed",
            text.len()
        ))
    })?;
    let size = size.to_le_bytes();
    let mut frame = Vec::with_capacity(HEAD_BYTES + text.len());
    frame.extend(size);
    frame.extend(crc32fast::hash(&size).to_le_bytes());
    frame.extend(crc32fast::hash(text).to_le_bytes());
    frame.extend(text);
    Ok(frame)
}

fn damaged(path: &Path, at: u64, found: u64) -> Error {
    Error::data_loss(format!(
        "offline journal {} is damaged at byte {at} of {found}; set it aside to start anew, or cut it there to lose what \
         follows",
        path.display()
    ))
    .with("path", path.display())
}

/// Whether the header is there; a file that ends within it is new.
fn read_header(path: &Path, file: &mut File) -> Result<bool> {
    let mut header = Vec::new();
    let read = (&mut *file).take(length(HEADER.len())).read_to_end(&mut header);
    read.map_err(|error| io_error(path, "read", error))?;
    if header == HEADER {
        return Ok(true);
    }
    if header.len() < HEADER.len() && HEADER.starts_with(&header) {
        return Ok(false);
    }
    let path = path.display();
    Err(if header.starts_with(HEADER_WORD) {
        Error::failed_precondition(format!("{path} was written by a later version; upgrade mlops"))
    } else {
        Error::data_loss(format!("{path} is no offline journal; choose another file"))
    })
}

/// The text of the frame at `at`; none when what is left of the `found` bytes is the torn end of the file.
fn read_frame(path: &Path, file: &mut File, at: u64, found: u64) -> Result<Option<Vec<u8>>> {
    let left = found.saturating_sub(at);
    if left < length(HEAD_BYTES) {
        return Ok(None);
    }
    let mut head = [0_u8; HEAD_BYTES];
    file.read_exact(&mut head).map_err(|error| io_error(path, "read", error))?;
    let mut words = head.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
    let (size, size_sum, text_sum) = (words.next().unwrap_or(0), words.next().unwrap_or(0), words.next().unwrap_or(0));
    let size_bytes = size.to_le_bytes();
    if size_sum != crc32fast::hash(&size_bytes) {
        // A file system may have made room for what it never wrote.
        return if head == [0; HEAD_BYTES] && only_zeros(path, file)? {
            Ok(None)
        } else {
            Err(damaged(path, at, found))
        };
    }
    let end = at + length(HEAD_BYTES) + u64::from(size);
    if end > found {
        return Ok(None);
    }
    let mut text = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(FRAME_BYTES_MAX)];
    file.read_exact(&mut text).map_err(|error| io_error(path, "read", error))?;
    match crc32fast::hash(&text) == text_sum {
        true => Ok(Some(text)),
        false if end == found => Ok(None),
        false => Err(damaged(path, at, found)),
    }
}

fn only_zeros(path: &Path, file: &mut File) -> Result<bool> {
    let mut piece = [0_u8; 4_096];
    loop {
        let read = file.read(&mut piece).map_err(|error| io_error(path, "read", error))?;
        if read == 0 {
            return Ok(true);
        }
        if piece.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    fn read(path: &Path) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        Journal::open(path.to_owned(), |text, _| {
            texts.push(String::from_utf8(text.to_vec()).unwrap());
            Ok(())
        })?;
        Ok(texts)
    }

    fn written(texts: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs");
        let mut journal = Journal::open(path.clone(), |_, _| Ok(())).unwrap();
        texts.iter().for_each(|text| journal.append(text.as_bytes()).unwrap());
        assert_eq!(journal.bytes(), fs::metadata(&path).unwrap().len());
        (directory, path)
    }

    #[test]
    fn the_format_is_as_written_down() {
        let (_directory, path) = written(&["{\"a\":1}"]);
        // zlib.crc32 of b'\x07\0\0\0' and of b'{"a":1}', by Python 3.11.
        let frame = [7, 0, 0, 0, 0xa5, 0xe7, 0x93, 0xbc, 0xaf, 0xac, 0x1b, 0x56];
        assert_eq!(fs::read(path).unwrap(), [HEADER, &frame, b"{\"a\":1}"].concat());
    }

    #[test]
    fn cut_anywhere_it_gives_the_whole_frames_before_the_cut() {
        let (_directory, path) = written(&["one", "zwei", "three"]);
        let all = fs::read(&path).unwrap();
        let ends = [HEADER.len(), HEADER.len() + 15, HEADER.len() + 31, all.len()];
        for length in 0..=all.len() {
            fs::write(&path, &all[..length]).unwrap();
            let whole = ends[1..].iter().filter(|end| **end <= length).count();
            assert_eq!(read(&path).unwrap(), ["one", "zwei", "three"][..whole], "cut at {length}");
            // What was torn is gone, and the file goes on.
            Journal::open(path.clone(), |_, _| Ok(())).unwrap().append(b"more").unwrap();
            assert_eq!(read(&path).unwrap().len(), whole + 1, "cut at {length}");
        }
        fs::write(&path, [all.as_slice(), &[0; 5_000]].concat()).unwrap();
        assert_eq!(read(&path).unwrap().len(), 3, "room that was never written to");
    }

    #[test]
    fn damage_before_the_end_is_an_error() {
        let (_directory, path) = written(&["one", "zwei", "three"]);
        let all = fs::read(&path).unwrap();
        for at in 0..HEADER.len() + 31 {
            let mut damaged = all.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, damaged).unwrap();
            let kind = read(&path).unwrap_err().kind();
            assert!(matches!(kind, ErrorKind::DataLoss | ErrorKind::FailedPrecondition), "{at}: {kind}");
        }
    }

    #[test]
    fn a_journal_is_open_once() {
        let (_directory, path) = written(&[]);
        let first = Journal::open(path.clone(), |_, _| Ok(())).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::FailedPrecondition);
        drop(first);
        let mut journal = Journal::open(path.clone(), |_, _| Ok(())).unwrap();
        journal.append(b"old").unwrap();
        journal.replace(&[b"new".to_vec()]).unwrap();
        assert_eq!(journal.read(Journal::start()).unwrap(), Some((b"new".to_vec(), journal.bytes())));
        drop(journal);
        assert_eq!(read(&path).unwrap(), ["new"]);
    }
}
