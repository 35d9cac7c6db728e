//! One fit's use of its directory of checkpoints.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use mlops_core::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Checkpoints, folder,
    identity::{Difference, Identity},
    manifest::{self, FORMAT_VERSION, FileEntry, MANIFEST_FILE, Manifest, damaged},
    origin::Origin,
};

/// Holds the lock on the directory while the fit runs.
#[derive(Debug)]
pub(crate) struct Session {
    checkpoints: Checkpoints,
    identity: Identity,
    /// Whole checkpoints, oldest first, with their losses.
    kept: Vec<(u64, Option<f64>)>,
    _lock: File,
}

/// What is to be written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) step: u64,
    pub(crate) valid_loss: Option<f64>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// A checkpoint that was read, all of whose files are as they were written.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) path: PathBuf,
    /// Whether it is of the fit that this one begins with, not of this one.
    pub(crate) is_origin: bool,
    files: BTreeMap<String, Vec<u8>>,
}

impl Session {
    /// Takes the directory and reads its latest checkpoint, or while there is none the latest of its origin.
    ///
    /// # Errors
    /// `FailedPrecondition` when another fit uses the directory or made its checkpoints, or the origin is not one of
    /// this trainer, code and data; `DataLoss` naming a file that is damaged.
    pub(crate) fn open(checkpoints: &Checkpoints, mut identity: Identity) -> Result<(Self, Option<Saved>)> {
        let lock = folder::open(&checkpoints.directory)?;
        let (kept, saved) = read(checkpoints, &mut identity)?;
        Ok((Self { checkpoints: checkpoints.clone(), identity, kept, _lock: lock }, saved))
    }

    /// Reads the latest checkpoint without taking the directory, which another member of the group
    /// holds meanwhile.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn peek(checkpoints: &Checkpoints, identity: &Identity) -> Result<Option<Saved>> {
        Ok(read(checkpoints, &mut identity.clone())?.1)
    }

    pub(crate) fn is_due(&self, step: u64) -> bool {
        self.checkpoints.is_due(step)
    }

    /// The directory of the latest checkpoint.
    pub(crate) fn latest(&self) -> Option<PathBuf> {
        self.kept.last().map(|(step, _)| folder::of_step(&self.checkpoints.directory, *step))
    }

    /// Writes a checkpoint; when it returns, the checkpoint survives a loss of power. Older ones
    /// that need not be kept are removed after that.
    /// A step that has its checkpoint already is not written again: it would have the same bits.
    pub(crate) fn write(&mut self, draft: &Draft) -> Result<PathBuf> {
        if self.kept.iter().any(|(step, _)| *step == draft.step) {
            return Ok(folder::of_step(&self.checkpoints.directory, draft.step));
        }
        let entries = draft.files.iter().map(|(name, bytes)| (name.clone(), FileEntry::of(bytes))).collect();
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            step: draft.step,
            valid_loss: draft.valid_loss,
            identity: self.identity.clone(),
            files: entries,
        };
        let manifest = to_json(MANIFEST_FILE, &manifest)?;
        let mut files: Vec<(&str, &[u8])> =
            draft.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        files.push((MANIFEST_FILE, &manifest));
        let path = folder::place(&self.checkpoints.directory, draft.step, &files)?;
        self.kept.push((draft.step, draft.valid_loss));
        self.prune()?;
        Ok(path)
    }

    /// Keeps the last few and the best; of equally good ones the oldest.
    fn prune(&mut self) -> Result<()> {
        let judged = self.kept.iter().filter_map(|(step, loss)| Some((*step, (*loss)?)));
        let best = judged.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map(|(step, _)| step);
        let old = self.kept.len().saturating_sub(self.checkpoints.keep_last);
        let leaving: Vec<u64> =
            self.kept.iter().take(old).map(|(step, _)| *step).filter(|step| Some(*step) != best).collect();
        for step in leaving {
            let directory = &self.checkpoints.directory;
            folder::remove(directory, &folder::of_step(directory, step))?;
            self.kept.retain(|(kept, _)| *kept != step);
        }
        Ok(())
    }
}

/// Step and loss of every checkpoint, and the latest one.
type Found = (Vec<(u64, Option<f64>)>, Option<Saved>);

/// Reads what there is; `identity` learns from which checkpoint of another fit this one begins.
fn read(checkpoints: &Checkpoints, identity: &mut Identity) -> Result<Found> {
    let mut kept = Vec::new();
    let mut latest = None;
    for path in folder::steps(&checkpoints.directory)? {
        let manifest = manifest::read(&path)?;
        if folder::of_step(&checkpoints.directory, manifest.step) != path {
            return Err(damaged(&path.join(MANIFEST_FILE), "its step is not that of its directory"));
        }
        kept.push((manifest.step, manifest.valid_loss));
        latest = Some((path, manifest));
    }
    // Once a fit has a checkpoint of its own, the other fit may have gone on or be gone.
    let begun = latest.as_ref().and_then(|(_, manifest)| manifest.identity.origin);
    let origin = match (checkpoints.origin.as_deref(), &begun) {
        (Some(directory), None) => Some(Origin::find(directory)?),
        _ => None,
    };
    identity.origin = match &origin {
        Some(origin) => Some(origin.digest()?),
        None => begun.filter(|_| checkpoints.origin.is_some()),
    };
    let (is_origin, path, manifest, difference) = match (latest, origin) {
        (Some((path, manifest)), _) => {
            let difference = identity.difference(&manifest.identity);
            (false, path, manifest, difference)
        }
        (None, Some(Origin { path, manifest })) => {
            let difference = identity.obstacle(&manifest.identity);
            (true, path, manifest, difference)
        }
        (None, None) => return Ok((kept, None)),
    };
    difference.map_or(Ok(()), |difference| Err(foreign(&path, &difference)))?;
    Ok((kept, Some(Saved { files: manifest.read_files(&path)?, path, is_origin })))
}

fn foreign(path: &Path, (what, stored, wanted): &Difference) -> Error {
    let manifest = path.join(MANIFEST_FILE);
    Error::failed_precondition(format!(
        "checkpoint file {} is of another fit: its {what} is {stored}, this fit's is {wanted}; use another directory",
        manifest.display()
    ))
    .with("path", manifest.display())
}

impl Saved {
    /// One file.
    ///
    /// # Errors
    /// `DataLoss` when the checkpoint has no such file.
    pub(crate) fn file(&self, name: &str) -> Result<&[u8]> {
        self.optional(name).ok_or_else(|| damaged(&self.path.join(name), "it is missing"))
    }

    /// One file, if the checkpoint has it.
    pub(crate) fn optional(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// One file of JSON.
    ///
    /// # Errors
    /// `DataLoss` when it is missing or its fields are others.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(self.file(name)?)
            .map_err(|error| self.damaged(name, "fields are missing or wrong").with_source(error))
    }

    /// What to say of a file, as whole as it was written, whose content does not fit what is trained.
    pub(crate) fn misfit(&self, name: &str, how: &str) -> Error {
        if !self.is_origin {
            return self.damaged(name, how);
        }
        let path = self.path.join(name);
        Error::failed_precondition(format!(
            "checkpoint file {} is of a fit that this one cannot begin with: {how}; parameters must be the same",
            path.display()
        ))
        .with("path", path.display())
    }

    /// What to say of a file whose content cannot be.
    pub(crate) fn damaged(&self, name: &str, how: &str) -> Error {
        damaged(&self.path.join(name), how)
    }
}

/// Writes a file of a checkpoint as JSON.
pub(crate) fn to_json<T: Serialize>(name: &str, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal(format!("{name} of a checkpoint cannot be written")).with_source(error))
}

#[cfg(test)]
mod tests {
    use mlops_core::{Digest, ErrorKind};

    use super::*;

    fn identity(seed: u64) -> Identity {
        Identity::new("test", Digest::of(b"rows"), &[1, 2], seed).unwrap()
    }

    fn draft(step: u64, valid_loss: Option<f64>) -> Draft {
        let files = [("a.bin", vec![1, 2, 3]), ("b.bin", step.to_le_bytes().to_vec())];
        Draft { step, valid_loss, files: files.map(|(name, bytes)| (name.to_owned(), bytes)).into() }
    }

    fn steps(checkpoints: &Checkpoints) -> Vec<u64> {
        checkpoints.list().unwrap().iter().map(|info| info.step).collect()
    }

    #[test]
    fn the_last_few_and_the_best_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(home.path());
        let (mut session, saved) = Session::open(&checkpoints, identity(1)).unwrap();
        assert!(saved.is_none() && steps(&checkpoints).is_empty());
        for (step, loss) in [(1, Some(0.5)), (2, Some(0.3)), (3, None), (4, Some(0.4)), (5, Some(0.3)), (6, None)] {
            session.write(&draft(step, loss)).unwrap();
        }
        assert_eq!(steps(&checkpoints), [2, 5, 6]);
        let other = Session::open(&checkpoints, identity(1)).unwrap_err();
        assert!(other.kind() == ErrorKind::FailedPrecondition && other.message().contains("another fit"), "{other}");
        drop(session);
        let (_, saved) = Session::open(&checkpoints, identity(1)).unwrap();
        assert_eq!(saved.unwrap().file("b.bin").unwrap(), 6_u64.to_le_bytes());
    }

    #[test]
    fn what_dead_processes_left_half_done_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(home.path());
        drop(Session::open(&checkpoints, identity(1)).unwrap().0.write(&draft(1, None)).unwrap());
        for name in [".writing-000000000002", ".leaving-step-000000000000"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
            std::fs::write(home.path().join(name).join("a.bin"), b"half").unwrap();
        }
        let (_, saved) = Session::open(&checkpoints, identity(1)).unwrap();
        assert!(saved.is_some());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2, "the checkpoint and the lock");
    }

    #[test]
    fn a_fit_begins_where_another_ended_and_then_goes_on_by_itself() {
        let home = tempfile::tempdir().unwrap();
        let first = Checkpoints::new(home.path().join("first"));
        let second = Checkpoints::new(home.path().join("second")).with_origin(home.path().join("first"));
        let error = Session::open(&second, identity(2)).unwrap_err();
        assert!(error.kind() == ErrorKind::FailedPrecondition && error.message().contains("first"), "{error}");
        drop(Session::open(&first, identity(1)).unwrap().0.write(&draft(3, None)).unwrap());

        let (mut session, saved) = Session::open(&second, identity(2)).unwrap();
        let saved = saved.unwrap();
        assert!(saved.is_origin && saved.file("b.bin").unwrap() == 3_u64.to_le_bytes());
        session.write(&draft(4, None)).unwrap();
        drop(session);
        let (session, saved) = Session::open(&second, identity(2)).unwrap();
        assert!(!saved.unwrap().is_origin, "its own checkpoint comes first");
        drop(session);

        // Where it began is no longer read: that fit may have gone on, or be gone.
        drop(Session::open(&first, identity(1)).unwrap().0.write(&draft(9, None)).unwrap());
        assert!(Session::open(&second, identity(2)).unwrap().1.is_some());
        let gone = Checkpoints::new(home.path().join("second")).with_origin(home.path().join("gone"));
        assert!(Session::open(&gone, identity(2)).unwrap().1.is_some());

        // A fit that began nowhere is another fit.
        let error = Session::open(&Checkpoints::new(home.path().join("second")), identity(2)).unwrap_err();
        assert!(error.message().contains("its origin is"), "{error}");
        let rows = Identity::new("test", Digest::of(b"other rows"), &[1, 2], 1).unwrap();
        let third = Checkpoints::new(home.path().join("third")).with_origin(home.path().join("first"));
        let error = Session::open(&third, rows).unwrap_err();
        assert!(error.message().contains("its data is"), "{error}");
        second.remove().unwrap();
        second.remove().unwrap();
        assert!(!home.path().join("second").exists());
    }

    #[test]
    fn damage_and_foreign_checkpoints_name_their_file() {
        let home = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(home.path());
        let path = Session::open(&checkpoints, identity(1)).unwrap().0.write(&draft(7, None)).unwrap();
        let fails = |kind: ErrorKind, name: &str, seed: u64| {
            let error = Session::open(&checkpoints, identity(seed)).unwrap_err();
            assert!(error.kind() == kind && error.message().contains(name), "{error}");
        };
        fails(ErrorKind::FailedPrecondition, "its seed is 1, this fit's is 2", 2);
        let manifest = std::fs::read(path.join("manifest.json")).unwrap();
        let check = |name: &str, bytes: &[u8]| {
            let whole = std::fs::read(path.join(name)).unwrap();
            std::fs::write(path.join(name), bytes).unwrap();
            fails(ErrorKind::DataLoss, name, 1);
            std::fs::write(path.join(name), whole).unwrap();
        };
        check("a.bin", &[1, 2]);
        check("a.bin", &[1, 2, 4]);
        check("manifest.json", b"");
        check("manifest.json", b"{\"format_version\":1}");
        (0..manifest.len()).for_each(|length| check("manifest.json", &manifest[..length]));
        std::fs::remove_file(path.join("b.bin")).unwrap();
        fails(ErrorKind::DataLoss, "b.bin", 1);
        let newer = String::from_utf8(manifest).unwrap().replace("\"format_version\":1", "\"format_version\":2");
        std::fs::write(path.join("manifest.json"), newer).unwrap();
        fails(ErrorKind::FailedPrecondition, "manifest.json has format 2", 1);
    }
}
