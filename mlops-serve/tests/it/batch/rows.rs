//! One output row per input row, in order, whatever the sizes.

use std::sync::{Arc, Mutex};

use mlops_core::{ErrorKind, ModelPackage, Version};
use mlops_serve::{
    BadRows, BatchInput, BatchJob, BatchProgress, BatchSettings, DirectorySource, ModelConfig, ModelRepository,
    Runtimes,
};
use proptest::prelude::*;

use super::data::{Row, UNKNOWN, expected, job, model, names, read, rows, write};

fn row() -> impl Strategy<Value = Row> {
    let x = prop_oneof![8 => (-1e3..1e3).prop_map(Some), 1 => Just(None), 1 => Just(Some(UNKNOWN * 2.0))];
    ("[a-c]{0,3}", x, prop::option::of(any::<i32>()))
}

fn file() -> impl Strategy<Value = (Vec<Row>, usize)> {
    (prop::collection::vec(row(), 0..60), 1..25_usize)
}

fn settings() -> impl Strategy<Value = BatchSettings> {
    (1..40_usize, 1..6_usize, 1..30_usize).prop_map(|(rows_per_batch, workers, row_group_rows)| BatchSettings {
        rows_per_batch,
        workers,
        row_group_rows,
        bad_rows: BadRows::Null,
        ..BatchSettings::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn exactly_one_output_row_per_input_row_in_order(files in prop::collection::vec(file(), 1..6), settings in settings()) {
        let data = tempfile::tempdir().unwrap();
        for (number, (rows, group)) in files.iter().enumerate() {
            write(&data.path().join(format!("in/{}/{number}.parquet", number % 2)), rows, *group);
        }
        let report = job(data.path(), "1").with_settings(settings).build().unwrap().run_blocking().unwrap();
        let mut bad = 0;
        for (number, (rows, _)) in files.iter().enumerate() {
            let expected = expected(rows);
            bad += expected.iter().filter(|row| row.1.is_none()).count() as u64;
            prop_assert_eq!(read(&data.path().join(format!("out/{}/{number}.parquet", number % 2))), expected);
        }
        prop_assert_eq!(report.rows, files.iter().map(|(rows, _)| rows.len() as u64).sum::<u64>());
        prop_assert_eq!(report.bad_rows, bad);
        prop_assert_eq!(report.parts.len(), files.len());
    }
}

#[tokio::test]
async fn progress_only_grows_and_ends_with_everything() {
    let data = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        write(&data.path().join(format!("in/{name}.parquet")), &rows(name, 500), 100);
    }
    let told: Arc<Mutex<Vec<BatchProgress>>> = Arc::default();
    let list = Arc::clone(&told);
    let job = job(data.path(), "1").with_progress(move |progress| list.lock().unwrap().push(*progress));
    let report = job.build().unwrap().run().await.unwrap();
    assert_eq!((report.rows, report.bad_rows), (1500, 0));
    assert_eq!(
        report.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(),
        ["a.parquet", "b.parquet", "c.parquet"]
    );
    let told = told.lock().unwrap();
    assert!(told.windows(2).all(|pair| pair[0].rows_done <= pair[1].rows_done), "{told:?}");
    let last = told.last().unwrap();
    assert_eq!((last.rows_done, last.rows_total, last.parts_done, last.parts_total), (1500, 1500, 3, 3));
}

#[tokio::test]
async fn a_file_of_its_own_is_one_part() {
    let data = tempfile::tempdir().unwrap();
    let rows = rows("a", 70);
    write(&data.path().join("in/a.parquet"), &rows, 100);
    write(&data.path().join("in/b.parquet"), &rows, 100);
    let build = |input: BatchInput| {
        BatchJob::builder(model(), input, data.path().join("out"))
            .with_keys(["id"])
            .with_rows_per_batch(8)
            .build()
            .unwrap()
    };
    build(data.path().join("in/a.parquet").into()).run().await.unwrap();
    assert_eq!(names(&data.path().join("out")), ["a.parquet"]);
    assert_eq!(read(&data.path().join("out/a.parquet")), expected(&rows));
    let error = build(BatchInput::files(data.path().join("in"), ["b.parquet"])).run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "the output holds rows of another input: {error}");
    std::fs::remove_file(data.path().join("out/a.parquet")).unwrap();
    build(BatchInput::files(data.path().join("in"), ["b.parquet"])).run().await.unwrap();
    assert_eq!(names(&data.path().join("out")), ["b.parquet"]);
}

#[tokio::test]
async fn the_model_in_service_predicts_files_too() {
    let (data, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rows = rows("a", 100);
    write(&data.path().join("in/a.parquet"), &rows, 30);
    let (source, name) = (DirectorySource::new(models.path()), "m".parse().unwrap());
    let store = |version, note: &str| {
        let mut package = ModelPackage::new("line", model().signature().clone());
        package.manifest.notes.insert("note".into(), note.into());
        source.write(&name, Version(version), &package).unwrap();
    };
    store(1, "first");
    let runtimes = Runtimes::new().with("line", |_: &ModelPackage| Ok(model()));
    let repository = ModelRepository::with_source(Arc::new(source.clone()), runtimes);
    repository.add(ModelConfig::new("m".parse().unwrap())).unwrap();
    let job = || BatchJob::of_served(&repository, &name, data.path().join("in"), data.path().join("out"));
    assert_eq!(job().unwrap_err().kind(), ErrorKind::Unavailable);
    let found = async || {
        repository.sync().await.into_result().unwrap();
        job().unwrap().with_keys(["id"]).build().unwrap().run().await.unwrap().parts[0].found
    };
    assert_eq!((found().await, found().await), (false, true));
    assert_eq!(read(&data.path().join("out/a.parquet")), expected(&rows));
    store(2, "second");
    assert!(!found().await, "another version is another model");
}

#[tokio::test]
async fn the_active_files_of_a_delta_table_are_read() {
    let data = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        write(&data.path().join(format!("in/{name}.parquet")), &rows(name, 10), 100);
    }
    let log = data.path().join("in/_delta_log");
    std::fs::create_dir(&log).unwrap();
    let add = |name: &str| format!(r#"{{"add":{{"path":"{name}.parquet","partitionValues":{{}},"size":1}}}}"#);
    let first = [r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#.into(), add("a"), add("b")];
    std::fs::write(log.join("00000000000000000000.json"), first.join("\n")).unwrap();
    let second = [r#"{"remove":{"path":"a.parquet"}}"#.into(), add("c")];
    std::fs::write(log.join("00000000000000000001.json"), second.join("\n")).unwrap();
    job(data.path(), "1").build().unwrap().run().await.unwrap();
    assert_eq!(names(&data.path().join("out")), ["b.parquet", "c.parquet"]);
}
