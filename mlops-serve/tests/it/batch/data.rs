//! Files, the model that reads them, and what it must say.

use std::{fs::File, path::Path, sync::Arc};

use mlops_core::{
    DataType, Digest, Error, Model, Signature, TensorSpec,
    arrow_array::{Array, ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, cast::AsArray, types},
};
use mlops_serve::{BatchJob, BatchJobBuilder, BatchSettings, ClosureModel};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::properties::WriterProperties,
};

/// Values above are no numbers that the model knows.
pub(crate) const UNKNOWN: f64 = 1e6;

/// `y = 2 x + k`, refusing an `x` above [`UNKNOWN`] as an invalid argument. The file's `k` are narrower.
pub(crate) fn model() -> Arc<dyn Model> {
    let inputs = [TensorSpec::column("x", DataType::Float64), TensorSpec::column("k", DataType::Int64).nullable()];
    let signature = Signature::new(inputs, [TensorSpec::column("y", DataType::Float64)]).unwrap();
    Arc::new(ClosureModel::new(signature, |batch: &RecordBatch| {
        let (x, k) = (batch["x"].as_primitive::<types::Float64Type>(), batch["k"].as_primitive::<types::Int64Type>());
        if x.values().iter().any(|x| *x > UNKNOWN) {
            return Err(Error::invalid_argument("x is out of range"));
        }
        let y = (0..x.len()).map(|row| answer(x.value(row), k.is_valid(row).then(|| k.value(row) as i32)));
        Ok(RecordBatch::try_from_iter([("y", Arc::new(Float64Array::from_iter_values(y)) as ArrayRef)])?)
    }))
}

pub(crate) fn answer(x: f64, k: Option<i32>) -> f64 {
    2.0 * x + f64::from(k.unwrap_or(0))
}

/// One row of a file; `x` may lack.
pub(crate) type Row = (String, Option<f64>, Option<i32>);

/// A file of these rows in row groups of `group` rows.
pub(crate) fn write(path: &Path, rows: &[Row], group: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0)));
    let x: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.1)));
    let k: ArrayRef = Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.2)));
    let columns = [("k", k, true), ("id", ids, false), ("x", x, true)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// `count` rows whose ids begin with `name`.
pub(crate) fn rows(name: &str, count: u32) -> Vec<Row> {
    (0..count)
        .map(|row| (format!("{name}{row}"), Some(f64::from(row) * 0.5), (row % 3 > 0).then_some(row as i32)))
        .collect()
}

/// The ids and answers of an output file.
pub(crate) fn read(path: &Path) -> Vec<(String, Option<f64>)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let batches = reader.map(|batch| {
        let batch = batch.unwrap();
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["id", "y"]);
        let (ids, y) = (batch["id"].as_string::<i32>(), batch["y"].as_primitive::<types::Float64Type>());
        ids.iter().map(|id| id.unwrap().to_owned()).zip(y.iter()).collect::<Vec<_>>()
    });
    batches.collect::<Vec<_>>().concat()
}

/// What the output of these rows must be; rows that the model cannot take have no answer.
pub(crate) fn expected(rows: &[Row]) -> Vec<(String, Option<f64>)> {
    let said = |row: &Row| row.1.filter(|x| *x <= UNKNOWN).map(|x| answer(x, row.2));
    rows.iter().map(|row| (row.0.clone(), said(row))).collect()
}

/// A job over `data/in` into `data/out` by the model of version `version`, that tells every batch.
pub(crate) fn job(data: &Path, version: &str) -> BatchJobBuilder {
    let settings = BatchSettings { progress_every_ms: 0, rows_per_batch: 64, ..BatchSettings::default() };
    BatchJob::builder(model(), data.join("in"), data.join("out"))
        .with_settings(settings)
        .with_keys(["id"])
        .with_model_digest(Digest::of(version.as_bytes()))
}

/// Names of all files below the output folder but the lock, hidden ones included.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name().into_string().unwrap())).unwrap();
        if path.is_dir() {
            found.extend(names(&path).into_iter().map(|inner| format!("{name}/{inner}")));
        } else if name != ".mlops-batch.lock" {
            found.push(name);
        }
    }
    found.sort();
    found
}
