//! The latest point of each metric of a run, kept so that runs are found and ordered by its value through an index.
//!
//! Invariant: a point replaces the latest only when it is greater by (step, timestamp, value), where NaN counts as zero;
//! so the order in which points come, and clocks that go backwards, change nothing.

use std::collections::BTreeMap;

use mlops_core::Result;
use mlops_store::{Transaction, Value, params};

use super::run::RunNumber;
use crate::{bound::insert_rows, tracking::segment::Point};

/// The order of NaN: after every number.
pub(super) const NAN_ORDER: i64 = i64::MAX - 1;
/// The order of what a run lacks: after NaN.
pub(super) const MISSING_ORDER: i64 = i64::MAX;

/// An integer that orders values as numbers: both zeros are equal, NaN comes last.
pub(super) fn order_of(value: f64) -> i64 {
    if value.is_nan() {
        return NAN_ORDER;
    }
    let bits = if value == 0.0 { 0 } else { value.to_bits().cast_signed() };
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_ordered_as_numbers() {
        let ascending =
            [f64::NEG_INFINITY, f64::MIN, -1.0, -1e-300, 0.0, 1e-300, 1.0, f64::MAX, f64::INFINITY, f64::NAN];
        let orders: Vec<i64> = ascending.into_iter().map(order_of).collect();
        assert!(orders.is_sorted_by(|a, b| a < b), "{orders:?}");
        assert_eq!(order_of(-0.0), order_of(0.0));
        assert_eq!((order_of(-f64::NAN), order_of(f64::NAN)), (NAN_ORDER, NAN_ORDER));
        const { assert!(MISSING_ORDER > NAN_ORDER) };
    }
}
