//! Notifications that could not be delivered, kept for people: one JSON object a line.
//!
//! Invariant: a letter is durable before the notification counts as dealt with. The file is
//! bounded; when it is full it becomes `.old`, in place of the one before.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
};

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::journal::{io_error, sync_directory};
use crate::alert::{notification::Notification, rfc3339};

/// Longest line that is read.
const LETTER_BYTES_MAX: u64 = 64 << 20;

/// A notification that one sink did not take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When it was given up.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The sink that did not take it.
    pub sink: String,
    /// Why, in words without secrets.
    pub error: String,
    /// What was to be told.
    pub notification: Notification,
}

#[derive(Debug)]
pub(super) struct DeadLetters {
    path: PathBuf,
    bytes_max: u64,
}

impl DeadLetters {
    pub(super) fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max }
    }

    /// Adds a letter; it is durable when this returns.
    pub(super) fn append(&self, letter: &DeadLetter) -> Result<()> {
        let text = serde_json::to_string(letter)
            .map_err(|error| Error::internal("a dead letter cannot be written as JSON").with_source(error))?;
        let write = || {
            if fs::metadata(&self.path).is_ok_and(|found| found.len() > self.bytes_max) {
                tracing::error!(path = %self.path.display(), "the file of dead letters is full; it becomes .old, and the old one is lost");
                fs::rename(&self.path, self.old_path())?;
            }
            let mut file = OpenOptions::new().create(true).append(true).read(true).open(&self.path)?;
            // A torn line of a crash must not swallow this one.
            let start = if ends_line(&file)? { "" } else { "\n" };
            file.write_all(format!("{start}{text}\n").as_bytes())?;
            file.sync_all()?;
            sync_directory(&self.path)
        };
        write().map_err(|error: io::Error| io_error(&self.path, "written", error))
    }

    fn old_path(&self) -> PathBuf {
        self.path.with_extension("old")
    }

    /// The letters, oldest first. Torn lines are left out.
    pub(super) fn list(&self) -> Result<Vec<DeadLetter>> {
        let mut letters = Vec::new();
        for path in [self.old_path(), self.path.clone()] {
            match File::open(&path) {
                Ok(file) => read_letters(&path, file, &mut letters)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error(&path, "read", error)),
            }
        }
        Ok(letters)
    }

    /// Forgets all letters.
    pub(super) fn clear(&self) -> Result<()> {
        for path in [self.old_path(), self.path.clone()] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&path, "removed", error)),
                _ => {}
            }
        }
        sync_directory(&self.path).map_err(|error| io_error(&self.path, "removed", error))
    }
}

fn ends_line(mut file: &File) -> io::Result<bool> {
    use io::{Seek as _, SeekFrom};

    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn read_letters(path: &Path, file: File, letters: &mut Vec<DeadLetter>) -> Result<()> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LETTER_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| io_error(path, "read", error))? == 0 {
            return Ok(());
        }
        match serde_json::from_slice(&line) {
            Ok(letter) => letters.push(letter),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a line among the dead letters cannot be read");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Labels;

    fn letter(number: i64) -> DeadLetter {
        let at = Timestamp::from_millis(number);
        let notification = Notification {
            receiver: "mlops".into(),
            group_labels: Labels::default(),
            alerts: vec![],
            truncated: 0,
            at,
            external_url: String::new(),
        };
        DeadLetter { at, sink: "hook".into(), error: "no".into(), notification }
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead_letters.jsonl");
        let letters = DeadLetters::new(path.clone(), 1 << 20);
        assert_eq!(letters.list().unwrap(), []);
        letters.append(&letter(1)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{}", &text[..20])).unwrap();
        letters.append(&letter(2)).unwrap();
        assert_eq!(letters.list().unwrap(), [letter(1), letter(2)]);
        letters.clear().unwrap();
        letters.clear().unwrap();
        assert_eq!(letters.list().unwrap(), []);
    }

    #[test]
    fn the_file_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(directory.path().join("dead_letters.jsonl"), 600);
        for number in 0..50 {
            letters.append(&letter(number)).unwrap();
        }
        let kept = letters.list().unwrap();
        assert_eq!(kept.last().unwrap(), &letter(49));
        assert!((5..20).contains(&kept.len()), "{}", kept.len());
    }
}
