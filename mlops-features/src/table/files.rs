//! The data files of one version, in order of commit, with what their statistics say.

use deltalake::DeltaTable;
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

impl DataFile {
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

/// Whether a file was named by [`file_name`]; Spark and delta-rs write shorter numbers.
fn is_ours(path: &str) -> bool {
    let number = path.strip_prefix("part-").and_then(|rest| rest.split_once('-'));
    number.is_some_and(|(number, _)| number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit()))
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
            let foreign = !is_ours(path.as_ref());
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
}
