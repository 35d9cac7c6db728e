//! Whether the rows a model is judged by were already known when it was trained.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use mlops_core::{Error, Result};
use mlops_metrics::Metric;

use crate::data::{Column, TableDataset, Task, values};

/// Signs that test rows tell of the training, or features of the label.
#[derive(Debug, Clone, PartialEq)]
pub struct Leakage {
    /// Share of test rows whose features are, cell by cell, those of a training row.
    pub duplicate_share: f64,
    /// Share of test rows that are not later than all training rows; `None` without times.
    pub early_share: Option<f64>,
    /// Numeric features whose value alone separates the classes of the training rows, with the area
    /// under the curve (that of the better direction), the highest first; empty for a regression.
    pub telling_features: Vec<(String, f64)>,
}

/// Compares test rows with training rows.
///
/// # Errors
/// `InvalidArgument` when the features differ.
pub fn leakage(train: &TableDataset, test: &TableDataset) -> Result<Leakage> {
    if train.batch().schema_ref().fields().len() != test.batch().schema_ref().fields().len() {
        return Err(Error::invalid_argument("leakage needs training and test rows of the same features"));
    }
    let known: HashSet<Vec<u8>> = row_keys(train.batch())?.into_iter().collect();
    let tested = row_keys(test.batch())?;
    let duplicates = tested.iter().filter(|key| known.contains(*key)).count();
    let early = train.times_us().zip(test.times_us()).map(|(train, test)| {
        let last = train.iter().copied().max().unwrap_or(i64::MIN);
        test.iter().filter(|time| **time <= last).count() as f64 / test.len() as f64
    });
    Ok(Leakage {
        duplicate_share: duplicates as f64 / tested.len() as f64,
        early_share: early,
        telling_features: telling(train)?,
    })
}

/// The cells of each row as bytes, in which equal rows are equal.
fn row_keys(batch: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let mut keys = vec![Vec::new(); batch.num_rows()];
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        match values(field.name(), array)? {
            Column::Numbers(values) => {
                for (key, value) in keys.iter_mut().zip(values) {
                    // One NaN for all missing, one zero for both.
                    let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
                    key.extend(value.to_bits().to_le_bytes());
                }
            }
            Column::Categories(values) => {
                for (key, value) in keys.iter_mut().zip(values) {
                    let text = value.unwrap_or_default();
                    key.push(u8::from(value.is_some()));
                    key.extend((text.len() as u64).to_le_bytes());
                    key.extend(text.as_bytes());
                }
            }
        }
    }
    Ok(keys)
}

fn telling(train: &TableDataset) -> Result<Vec<(String, f64)>> {
    if train.task() == Task::Regression {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for (field, array) in train.batch().schema_ref().fields().iter().zip(train.batch().columns()) {
        let Column::Numbers(values) = values(field.name(), array)? else { continue };
        let known = values.iter().zip(train.labels()).filter(|(value, _)| !value.is_nan());
        let (values, labels): (Vec<f64>, Vec<f64>) = known.map(|(value, label)| (*value, *label)).unzip();
        // A feature known for one class only says nothing here.
        if let Ok(area) = Metric::RocAuc.compute(&labels, &values) {
            found.push((field.name().clone(), area.max(1.0 - area)));
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn rows(range: std::ops::Range<i32>) -> TableDataset {
        let numbers =
            |of: fn(i32) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(range.clone().map(of))) };
        let x = numbers(|row| f64::from(row * 37 % 101));
        let y = numbers(|row| f64::from(u8::from(row % 3 == 0)));
        let told = numbers(|row| if row % 3 == 0 { 5.0 } else { 1.0 + f64::from(row % 2) });
        let color: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(|row| format!("c{}", row % 7))));
        let t: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(range.map(i64::from)));
        let batch =
            RecordBatch::try_from_iter([("x", x), ("told", told), ("color", color), ("y", y), ("t", t)]).unwrap();
        let features = ["x", "told", "color"];
        TableDataset::classification(batch, "y").with_features(features).with_time("t").build().unwrap()
    }

    #[test]
    fn copies_early_rows_and_telling_features_are_found() {
        let found = leakage(&rows(0..100), &rows(90..110)).unwrap();
        assert_eq!((found.duplicate_share, found.early_share), (0.5, Some(0.5)));
        assert_eq!(found.telling_features[0], ("told".to_owned(), 1.0));
        assert!(found.telling_features[1].1 < 0.7);
        let clean = leakage(&rows(0..50), &rows(50..80)).unwrap();
        assert_eq!((clean.duplicate_share, clean.early_share), (0.0, Some(0.0)));
    }
}
