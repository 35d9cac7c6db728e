//! Bringing the workspace to what is recorded.
//!
//! Invariant: nothing is overwritten or removed whose content is not in the cache, unless the caller says so; a plan is
//! made and found safe before the first file is touched.

use std::{
    collections::BTreeSet,
    fs::{self, File, Metadata},
    io,
    path::Path,
};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{DvcRepo, Session, add::is_executable, targets::owned};
use crate::{
    dvc::{
        atomic::Temporary,
        fault::io_error,
        objects::{Link, copy_checked, set_mode},
        oid::{Layout, ObjectId},
        output::Output,
        paths::{check_parents, make_parents},
        tree::{TREE_BYTES_MAX, Tree},
        walk::{Links, files},
    },
    workers::spread,
};

/// Names shown in a refusal.
const NAMES_SHOWN: usize = 3;

/// How to check out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckoutOptions {
    /// Also overwrite and remove files whose content is nowhere else.
    pub force: bool,
}

/// What a checkout did, in files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckoutReport {
    /// Put in place.
    pub restored: u64,
    /// Removed, because the recorded directory does not have them.
    pub removed: u64,
    /// As recorded already.
    pub unchanged: u64,
}

/// One file as it is recorded.
struct Placement {
    path: String,
    id: ObjectId,
    executable: bool,
}

/// How a file of the workspace compares with its record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Same,
    /// Something else, whose content is in the cache.
    Saved,
    /// Something else, whose content is nowhere else.
    Unsaved,
}

/// What has to happen for one output.
#[derive(Default)]
struct Plan {
    /// A directory that must exist even when it is empty.
    directory: Option<String>,
    places: Vec<Placement>,
    removals: Vec<String>,
    unsaved: Vec<String>,
    unchanged: u64,
}

impl DvcRepo {
    /// Puts the outputs at `paths` (all when there are none) in place as recorded, from the cache.
    ///
    /// # Errors
    /// `NotFound` for what is not tracked or not in the cache, `DataLoss` for a damaged object (nothing is made of it),
    /// `FailedPrecondition` when content would be lost that is nowhere else, naming it; `InvalidArgument` for recorded
    /// paths that lead out of the repository.
    pub async fn checkout(&self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<CheckoutReport> {
        self.checkout_opts(paths, CheckoutOptions::default()).await
    }

    /// As [`DvcRepo::checkout`], by `options`.
    ///
    /// # Errors
    /// As there.
    #[tracing::instrument(skip_all)]
    pub async fn checkout_opts(
        &self,
        paths: impl IntoIterator<Item = impl AsRef<Path>>,
        options: CheckoutOptions,
    ) -> Result<CheckoutReport> {
        let paths = owned(paths);
        self.write(move |session| session.checkout(&session.inner.tracked(&paths)?, options)).await
    }
}

impl Session {
    fn checkout(&self, outputs: &[Output], options: CheckoutOptions) -> Result<CheckoutReport> {
        let mut plans = Vec::new();
        for output in outputs.iter().filter(|output| output.cached) {
            check_parents(&self.inner.root, &output.path)?;
            let plan = if output.id.is_directory() { self.plan_directory(output)? } else { self.plan_file(output)? };
            if !plan.unsaved.is_empty() && !options.force {
                return Err(unsaved(output, &plan.unsaved));
            }
            plans.push((output.layout, plan));
        }
        let mut report = CheckoutReport::default();
        for (layout, plan) in plans {
            self.carry_out(&plan, layout)?;
            report.restored += plan.places.len() as u64;
            report.removed += plan.removals.len() as u64;
            report.unchanged += plan.unchanged;
        }
        Ok(report)
    }

    fn plan_file(&self, output: &Output) -> Result<Plan> {
        let mut plan = Plan::default();
        let placement = Placement { path: output.path.clone(), id: output.id, executable: output.executable };
        let found = self.compare(&placement, output.layout)?;
        plan.note(placement, found);
        Ok(plan)
    }

    fn plan_directory(&self, output: &Output) -> Result<Plan> {
        let bytes = self.inner.cache.read(&output.id, output.layout, TREE_BYTES_MAX)?;
        let tree = Tree::parse(&output.id, &bytes)?;
        let mut plan = Plan { directory: Some(output.path.clone()), ..Plan::default() };
        let root = self.inner.root.join(&output.path);
        let there = match look(&root)? {
            None => Vec::new(),
            Some(metadata) if metadata.is_dir() => files(&self.inner.root, &output.path, Links::Skip)?,
            Some(_) => return Err(in_the_way(&root, "a file or a link", "directory")),
        };
        let recorded: BTreeSet<&str> = tree.entries().iter().map(|entry| entry.path.as_str()).collect();
        let extra: Vec<_> = there.into_iter().filter(|file| !recorded.contains(file.relative.as_str())).collect();
        let saved = spread(self.inner.threads(), &extra, |file| self.is_saved(&file.path, output.layout))?;
        for (file, saved) in extra.into_iter().zip(saved) {
            let path = format!("{}/{}", output.path, file.relative);
            if !saved {
                plan.unsaved.push(path.clone());
            }
            plan.removals.push(path);
        }
        let compare = |entry: &crate::dvc::tree::TreeEntry| {
            let path = format!("{}/{}", output.path, entry.path);
            let placement = Placement { path, id: ObjectId::file(entry.md5), executable: false };
            let found = self.compare(&placement, output.layout)?;
            Ok((placement, found))
        };
        for (placement, found) in spread(self.inner.threads(), tree.entries(), compare)? {
            plan.note(placement, found);
        }
        Ok(plan)
    }

    /// What is at the place of `placement` now.
    fn compare(&self, placement: &Placement, layout: Layout) -> Result<Found> {
        let path = self.inner.root.join(&placement.path);
        let Some(metadata) = look(&path)? else { return Ok(Found::Nothing) };
        if metadata.is_dir() {
            // Emptied by the removals before the file is put there, or not.
            let empty = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
            return if empty { Ok(Found::Nothing) } else { Err(in_the_way(&path, "a directory", "file")) };
        }
        let Ok(target) = fs::metadata(&path) else {
            return Err(in_the_way(&path, "a link that leads nowhere", "file"));
        };
        if self.stats.md5(&path, &target, layout)? == placement.id.md5() {
            if placement.executable && !is_executable(&target) {
                make_executable(&path)?;
            }
            return Ok(Found::Same);
        }
        Ok(if self.is_saved(&path, layout)? { Found::Saved } else { Found::Unsaved })
    }

    /// Whether the content of the file at `path` is in the cache.
    fn is_saved(&self, path: &Path, layout: Layout) -> Result<bool> {
        let metadata = fs::metadata(path).map_err(|error| io_error("cannot look at", path, error))?;
        let sound = |layout: Layout| {
            let id = ObjectId::file(self.stats.md5(path, &metadata, layout)?);
            self.inner.cache.is_sound(&id, layout, &self.stats)
        };
        Ok(sound(Layout::Files)? || (layout == Layout::Legacy && sound(layout)?))
    }

    fn carry_out(&self, plan: &Plan, layout: Layout) -> Result<()> {
        let root = &self.inner.root;
        for path in &plan.removals {
            let file = root.join(path);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("cannot remove", &file, error));
                }
                _ => remove_empty_parents(root, path, plan.directory.as_deref().unwrap_or_default()),
            }
        }
        if let Some(directory) = &plan.directory {
            make_parents(root, &format!("{directory}/x"))?;
        }
        // Parents first and once, so that no thread meets a directory half made.
        let mut parents: BTreeSet<&str> = BTreeSet::new();
        for placement in &plan.places {
            let parent = placement.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if parents.insert(parent) {
                make_parents(root, &placement.path)?;
            }
        }
        spread(self.inner.threads(), &plan.places, |placement| self.place(placement, layout)).map(drop)
    }

    fn place(&self, placement: &Placement, layout: Layout) -> Result<()> {
        let target = self.inner.root.join(&placement.path);
        if look(&target)?.is_some_and(|metadata| metadata.is_dir()) {
            fs::remove_dir(&target).map_err(|error| io_error("cannot remove", &target, error))?;
        }
        let (cache, stats) = (&self.inner.cache, &self.stats);
        if self.inner.link == Link::Hard && !placement.executable {
            let source = cache.check(&placement.id, layout, stats)?;
            let directory = self.inner.scratch();
            let linked = crate::dvc::atomic::unused(&directory, |path| fs::hard_link(&source, path));
            if let Ok((path, ())) = linked {
                return fs::rename(&path, &target).map_err(|error| io_error("cannot put in place", &target, error));
            }
            // Another file system: a copy serves as well.
        }
        match self.place_copy(placement, layout, &self.inner.scratch(), &target)? {
            Moved::Done => Ok(()),
            Moved::OtherFileSystem => {
                let beside = target.parent().unwrap_or(&self.inner.root);
                match self.place_copy(placement, layout, beside, &target)? {
                    Moved::Done => Ok(()),
                    Moved::OtherFileSystem => Err(Error::internal("a file cannot be renamed within its directory")),
                }
            }
        }
    }

    fn place_copy(&self, placement: &Placement, layout: Layout, scratch: &Path, target: &Path) -> Result<Moved> {
        let mut file = Temporary::create(scratch)?;
        copy_checked(&self.inner.cache, &placement.id, layout, &self.stats, &mut file)?;
        if placement.executable {
            make_executable(file.path())?;
        }
        match file.replace_unless_elsewhere(target)? {
            true => Ok(Moved::Done),
            false => Ok(Moved::OtherFileSystem),
        }
    }
}

enum Moved {
    Done,
    OtherFileSystem,
}

impl Plan {
    fn note(&mut self, placement: Placement, found: Found) {
        match found {
            Found::Same => self.unchanged += 1,
            Found::Nothing | Found::Saved => self.places.push(placement),
            Found::Unsaved => {
                self.unsaved.push(placement.path.clone());
                self.places.push(placement);
            }
        }
    }
}

/// What is at `path` itself, links not followed.
fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(io_error("cannot look at", path, error)),
    }
}

fn unsaved(output: &Output, names: &[String]) -> Error {
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMES_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Error::failed_precondition(format!(
        "checking out \"{}\" would lose content that is not in the cache: {shown}{more}; add it first, or force",
        output.path
    ))
    .with("files", names.len())
}

fn in_the_way(path: &Path, what: &str, wanted: &str) -> Error {
    Error::failed_precondition(format!(
        "{} is {what} where a {wanted} belongs; move it away and check out again",
        path.display()
    ))
}

/// Removes the directories above `path` that are empty now, up to `top`.
fn remove_empty_parents(root: &Path, path: &str, top: &str) {
    let mut path = path;
    while let Some((parent, _)) = path.rsplit_once('/') {
        // A directory that is not empty stays.
        if parent.len() <= top.len() || fs::remove_dir(root.join(parent)).is_err() {
            return;
        }
        path = parent;
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = File::open(path).and_then(|file| file.metadata());
    let mode = metadata.map_err(|error| io_error("cannot look at", path, error))?.permissions().mode();
    // Whoever may read it may run it.
    set_mode(path, (mode & 0o777) | ((mode & 0o444) >> 2))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}
