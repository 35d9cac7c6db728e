//! What becomes of each row of a poll: kept, set aside with a reason, dropped, or known from before a crash.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use mlops_core::{Error, Result};

use super::{LatePolicy, StreamBatch, Unreadable, lateness::Lateness};
use crate::{
    ingest::payloads,
    time::{column, micros},
};

/// Rows of one partition, each judged.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) partition: Arc<str>,
    /// Where the rows begin.
    pub(super) first: u64,
    /// The row after them.
    pub(super) next: u64,
    /// Rows for the table, with their offsets.
    pub(super) kept: RecordBatch,
    pub(super) kept_offsets: Vec<u64>,
    /// The checks have judged them already: their rejects are in quarantine.
    pub(super) checked: bool,
    /// Rows for the quarantine, with offsets and reasons.
    pub(super) rejected: Vec<(RecordBatch, Vec<u64>, Vec<String>)>,
    pub(super) late: Late,
}

/// Late rows by what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Late {
    pub(super) accepted: u64,
    pub(super) quarantined: u64,
    pub(super) dropped: u64,
}

/// Rows of which a killed process had written the rejects and not the rest.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    /// The offset after them.
    pub(super) until: u64,
    /// Which of them are in quarantine, ascending.
    pub(super) rejected: Vec<u64>,
}

/// By what rows are judged.
pub(super) struct Judge<'a> {
    pub(super) timestamp: &'a str,
    /// Columns that must not be null.
    pub(super) timestamps: &'a [Arc<str>],
    pub(super) policy: LatePolicy,
}

/// What a source must keep to.
pub(super) fn check(stream: &str, batch: &StreamBatch, position: u64) -> Result<()> {
    let StreamBatch { partition, offsets, records, unreadable } = batch;
    let mut all: Vec<u64> = offsets.iter().copied().chain(unreadable.iter().map(|message| message.offset)).collect();
    all.sort_unstable();
    let fault = if offsets.len() != records.num_rows() {
        Some(format!("{} offsets for {} rows", offsets.len(), records.num_rows()))
    } else if !offsets.is_sorted_by(|one, next| one < next) || !all.is_sorted_by(|one, next| one < next) {
        Some("offsets that do not ascend".to_owned())
    } else {
        all.first().filter(|first| **first < position).map(|first| format!("offset {first} before {position}"))
    };
    fault.map_or(Ok(()), |fault| {
        Err(Error::data_loss(format!("stream \"{stream}\" partition \"{partition}\" gave {fault}")))
    })
}

/// The rows of `batch` from offset `position` on.
pub(super) fn skip(batch: StreamBatch, position: u64) -> StreamBatch {
    let before = batch.offsets.partition_point(|at| *at < position).min(batch.records.num_rows());
    let records = batch.records.slice(before, batch.records.num_rows() - before);
    let unreadable = batch.unreadable.into_iter().filter(|message| message.offset >= position).collect();
    StreamBatch { offsets: batch.offsets.into_iter().skip(before).collect(), records, unreadable, ..batch }
}

/// What becomes of one row.
enum Verdict {
    Keep,
    /// Late, and kept.
    KeepLate,
    /// In quarantine since before a crash.
    Known,
    DropLate,
    Reject(String),
    RejectLate(String),
}

impl Judge<'_> {
    /// Judges the rows of `batch` in order. Rows at or after the end of what is unfinished are left for later.
    pub(super) fn rows(
        &self,
        batch: &StreamBatch,
        position: u64,
        unfinished: Option<&Unfinished>,
        lateness: &mut Lateness,
    ) -> Result<Judged> {
        let StreamBatch { partition, offsets, records, unreadable } = batch;
        let until = unfinished.map_or(u64::MAX, |unfinished| unfinished.until);
        let count = offsets.partition_point(|at| *at < until);
        let (records, (offsets, left)) = (records.slice(0, count), offsets.split_at(count));
        let (unreadable, unreadable_left) =
            unreadable.split_at(unreadable.partition_point(|message| message.offset < until));
        let next = match (offsets.last().max(unreadable.last().map(|message| &message.offset)), unfinished) {
            (Some(last), _) => last.saturating_add(1),
            // Rows that the source no longer has are no longer to be finished.
            (None, Some(unfinished)) if !left.is_empty() || !unreadable_left.is_empty() => unfinished.until,
            (None, _) => position,
        };
        let (nulls, times) = (self.nulls(&records)?, micros(&records, self.timestamp)?);
        let mut kept = vec![false; count];
        let (mut reasons, mut late) = (BTreeMap::new(), Late::default());
        for (row, ((offset, time), null)) in offsets.iter().zip(times).zip(nulls).enumerate() {
            let by = time.and_then(|time| lateness.judge(partition, time));
            let known = unfinished.map(|unfinished| unfinished.rejected.binary_search(offset).is_ok());
            let mut keep = || kept.get_mut(row).into_iter().for_each(|kept| *kept = true);
            match self.verdict(null, by, known) {
                Verdict::Keep => keep(),
                Verdict::KeepLate => {
                    late.accepted += 1;
                    keep();
                }
                Verdict::Known => {}
                Verdict::DropLate => late.dropped += 1,
                Verdict::Reject(reason) => drop(reasons.insert(row, reason)),
                Verdict::RejectLate(reason) => {
                    late.quarantined += 1;
                    reasons.insert(row, reason);
                }
            }
        }
        let (kept, kept_offsets) = pick(&records, offsets, |row| kept.get(row) == Some(&true))?;
        let mut rejected = Vec::new();
        if !reasons.is_empty() {
            let (records, offsets) = pick(&records, offsets, |row| reasons.contains_key(&row))?;
            rejected.push((records, offsets, reasons.into_values().collect()));
        }
        let known = |message: &&Unreadable| {
            unfinished.is_some_and(|unfinished| unfinished.rejected.binary_search(&message.offset).is_ok())
        };
        let unreadable: Vec<&Unreadable> = unreadable.iter().filter(|message| !known(message)).collect();
        if !unreadable.is_empty() {
            let payloads = payloads(unreadable.iter().map(|message| message.payload.as_ref()))?;
            let offsets = unreadable.iter().map(|message| message.offset).collect();
            rejected.push((payloads, offsets, unreadable.iter().map(|message| message.reason.clone()).collect()));
        }
        let (partition, checked) = (Arc::clone(partition), unfinished.is_some());
        Ok(Judged { partition, first: position, next, kept, kept_offsets, checked, rejected, late })
    }

    /// `null` says why the row's times will not do, `by` how late it is, `known` whether a run that was killed had
    /// rejected it, if it had judged it.
    fn verdict(&self, null: Option<String>, by: Option<i64>, known: Option<bool>) -> Verdict {
        match (known, null, by, self.policy) {
            (Some(true), ..) => Verdict::Known,
            (None, Some(reason), ..) => Verdict::Reject(reason),
            (_, _, Some(_), LatePolicy::Drop) => Verdict::DropLate,
            (None, _, Some(by), LatePolicy::Quarantine) => {
                let by = Duration::from_micros(by.unsigned_abs());
                Verdict::RejectLate(format!("late: {by:?} after the watermark"))
            }
            (_, _, Some(_), _) => Verdict::KeepLate,
            (_, _, None, _) => Verdict::Keep,
        }
    }

    /// For every row why its times will not do, if they will not.
    fn nulls(&self, records: &RecordBatch) -> Result<Vec<Option<String>>> {
        let names = self.timestamps.iter().map(AsRef::as_ref).filter(|name| *name != self.timestamp);
        let columns = names.chain([self.timestamp]).map(|name| Ok((name, column(records, name)?)));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let reason = |row: usize| {
            let null = columns.iter().find(|(_, column)| column.is_null(row));
            null.map(|(name, _)| format!("no time: column \"{name}\" is null"))
        };
        Ok((0..records.num_rows()).map(reason).collect())
    }
}

/// The wanted rows with their offsets.
pub(super) fn pick(
    records: &RecordBatch,
    offsets: &[u64],
    wanted: impl Fn(usize) -> bool,
) -> Result<(RecordBatch, Vec<u64>)> {
    let mask: BooleanArray = (0..offsets.len()).map(|row| Some(wanted(row))).collect();
    let offsets = offsets.iter().enumerate().filter(|(row, _)| wanted(*row)).map(|(_, offset)| *offset).collect();
    Ok((filter_record_batch(records, &mask)?, offsets))
}
