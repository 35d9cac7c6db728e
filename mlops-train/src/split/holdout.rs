//! One share of rows set aside within a fit, for early stopping.

use crate::{
    data::{TableDataset, Task},
    rng::SeededRng,
};

/// Training and held-out rows, both ascending. With times, the latest rows are held out; else rows
/// are drawn by the seed, class by class in a classification. Every class keeps a training row.
pub(crate) fn holdout(data: &TableDataset, share: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let held = if data.times_us().is_some() { latest(data, share) } else { drawn(data, share, seed) };
    let mut is_held = vec![false; data.rows()];
    for row in held {
        if let Some(slot) = is_held.get_mut(row) {
            *slot = true;
        }
    }
    let side = |wanted: bool| {
        let rows = is_held.iter().enumerate().filter(move |(_, held)| **held == wanted);
        rows.map(|(row, _)| row as u32).collect()
    };
    (side(false), side(true))
}

fn count(rows: usize, share: f64) -> usize {
    ((rows as f64 * share).round() as usize).min(rows.saturating_sub(1))
}

fn latest(data: &TableDataset, share: f64) -> Vec<usize> {
    let mut order = data.time_order();
    order.split_off(order.len() - count(order.len(), share))
}

fn drawn(data: &TableDataset, share: f64, seed: u64) -> Vec<usize> {
    let mut rng = SeededRng::new(seed, 2);
    let mut rows = Vec::new();
    for class in classes(data) {
        let chosen = rng.choose(class.len(), count(class.len(), share));
        rows.extend(chosen.iter().filter_map(|&index| class.get(index as usize)));
    }
    rows
}

fn classes(data: &TableDataset) -> Vec<Vec<usize>> {
    if data.task() == Task::Regression {
        return vec![(0..data.rows()).collect()];
    }
    let (positive, negative) =
        (0..data.rows()).partition(|&row| data.labels().get(row).is_some_and(|&label| label > 0.5));
    vec![negative, positive]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};

    use super::*;
    use crate::{split::Splitter, split::TimeSeriesSplit};

    /// Twenty rows, a quarter positive, times running backwards.
    fn data(timed: bool) -> TableDataset {
        let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..20).map(f64::from)));
        let y: ArrayRef =
            Arc::new(Float64Array::from_iter_values((0..20).map(|row| f64::from(u8::from(row % 4 == 0)))));
        let t: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values((0..20).map(|row| 100 - row)));
        let batch = RecordBatch::try_from_iter([("x", x), ("y", y), ("t", t)]).unwrap();
        let builder = TableDataset::classification(batch, "y").with_features(["x"]);
        if timed { builder.with_time("t").build().unwrap() } else { builder.build().unwrap() }
    }

    #[test]
    fn drawn_rows_keep_the_share_of_classes() {
        let (train, held) = holdout(&data(false), 0.2, 1);
        assert_eq!((train.len(), held.len()), (16, 4));
        assert_eq!(held.iter().filter(|row| **row % 4 == 0).count(), 1);
        assert!(train.iter().all(|row| !held.contains(row)));
        assert_eq!(holdout(&data(false), 0.2, 1).1, held);
        assert!((2..9).any(|seed| holdout(&data(false), 0.2, seed).1 != held));
    }

    #[test]
    fn with_times_the_latest_rows_are_held_out() {
        assert_eq!(holdout(&data(true), 0.2, 1).1, [0, 1, 2, 3]);
        let folds = TimeSeriesSplit::new(3).split(&data(true)).unwrap();
        assert_eq!(folds[2].test, [4, 3, 2, 1, 0]);
        assert_eq!(folds[0].train, [19, 18, 17, 16, 15]);
    }
}
