//! The latest point of each metric of a run, kept so that runs are found and ordered by its value through an index.
//!
//! Invariant: a point replaces the latest only when it is greater by (step, timestamp, value), where NaN counts as zero;
//! so the order in which points come, and clocks that go backwards, change nothing.

use std::collections::BTreeMap;

use mlops_core::Result;
use mlops_store::{Transaction, Value, params};

use super::run::RunNumber;
use crate::{
    bound::insert_rows,
    search::value_order::{NAN_ORDER, order_of},
    tracking::segment::Point,
};

/// What decides which point is the latest.
pub(in crate::tracking) fn rank(point: Point) -> (i64, i64, i64) {
    let order = order_of(point.value());
    (point.step, point.at, if order == NAN_ORDER { 0 } else { order })
}

/// Brings the latest points up to date, one row for each key.
pub(super) async fn update(tx: &mut dyn Transaction, run: RunNumber, points: &BTreeMap<i64, Vec<Point>>) -> Result<()> {
    let row = |(key, points): (&i64, &Vec<Point>)| -> Option<Vec<Value>> {
        // Of several with one rank the first, as when they come one by one.
        let latest = points.iter().copied().reduce(|a, b| if rank(b) > rank(a) { b } else { a })?;
        let order = order_of(latest.value());
        let bits = latest.bits.cast_signed();
        Some(params![run.seq, *key, run.experiment, latest.step, latest.at, order, bits].to_vec())
    };
    let rows: Vec<Vec<Value>> = points.iter().filter_map(row).collect();
    let counted = |row: &str| {
        format!("({row}.step, {row}.at, CASE {row}.value_order WHEN {NAN_ORDER} THEN 0 ELSE {row}.value_order END)")
    };
    let tail = format!(
        "ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, at = excluded.at,
            value_order = excluded.value_order, bits = excluded.bits WHERE {} > {}",
        counted("excluded"),
        counted("tracking_metric_latest")
    );
    let head = "INSERT INTO tracking_metric_latest (run, key, experiment, step, at, value_order, bits)";
    insert_rows(tx, head, rows, &tail).await
}
