//! Inputs and outputs that are not as they should be.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mlops_core::{
    DataType, Error, ErrorKind, Model, Signature, TensorSpec,
    arrow_array::{ArrayRef, Float64Array, RecordBatch},
};
use mlops_serve::{BatchInput, BatchJob, BatchSettings, ClosureModel};

use super::data::{expected, job, model, names, read, rows, write};

/// A model with `inputs` that counts its calls.
fn counting(inputs: Vec<TensorSpec>, calls: &Arc<AtomicUsize>) -> Arc<dyn Model> {
    let calls = Arc::clone(calls);
    let signature = Signature::new(inputs, [TensorSpec::column("y", DataType::Float64)]).unwrap();
    Arc::new(ClosureModel::new(signature, move |batch: &RecordBatch| {
        calls.fetch_add(1, Ordering::Relaxed);
        let y: ArrayRef = Arc::new(Float64Array::from(vec![0.0; batch.num_rows()]));
        Ok(RecordBatch::try_from_iter([("y", y)])?)
    }))
}

fn fails(data: &Path, kind: ErrorKind, text: &str) {
    let error = job(data, "1").build().unwrap().run_blocking().unwrap_err();
    assert!(error.kind() == kind && error.chain().contains(text), "{error:?}");
}

#[test]
fn a_file_that_does_not_fit_is_told_before_the_first_row() {
    let data = tempfile::tempdir().unwrap();
    write(&data.path().join("in/a.parquet"), &rows("a", 10), 10);
    let column = TensorSpec::column;
    let calls = Arc::new(AtomicUsize::new(0));
    let inputs = vec![column("x", DataType::Float32), column("k", DataType::String), column("z", DataType::Int64)];
    let build = |inputs, settings| {
        BatchJob::builder(counting(inputs, &calls), data.path().join("in"), data.path().join("out"))
            .with_keys(["id", "who"])
            .with_settings(settings)
            .build()
            .unwrap()
    };
    let error = build(inputs, BatchSettings::default()).run_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for fault in ["\"x\" must be Float32", "\"k\" must be Utf8, found Int32", "\"z\" is missing", "key column \"who\""]
    {
        assert!(error.message().contains(fault), "{error}");
    }
    assert!(error.context().iter().any(|(key, value)| *key == "path" && value.ends_with("a.parquet")));
    assert_eq!((calls.load(Ordering::Relaxed), names(&data.path().join("out")).len()), (0, 0));

    let narrow = BatchSettings { narrow_floats: true, ..BatchSettings::default() };
    let job = BatchJob::builder(
        counting(vec![column("x", DataType::Float32)], &calls),
        data.path().join("in"),
        data.path().join("out"),
    );
    assert_eq!(job.with_settings(narrow).build().unwrap().run_blocking().unwrap().rows, 10);
}

#[test]
fn a_second_file_that_does_not_fit_stops_the_first() {
    let data = tempfile::tempdir().unwrap();
    write(&data.path().join("in/a.parquet"), &rows("a", 10), 10);
    fs::write(data.path().join("in/b.parquet"), "").unwrap();
    fails(data.path(), ErrorKind::DataLoss, "b.parquet");
    assert!(names(&data.path().join("out")).is_empty());
}

#[test]
fn no_rows_are_no_rows() {
    let data = tempfile::tempdir().unwrap();
    write(&data.path().join("in/a.parquet"), &[], 10);
    let report = job(data.path(), "1").build().unwrap().run_blocking().unwrap();
    assert_eq!((report.rows, report.parts.len()), (0, 1));
    assert!(read(&data.path().join("out/a.parquet")).is_empty());
    assert!(job(data.path(), "1").build().unwrap().run_blocking().unwrap().parts[0].found);
}

#[test]
fn a_damaged_file_fails_and_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("in/a.parquet");
    write(&path, &rows("a", 5_000), 500);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    fails(data.path(), ErrorKind::DataLoss, "a.parquet");
    // The footer is whole, the pages of a later row group are not.
    let mut torn = whole.clone();
    let middle = whole.len() / 2;
    torn[middle..middle + whole.len() / 4].fill(0xFF);
    fs::write(&path, &torn).unwrap();
    fails(data.path(), ErrorKind::DataLoss, "a.parquet");
    assert!(names(&data.path().join("out")).is_empty());
    fs::write(&path, &whole).unwrap();
    job(data.path(), "1").build().unwrap().run_blocking().unwrap();
    assert_eq!(read(&data.path().join("out/a.parquet")), expected(&rows("a", 5_000)));
}

#[test]
fn input_and_output_are_kept_apart() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("in");
    write(&folder.join("a.parquet"), &rows("a", 10), 10);
    let before = fs::read(folder.join("a.parquet")).unwrap();
    for (input, output) in [
        (folder.clone(), folder.clone()),
        (folder.clone(), folder.join("new/out")),
        (folder.join("a.parquet"), folder.clone()),
    ] {
        let job = BatchJob::builder(model(), input, output).build().unwrap();
        assert_eq!(job.run_blocking().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(fs::read(folder.join("a.parquet")).unwrap(), before);
    assert_eq!(names(&folder), ["a.parquet"]);
}

#[test]
fn inputs_that_are_not_there_are_named() {
    let data = tempfile::tempdir().unwrap();
    fails(data.path(), ErrorKind::NotFound, "in");
    fs::create_dir(data.path().join("in")).unwrap();
    fails(data.path(), ErrorKind::InvalidArgument, "without a Parquet file");
    let outside = BatchInput::files(data.path().join("in"), ["../x.parquet"]);
    let job = BatchJob::builder(model(), outside, data.path().join("out")).build().unwrap();
    assert_eq!(job.run_blocking().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_folder_has_one_job_at_a_time() {
    let data = tempfile::tempdir().unwrap();
    write(&data.path().join("in/a.parquet"), &rows("a", 10), 10);
    let path = data.path().to_owned();
    let first =
        job(data.path(), "1").with_progress(move |_| fails(&path, ErrorKind::FailedPrecondition, "another batch job"));
    first.build().unwrap().run_blocking().unwrap();
}

#[test]
fn key_columns_are_told_from_outputs() {
    for keys in [["y", "id"], ["id", "id"]] {
        let error = BatchJob::builder(model(), "in", "out").with_keys(keys).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}

#[test]
fn a_model_that_breaks_its_contract_fails_the_job() {
    let data = tempfile::tempdir().unwrap();
    write(&data.path().join("in/a.parquet"), &rows("a", 10), 10);
    let broken = |predict: fn(&RecordBatch) -> mlops_core::Result<RecordBatch>, kind, text: &str| {
        let spec = |name: &str| [TensorSpec::column(name, DataType::Float64)];
        let model = ClosureModel::new(Signature::new(spec("x"), spec("y")).unwrap(), predict);
        let job = BatchJob::builder(Arc::new(model), data.path().join("in"), data.path().join("out"));
        let error = job.build().unwrap().run_blocking().unwrap_err();
        assert!(error.kind() == kind && error.message().contains(text), "{error:?}");
        assert!(names(&data.path().join("out")).is_empty());
    };
    broken(|_| panic!("boom"), ErrorKind::Internal, "panicked");
    broken(|batch| Ok(batch.slice(0, 3)), ErrorKind::Internal, "3 rows to 10");
    broken(|batch| Ok(batch.clone()), ErrorKind::Internal, "output \"y\" is missing");
    broken(|_| Err(Error::unavailable("no licence")), ErrorKind::Unavailable, "rows 0 to 9: no licence");
}
