//! Rows that the model cannot take.

use mlops_core::ErrorKind;
use mlops_serve::{BadRows, BatchSettings};

use super::data::{UNKNOWN, expected, job, names, read, rows, write};

/// 300 rows of which the given ones are bad.
fn data(nulls: &[usize], unknown: &[usize]) -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let mut rows = rows("a", 300);
    nulls.iter().for_each(|row| rows[*row].1 = None);
    unknown.iter().for_each(|row| rows[*row].1 = Some(UNKNOWN + 1.0));
    write(&data.path().join("in/a.parquet"), &rows, 70);
    data
}

fn check_fails(nulls: &[usize], unknown: &[usize], row: &str, text: &str) {
    let data = data(nulls, unknown);
    let error = job(data.path(), "1").build().unwrap().run_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let context = |key: &str| error.context().iter().find(|pair| pair.0 == key).map(|pair| pair.1.clone());
    assert_eq!(context("row").as_deref(), Some(row), "{error}");
    assert!(context("path").unwrap().ends_with("a.parquet") && error.message().contains(text), "{error}");
    assert!(names(&data.path().join("out")).is_empty(), "no part without all of its rows");
}

#[test]
fn a_job_that_allows_none_names_file_and_row() {
    check_fails(&[200], &[], "200", "row 200: input column \"x\" is null");
    check_fails(&[], &[77, 299], "77", "row 77: x is out of range");
    check_fails(&[], &[0], "0", "row 0: x is out of range");
}

#[test]
fn a_job_that_allows_them_answers_null_and_counts() {
    let (nulls, unknown) =
        (vec![0, 63, 64, 130], (128..192).chain([1, 299]).filter(|row| *row != 130).collect::<Vec<_>>());
    let data = data(&nulls, &unknown);
    let settings = BatchSettings { bad_rows: BadRows::Null, rows_per_batch: 64, ..BatchSettings::default() };
    let report = job(data.path(), "1").with_settings(settings).build().unwrap().run_blocking().unwrap();
    assert_eq!((report.rows, report.bad_rows), (300, (nulls.len() + unknown.len()) as u64));
    let mut rows = rows("a", 300);
    nulls.iter().chain(&unknown).for_each(|row| rows[*row].1 = None);
    assert_eq!(read(&data.path().join("out/a.parquet")), expected(&rows));
}
