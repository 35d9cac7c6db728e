//! The data files of one version, in order of commit, with what their statistics say.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::RecordBatch;
use deltalake::DeltaTable;
use hashbrown::HashSet;
use mlops_core::{Error, Result, Timestamp};
use object_store::path::Path;
use serde_json::Value as Json;

use super::{Table, delta_error};

/// One data file.
pub(super) struct DataFile {
    pub(super) path: Path,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    statistics: Json,
}

/// Checkpoints of other writers keep times to the millisecond, cut off.
const STATISTICS_STEP_MICROS: i64 = 1_000;

/// Between which times the rows of a file are, and how many have a time. In microseconds, both ends included; the end
/// may be cut to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileSpan {
    pub(crate) least: i64,
    pub(crate) greatest: i64,
    pub(crate) rows: u64,
}

impl FileSpan {
    /// How many rows are in `low..=high`, if they are spread evenly.
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn rows_within(&self, low: i64, high: i64) -> f64 {
        let length = |low: i64, high: i64| (i128::from(high) - i128::from(low) + 1).max(0) as f64;
        let share = length(low.max(self.least), high.min(self.greatest)) / length(self.least, self.greatest);
        self.rows as f64 * share
    }
}

impl DataFile {
    /// The commit that it came with, unless another writer named it.
    pub(super) fn commit(&self) -> Option<u64> {
        commit_of(self.path.as_ref())
    }

    /// The span of `column`, none when the statistics do not say.
    pub(super) fn span(&self, column: &str) -> Option<FileSpan> {
        let time = |side: &str| self.statistics.get(side)?.get(column)?.as_str()?.parse::<Timestamp>().ok();
        let nulls = self.statistics.get("nullCount")?.get(column)?.as_u64()?;
        let rows = self.rows.checked_sub(nulls)?;
        Some(FileSpan { least: time("minValues")?.as_micros(), greatest: time("maxValues")?.as_micros(), rows })
    }

    /// How many rows have `after < column <= until`, when the statistics alone tell.
    pub(super) fn count_within(&self, column: &str, after: Option<Timestamp>, until: Option<Timestamp>) -> Option<u64> {
        let FileSpan { least, greatest, rows } = self.span(column)?;
        let greatest = greatest.saturating_add(STATISTICS_STEP_MICROS);
        let inside = after.is_none_or(|after| least > after.as_micros());
        (inside && until.is_none_or(|until| greatest <= until.as_micros())).then_some(rows)
    }

    /// Whether a row with `after < column <= until` may be in it.
    pub(super) fn may_hold(&self, column: &str, after: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        let bound = |side: &str| {
            let text = self.statistics.get(side)?.get(column)?.as_str()?;
            text.parse::<Timestamp>().ok().map(Timestamp::as_micros)
        };
        let too_old = after
            .zip(bound("maxValues"))
            .is_some_and(|(after, max)| max.saturating_add(STATISTICS_STEP_MICROS) <= after.as_micros());
        let too_new = until.zip(bound("minValues")).is_some_and(|(until, min)| min > until.as_micros());
        !too_old && !too_new
    }
}

/// The name of the `index`-th file of commit `version`. Sorting names sorts by commit.
pub(super) fn file_name(version: u64, index: usize, digest: &mlops_core::Digest) -> String {
    let digest = digest.to_string();
    format!("part-{version:020}-{index:05}-{}.parquet", digest.get(..32).unwrap_or(&digest))
}

/// The commit of a file that was named by [`file_name`]; Spark and delta-rs write shorter numbers.
fn commit_of(path: &str) -> Option<u64> {
    let (number, _) = path.strip_prefix("part-")?.split_once('-')?;
    if number.len() == 20 { number.parse().ok() } else { None }
}

/// Whether a file was named by [`file_name`].
pub(super) fn is_ours(path: &str) -> bool {
    commit_of(path).is_some()
}

impl Table {
    /// The files of `table`'s version: ours by commit, then those of other writers by time of writing.
    pub(super) fn files(&self, table: &DeltaTable) -> Result<Vec<DataFile>> {
        let fail = |error| delta_error(self.name(), error);
        let state = table.snapshot().map_err(fail)?;
        let log = state.snapshot().try_log_data().map_err(fail)?;
        let mut files = Vec::with_capacity(log.num_files());
        for view in log.iter() {
            if view.deletion_vector_descriptor().is_some() {
                return Err(Error::unimplemented(format!(
                    "table \"{}\" has deletion vectors, which scans do not apply; rewrite the table without them",
                    self.name()
                )));
            }
            let path = view.object_store_path();
            let foreign = commit_of(path.as_ref()).is_none();
            let order = (foreign, if foreign { view.modification_time() } else { 0 }, path.to_string());
            let statistics = view.stats().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Json::Null);
            let rows = view.num_records().map(|rows| rows as u64);
            let rows = rows.or_else(|| statistics.get("numRecords")?.as_u64()).unwrap_or(0);
            let bytes = u64::try_from(view.size()).unwrap_or(0);
            files.push((order, DataFile { path, bytes, rows, statistics }));
        }
        files.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(files.into_iter().map(|(_, file)| file).collect())
    }

    /// Where in time the rows of each file of `version` are.
    pub(crate) async fn spans(&self, version: u64, column: &str) -> Result<Vec<Option<FileSpan>>> {
        let files = self.files(&self.at(Some(version)).await?)?;
        Ok(files.iter().filter(|file| file.rows > 0).map(|file| file.span(column)).collect())
    }

    /// Where to cut what was committed after version `since` and by `version`: the last commits of parts that have at
    /// most `rows_max` rows, or one commit. Files of other writers are taken to have come with the last.
    pub(crate) async fn parts_added(&self, version: u64, since: u64, rows_max: u64) -> Result<Vec<u64>> {
        let files = self.only_added(self.files(&self.at(Some(version)).await?)?, since).await?;
        let mut commits: BTreeMap<u64, u64> = BTreeMap::new();
        for file in &files {
            *commits.entry(file.commit().unwrap_or(version)).or_default() += file.rows;
        }
        let (mut ends, mut held, mut last) = (Vec::new(), 0, since);
        for (commit, rows) in commits {
            if held > 0 && held + rows > rows_max {
                ends.push(last);
                held = 0;
            }
            (held, last) = (held + rows, commit);
        }
        ends.push(version);
        Ok(ends)
    }

    /// The rows of the commits from version `from` on, each commit whole, until there are `rows_max` or more.
    ///
    /// # Errors
    /// `FailedPrecondition` for files of another writer, whose commits their names do not tell; otherwise as
    /// [`Table::scan`].
    pub(crate) async fn commits(&self, from: u64, rows_max: usize) -> Result<Vec<(u64, Vec<RecordBatch>)>> {
        let table = self.at(None).await?;
        let files = self.files(&table)?;
        if let Some(foreign) = files.iter().find(|file| file.commit().is_none()) {
            return Err(Error::failed_precondition(format!(
                "table \"{}\" has file {} of another writer; it cannot be followed commit by commit",
                self.name(),
                foreign.path
            )));
        }
        let (mut commits, mut rows) = (Vec::<(u64, Vec<RecordBatch>)>::new(), 0);
        for file in files {
            let Some(commit) = file.commit().filter(|commit| *commit >= from && file.rows > 0) else { continue };
            if commits.last().is_none_or(|(last, _)| *last != commit) {
                if rows >= rows_max.max(1) as u64 {
                    break;
                }
                commits.push((commit, Vec::new()));
            }
            rows += file.rows;
            let batches = self.read_file(table.object_store(), file, Arc::clone(self.schema()), None).await?;
            commits.last_mut().into_iter().for_each(|(_, parts)| parts.extend_from_slice(&batches));
        }
        Ok(commits)
    }

    /// Those of `files` that were committed after version `since`.
    pub(super) async fn only_added(&self, files: Vec<DataFile>, since: u64) -> Result<Vec<DataFile>> {
        let foreign = files.iter().any(|file| file.commit().is_none());
        let before: HashSet<Path> = if foreign {
            self.files(&self.at(Some(since)).await?)?.into_iter().map(|file| file.path).collect()
        } else {
            HashSet::new()
        };
        let is_new = |file: &DataFile| match file.commit() {
            Some(commit) => commit > since,
            None => !before.contains(&file.path),
        };
        Ok(files.into_iter().filter(is_new).collect())
    }
}
