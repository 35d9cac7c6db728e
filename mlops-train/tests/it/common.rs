//! Made tables and the files of reference data.

use std::{path::PathBuf, sync::Arc};

use mlops_core::{
    Model,
    arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray},
    testing::SplitMix64,
};
use mlops_train::{TableDataset, TrainedModel, load_package, scores};

/// A file of reference data, or a line that says it is absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let full = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")).join(path);
    if full.exists() {
        return Some(full);
    }
    println!("skipped: shared/{path} is absent");
    None
}

/// Columns `x0`, `x1`... of uniform numbers in [-1, 1), a text column, and a label that is positive
/// where the first two have one sign. Every seventh `x2` and every eleventh text is missing.
pub(crate) fn xor_batch(rows: usize, columns: usize, seed: u64) -> RecordBatch {
    let data = SplitMix64::new(seed);
    let value = |row: usize, column: usize| 2.0 * data.uniform((row * columns + column) as u64) - 1.0;
    let mut named: Vec<(String, ArrayRef)> = Vec::new();
    for column in 0..columns {
        let cell = |row| (column != 2 || row % 7 != 0).then(|| value(row, column));
        named.push((format!("x{column}"), Arc::new((0..rows).map(cell).collect::<Float64Array>())));
    }
    let text = |row: usize| (!row.is_multiple_of(11)).then_some(["red", "green", "blue"][row % 3]);
    named.push(("color".to_owned(), Arc::new((0..rows).map(text).collect::<StringArray>())));
    let label = |row| f64::from(u8::from(value(row, 0) * value(row, 1) > 0.0));
    named.push(("label".to_owned(), Arc::new((0..rows).map(label).map(Some).collect::<Float64Array>())));
    RecordBatch::try_from_iter_with_nullable(named.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

pub(crate) fn xor(rows: usize, seed: u64) -> TableDataset {
    TableDataset::classification(xor_batch(rows, 5, seed), "label").build().unwrap()
}

/// A stored model gives the same bits as the trained one, whole or row by row.
pub(crate) fn check_round_trip(model: &dyn TrainedModel, batch: &RecordBatch) {
    let package = model.to_package().unwrap();
    package.verify().unwrap();
    assert_eq!(package.digest().unwrap(), model.to_package().unwrap().digest().unwrap());
    let loaded = load_package(&package).unwrap();
    assert_eq!(loaded.signature(), model.signature());
    let bits = |model: &dyn Model, batch: &RecordBatch| {
        scores(model, batch).unwrap().iter().map(|score| score.to_bits()).collect::<Vec<_>>()
    };
    let whole = bits(&*loaded, batch);
    assert_eq!(whole, scores(model, batch).unwrap().iter().map(|score| score.to_bits()).collect::<Vec<_>>());
    for row in [0, 1, batch.num_rows() / 2, batch.num_rows() - 1] {
        assert_eq!(bits(&*loaded, &batch.slice(row, 1)), whole[row..=row]);
    }
    assert!(bits(&*loaded, &batch.slice(0, 0)).is_empty());
}
