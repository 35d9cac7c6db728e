//! Sources: files of every format, database tables and streams come into their table once, or are told why not.

use std::{fs, path::Path, sync::Arc};

use mlops_core::{
    BatchCheck, CheckFailure, CheckOutcome, ErrorKind, Result, Timestamp,
    arrow_array::{
        Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
        TimestampSecondArray,
    },
    arrow_schema::{DataType, Field, Schema},
};
use mlops_features::{
    Entity, FeatureStore, FeatureStoreBuilder, FeatureView, FileFormat, MemoryOnlineStore, Permission, Scan, Source,
    SourceReceipt, SourceSettings,
    source::sql::SqliteReader,
    stream::{StreamSettings, channel},
};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
use parquet::arrow::ArrowWriter;
use tokio_util::sync::CancellationToken;

use crate::data::{batch, clock, row, schema, times};

fn builder(home: &Path) -> FeatureStoreBuilder {
    let view = FeatureView::builder("v", Entity::new("e", ["k"]).unwrap(), "events").with_event_id("id");
    FeatureStore::builder(home.join("store").to_str().unwrap())
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .with_view(view.with_column("x").build().unwrap())
}

async fn store(home: &Path, source: Source) -> FeatureStore {
    builder(home).with_source(source).build().await.unwrap()
}

/// The files in `in/` of `home` that end in `suffix`.
fn files(home: &Path, suffix: &str, format: FileFormat) -> Source {
    let url = format!("{}/in/*{suffix}", home.display());
    Source::files("events", url, format).with_created("event_timestamp").build().unwrap()
}

fn put(home: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(home.join("in")).unwrap();
    fs::write(home.join("in").join(name), bytes).unwrap();
}

fn parquet_of(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

async fn rows(store: &FeatureStore) -> Vec<RecordBatch> {
    store.table("events").unwrap().scan_all(Scan::latest()).await.unwrap()
}

async fn count(store: &FeatureStore) -> u64 {
    store.table("events").unwrap().num_rows(None).await.unwrap()
}

fn events() -> RecordBatch {
    batch(&[(Some(1), Some(1_500_000), 1, Some(0.1), None), (None, Some(-2_000_000), 2, None, Some(1 << 60))])
}

fn avro_of(batch: &RecordBatch) -> Vec<u8> {
    let schema = batch.schema().as_ref().clone();
    let mut writer = arrow_avro::writer::AvroWriter::new(Vec::new(), schema).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner()
}

#[tokio::test]
async fn files_of_every_format_give_the_same_rows_and_are_taken_once() {
    let csv =
        "id,at,ignored,x,card,n\n1,1970-01-01T00:00:01.5Z,z,0.1,1,\n2,1969-12-31T23:59:58,z,,,1152921504606846976\n";
    let json = concat!(
        r#"{"card": 1, "at": "1970-01-01T00:00:01.500Z", "id": 1, "x": 0.1, "other": {"a": 1}}"#,
        "\n",
        r#"{"at": "1969-12-31T23:59:58Z", "id": 2, "n": 1152921504606846976}"#,
        "\n"
    );
    let named = Schema::new(vec![
        Field::new("card", DataType::Int64, true),
        Field::new("at", crate::data::time_type(), true),
        Field::new("id", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("n", DataType::Int64, true),
    ]);
    let renamed = RecordBatch::try_new(Arc::new(named), events().columns().to_vec()).unwrap();
    let formats = [
        (FileFormat::Parquet, parquet_of(&renamed)),
        (FileFormat::Csv, csv.into()),
        (FileFormat::JsonLines, json.into()),
        (FileFormat::Avro, avro_of(&renamed)),
    ];
    for (format, bytes) in formats {
        let home = tempfile::tempdir().unwrap();
        put(home.path(), "a.data", bytes.clone());
        let url = format!("file://{}/in/*.data", home.path().display());
        let source = Source::files("events", url, format).with_column("k", "card").with_column("event_timestamp", "at");
        let store = store(home.path(), source.build().unwrap()).await;
        let first = store.source("events").unwrap().run().await.unwrap();
        assert_eq!(first, SourceReceipt { files: 1, rows: 2, ..SourceReceipt::default() }, "{format}");
        assert_eq!(rows(&store).await, [events()], "{format}");
        put(home.path(), "b.data", bytes);
        let second = store.source("events").unwrap().run().await.unwrap();
        assert_eq!(second, SourceReceipt { files: 1, files_known: 1, rows: 2, ..SourceReceipt::default() });
        let third = store.source("events").unwrap().run().await.unwrap();
        assert_eq!((third.files, third.files_known, count(&store).await), (0, 2, 4));
    }
}

#[tokio::test]
async fn a_file_that_is_cut_short_is_named_and_nothing_of_it_is_taken() {
    let rows: Vec<_> = (0..1_000).map(|id| row(id, id, id)).collect();
    let whole = parquet_of(&batch(&rows));
    let csv = "k,event_timestamp,id,x,n\n1,1970-01-01T00:00:01Z,1,0.5,12\n";
    let formats = [
        (FileFormat::Parquet, whole.clone(), whole[..whole.len() / 2].to_vec()),
        (FileFormat::Avro, avro_of(&events()), avro_of(&events())[..150].to_vec()),
        (FileFormat::JsonLines, Vec::new(), br#"{"k": 1, "event_timestamp": "#.to_vec()),
        (FileFormat::Csv, csv.into(), csv[..csv.len() - 2].into()),
    ];
    for (format, good, torn) in formats {
        let home = tempfile::tempdir().unwrap();
        put(home.path(), "1.data", &good);
        put(home.path(), "2.data", &torn);
        put(home.path(), "3.data", &good);
        let store = store(home.path(), files(home.path(), ".data", format)).await;
        let error = store.source("events").unwrap().run().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
        assert!(error.message().contains("2.data") && error.message().contains("\"events\""), "{error}");
        let before = count(&store).await;
        put(home.path(), "2.data", &good);
        let receipt = store.source("events").unwrap().run().await.unwrap();
        assert_eq!((receipt.files_known, receipt.files), (1, 2), "the file before it had been taken");
        assert_eq!(count(&store).await, 3 * before);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_told_by_file_and_column() {
    let head = "k,event_timestamp,id,x,n\n";
    let cases = [
        (FileFormat::Csv, "k,event_timestamp,id,n\n1,,1,1\n".into(), "\"x\" is missing"),
        (
            FileFormat::Csv,
            format!("{head}1,1970-01-01T00:00:01Z,1,0.5,1\n1,1970-01-01T00:00:01Z,1,abc,1\n"),
            "\"x\" has a value in row 2",
        ),
        (FileFormat::Csv, format!("{head}1,12345,1,0.5,1\n"), "\"event_timestamp\" has a value in row 1"),
        (FileFormat::Csv, format!("{head}1,,1,0.5,1\n"), "\"event_timestamp\" is null in 1 of 1"),
        (
            FileFormat::JsonLines,
            r#"{"k": "one", "event_timestamp": "1970-01-01T00:00:01Z", "id": 1, "x": 1, "n": 1}"#.into(),
            "\"k\" has a value of another type",
        ),
        (
            FileFormat::JsonLines,
            r#"{"key": 1, "event_timestamp": "1970-01-01T00:00:01Z", "id": 1, "x": 1, "n": 1}"#.into(),
            "\"k\" has a value in no row",
        ),
        (
            FileFormat::JsonLines,
            concat!(
                r#"{"k": 1, "event_timestamp": 1000, "id": 1, "x": 1, "n": 1.0}"#,
                "\n",
                r#"{"k": 1, "event_timestamp": 1000, "id": 1, "x": 1, "n": 1.5}"#
            )
            .into(),
            "\"n\" has a value in row 2",
        ),
        (
            FileFormat::JsonLines,
            r#"{"k": 1, "event_timestamp": "1970-01-01T00:00:01.0000001Z", "id": 1, "x": 1, "n": 1}"#.into(),
            "\"event_timestamp\" has a value in row 1",
        ),
        (
            FileFormat::Csv,
            format!("{head}1,1970-01-01T00:00:01.0000001Z,1,0.5,1\n"),
            "\"event_timestamp\" has a time in row 1 that is finer",
        ),
    ];
    for (format, text, said) in cases {
        let home = tempfile::tempdir().unwrap();
        put(home.path(), "a.txt", text);
        let store = store(home.path(), files(home.path(), ".txt", format)).await;
        let error = store.source("events").unwrap().run().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains("a.txt") && error.message().contains(said), "{error}\nlacks {said}");
        assert!(!error.message().contains("abc") && !error.message().contains("one"), "no value is told: {error}");
        assert_eq!(count(&store).await, 0);
    }
    // A narrower integer and coarser times are the same values; an optional column may be missing.
    let home = tempfile::tempdir().unwrap();
    let time: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![5]));
    let columns: [(&str, ArrayRef); 4] = [
        ("k", Arc::new(Int32Array::from(vec![1]))),
        ("event_timestamp", time),
        ("id", Arc::new(Int64Array::from(vec![1]))),
        ("n", Arc::new(Int64Array::from(vec![2]))),
    ];
    put(home.path(), "a.parquet", parquet_of(&RecordBatch::try_from_iter(columns).unwrap()));
    let url = format!("{}/in/", home.path().display());
    let source = Source::files("events", url, FileFormat::Parquet).with_optional("x").build().unwrap();
    let store = store(home.path(), source).await;
    store.source("events").unwrap().run().await.unwrap();
    assert_eq!(rows(&store).await, [batch(&[(Some(1), Some(5_000), 1, None, Some(2))])]);
}

#[tokio::test]
async fn a_file_that_changed_or_is_too_large_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    put(home.path(), "a.parquet", parquet_of(&events()));
    let store = store(home.path(), files(home.path(), ".parquet", FileFormat::Parquet)).await;
    let small = SourceSettings { file_bytes_max: 10, ..SourceSettings::default() };
    let error = store.source_with("events", small).unwrap().run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    store.source("events").unwrap().run().await.unwrap();
    put(home.path(), "a.parquet", parquet_of(&batch(&(0..99).map(|id| row(id, id, id)).collect::<Vec<_>>())));
    put(home.path(), "b.parquet", parquet_of(&events()));
    let error = store.source("events").unwrap().run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("a.parquet"), "{error}");
    assert_eq!(count(&store).await, 2);
    let few = SourceSettings { files_max: 1, ..SourceSettings::default() };
    let error = store.source_with("events", few).unwrap().run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
}

#[tokio::test]
async fn any_object_store_and_folders_by_pattern() {
    let home = tempfile::tempdir().unwrap();
    let lake: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let bytes = parquet_of(&events());
    for path in ["day=1/a.parquet", "day=1/b.csv", "day=2/deep/c.parquet", "elsewhere.parquet"] {
        lake.put(&format!("in/{path}").into(), bytes.clone().into()).await.unwrap();
    }
    for path in ["a.parquet", "_temporary/x.parquet", "_SUCCESS", "b/.hidden/x.parquet"] {
        lake.put(&format!("_spark/{path}").into(), bytes.clone().into()).await.unwrap();
    }
    let cases = [
        ("lake://x/in/*/*.parquet", 1),
        ("lake://x/in/**/*.parquet", 3),
        ("lake://x/in/day=2/deep/c.parquet", 1),
        ("lake://x/_spark/", 1),
    ];
    for (number, (url, files)) in cases.into_iter().enumerate() {
        let source = Source::files("events", url, FileFormat::Parquet).build().unwrap();
        let store = builder(&home.path().join(number.to_string())).with_source(source);
        let store = store.with_objects("lake://x", Arc::clone(&lake)).build().await.unwrap();
        assert_eq!(store.source("events").unwrap().run().await.unwrap().files, files, "{url}");
    }
    let missing = Source::files("events", "lake://x/in/no.parquet", FileFormat::Parquet).build().unwrap();
    let with = builder(home.path()).with_source(missing.clone());
    let store = with.with_objects("lake://x", lake).build().await.unwrap();
    assert_eq!(store.source("events").unwrap().run().await.unwrap_err().kind(), ErrorKind::NotFound);
    let without = builder(home.path()).with_source(missing).build().await.unwrap();
    let error = without.source("events").unwrap().run().await.unwrap_err();
    assert!(error.message().contains("with_objects"), "{error}");
}

#[tokio::test]
async fn a_file_of_the_same_path_in_another_store_is_another_file() {
    let home = tempfile::tempdir().unwrap();
    for (root, url) in [("lake://a", "lake://a/x.parquet"), ("memory://", "memory:///x.parquet")] {
        let lake: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        lake.put(&"x.parquet".into(), parquet_of(&events()).into()).await.unwrap();
        let source = Source::files("events", url, FileFormat::Parquet).build().unwrap();
        let store = builder(home.path()).with_source(source).with_objects(root, lake).build().await.unwrap();
        assert_eq!(store.source("events").unwrap().run().await.unwrap().files, 1, "{url}");
        assert_eq!(store.source("events").unwrap().run().await.unwrap().files_known, 1, "{url}");
    }
}

/// Refuses batches with more than one row.
#[derive(Debug)]
struct OneRow;

impl BatchCheck for OneRow {
    fn check(&self, batch: &RecordBatch) -> Result<CheckOutcome> {
        let mut outcome = CheckOutcome::default();
        if batch.num_rows() > 1 {
            outcome.failures.push(CheckFailure {
                rule: "one_row".into(),
                column: None,
                message: "too many".into(),
                rows: Vec::new(),
            });
        }
        Ok(outcome)
    }
}

#[tokio::test]
async fn a_file_that_breaks_a_rule_is_in_quarantine_and_not_read_again() {
    let home = tempfile::tempdir().unwrap();
    put(home.path(), "a.parquet", parquet_of(&events()));
    put(home.path(), "b.parquet", parquet_of(&events().slice(0, 1)));
    let source = files(home.path(), ".parquet", FileFormat::Parquet);
    let store = builder(home.path()).with_source(source).with_check("events", Arc::new(OneRow)).build().await.unwrap();
    let first = store.source("events").unwrap().run().await.unwrap();
    assert_eq!(first, SourceReceipt { files: 2, rows: 1, quarantined: 2, ..SourceReceipt::default() });
    assert_eq!(store.source("events").unwrap().run().await.unwrap().files_known, 2);
    let rejected = store.ingestor("events").unwrap().rejected().await.unwrap();
    assert!(rejected.len() == 1 && rejected[0].batch_id.ends_with("in/a.parquet"), "{rejected:?}");
    let mended = store.ingestor("events").unwrap().replay(&rejected[0].batch_id, |rows| Ok(rows.slice(0, 1))).await;
    assert!(mended.unwrap().accepted());
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn one_call_brings_a_view_up_to_date_and_goes_on_where_it_was_stopped() {
    let home = tempfile::tempdir().unwrap();
    for id in 1..=3 {
        put(home.path(), &format!("{id}.parquet"), parquet_of(&batch(&[row(7, 10 * id, id)])));
    }
    let with = || builder(home.path()).with_source(files(home.path(), ".parquet", FileFormat::Parquet));
    let plan = with().plan().await.unwrap();
    let said = format!("source \"events\"\n  + is added: parquet files at {}/in/*.parquet\n", home.path().display());
    assert!(plan.to_string().contains(&said), "{plan}");
    let store = with().apply(&plan, Permission::Safe).await.unwrap();
    let stop = CancellationToken::new();
    let (told, token) = (Arc::new(std::sync::Mutex::new(Vec::new())), stop.clone());
    let heard = Arc::clone(&told);
    let stopped = store.source("events").unwrap().with_cancellation(stop).with_progress(move |progress| {
        heard.lock().unwrap().push((progress.files_done, progress.files, progress.rows));
        token.cancel();
    });
    assert_eq!(stopped.run().await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(*told.lock().unwrap(), [(1, 3, 1)]);
    // Applied to the root, so a store that adds nothing knows it.
    let again = FeatureStore::builder(home.path().join("store").to_str().unwrap())
        .with_online(store.online())
        .build()
        .await
        .unwrap();
    let receipt = again.refresh("v", Timestamp::from_micros(100)).await.unwrap();
    let taken = receipt.source.unwrap();
    assert_eq!((taken.files_known, taken.files, receipt.materialized.rows), (1, 2, 3));
    let receipt = again.refresh("v", Timestamp::from_micros(100)).await.unwrap();
    assert_eq!((receipt.source.unwrap().files, receipt.materialized.rows), (0, 0));
    let other = Source::files("events", "/elsewhere/", FileFormat::Csv).build().unwrap();
    let plan = builder(home.path()).with_source(other).plan().await.unwrap();
    assert!(plan.destructive().any(|change| change.what.contains("csv files at /elsewhere/")), "{plan}");
}

#[tokio::test]
async fn a_source_speaks_of_columns_that_its_table_has() {
    let home = tempfile::tempdir().unwrap();
    let source = Source::files("events", "/in/", FileFormat::Csv).with_timestamp("x").with_created("no");
    let error = builder(home.path()).with_source(source.with_column("q", "z").build().unwrap()).build().await;
    let error = error.unwrap_err();
    for part in ["\"x\" is Float64", "\"no\"", "\"q\""] {
        assert!(error.message().contains(part), "{error}");
    }
    let nowhere = Source::files("nowhere", "/in/", FileFormat::Csv).build().unwrap();
    let error = builder(home.path()).with_source(nowhere).build().await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("\"nowhere\""), "{error}");
}

fn database(home: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(home.join("crm.db")).unwrap();
    let create = "CREATE TABLE payments (id INTEGER PRIMARY KEY, card INTEGER, paid TEXT, amount REAL, n INTEGER)";
    connection.execute(create, []).unwrap();
    connection
}

/// A store in `root` whose events come from the database of `home`.
async fn sql_store(home: &Path, root: &str, cursor: &str) -> FeatureStore {
    let source = Source::sql("events", "crm", "payments", cursor)
        .with_column("k", "card")
        .with_column("event_timestamp", "paid")
        .with_column("x", "amount")
        .build()
        .unwrap();
    let reader = Arc::new(SqliteReader::new(home.join("crm.db")));
    builder(&home.join(root)).with_source(source).with_connection("crm", reader).build().await.unwrap()
}

#[tokio::test]
async fn rows_of_a_database_come_once_in_order_of_their_cursor() {
    let home = tempfile::tempdir().unwrap();
    let connection = database(home.path());
    let insert = |id: i64, time: &str| {
        let sql = "INSERT INTO payments VALUES (?1, 7, ?2, 0.1, NULL)";
        connection.execute(sql, rusqlite::params![id, time]).unwrap();
    };
    insert(5, "2025-01-01T00:00:00.25Z");
    insert(3, "2024-12-31 23:00:00");
    let store = sql_store(home.path(), "first", "id").await;
    let small = SourceSettings {
        stream: StreamSettings { rows_per_commit_max: 1, ..StreamSettings::default() },
        ..SourceSettings::default()
    };
    let run = async || store.source_with("events", small.clone()).unwrap().run().await;
    assert_eq!(run().await.unwrap().rows, 2);
    assert_eq!(run().await.unwrap().rows, 0);
    insert(9, "2025-01-02T00:00:00Z");
    assert_eq!(run().await.unwrap().rows, 1);
    let second = 1_735_689_600_000_000;
    let of = |time, id| batch(&[(Some(7), Some(time), id, Some(0.1), None)]);
    let expected = [of(second - 3_600_000_000, 3), of(second + 250_000, 5), of(second + 86_400_000_000, 9)];
    assert_eq!(rows(&store).await, expected);

    insert(10, "yesterday");
    let error = run().await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("\"paid\""), "{error}");
    connection.execute("DELETE FROM payments WHERE id = 10", []).unwrap();
    let shared = sql_store(home.path(), "second", "card").await;
    for settings in [SourceSettings::default(), small.clone()] {
        let error = shared.source_with("events", settings).unwrap().run().await.unwrap_err();
        assert!(error.message().contains("\"card\""), "{error}");
    }
    assert_eq!(count(&shared).await, 0);
    assert_eq!(count(&store).await, 3);
    let nothing = builder(&home.path().join("other")).with_source(shared.source("events").unwrap().source().clone());
    let error = nothing.build().await.unwrap().source("events").unwrap().run().await.unwrap_err();
    assert!(error.kind() == ErrorKind::FailedPrecondition && error.message().contains("with_connection"), "{error}");
}

#[tokio::test]
async fn rows_that_a_cursor_would_leave_out_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let connection = database(home.path());
    connection.execute("ALTER TABLE payments ADD COLUMN seq INTEGER", []).unwrap();
    let insert = |id: i64, time: &str, seq: Option<i64>| {
        let sql = "INSERT INTO payments VALUES (?1, 7, ?2, 0.1, NULL, ?3)";
        connection.execute(sql, rusqlite::params![id, time, seq]).unwrap();
    };
    let refused = async |store: &FeatureStore, said: &str| {
        let error = store.source("events").unwrap().run().await.unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains(said), "{error}");
        connection.execute("DELETE FROM payments", []).unwrap();
    };
    let store = sql_store(home.path(), "store", "seq").await;
    insert(1, "2025-01-01T00:00:00Z", Some(-5));
    refused(&store, "\"seq\" has a number below 0").await;
    insert(1, "2025-01-01T00:00:00.0000001Z", Some(0));
    refused(&store, "\"paid\"").await;
    insert(1, "2025-01-01T00:00:00Z", Some(0));
    assert_eq!(store.source("events").unwrap().run().await.unwrap().rows, 1);
    insert(2, "2025-01-01T00:00:00Z", None);
    refused(&store, "\"seq\" is null").await;
    connection.execute("INSERT INTO payments VALUES (2, 7, '2025-01-01T00:00:00Z', 0.1, NULL, 1.5)", []).unwrap();
    refused(&store, "\"seq\" has a number that is not whole").await;
    // Another cursor begins anew.
    insert(0, "2025-01-01T00:00:00Z", Some(0));
    let by_id = sql_store(home.path(), "store", "id").await;
    assert_eq!(by_id.source("events").unwrap().run().await.unwrap().rows, 1);
    // A name that no column has is no text.
    let misspelt = Source::sql("events", "crm", "payments", "id").with_column("k", "card").with_column("x", "amuont");
    let misspelt = builder(&home.path().join("other"))
        .with_source(misspelt.with_column("event_timestamp", "paid").build().unwrap());
    let reader = Arc::new(SqliteReader::new(home.path().join("crm.db")));
    let error = misspelt.with_connection("crm", reader).build().await.unwrap();
    let error = error.source("events").unwrap().run().await.unwrap_err();
    assert!(error.kind() == ErrorKind::FailedPrecondition && error.message().contains("payments"), "{error}");
}

#[tokio::test]
async fn a_stream_is_a_source_too() {
    let home = tempfile::tempdir().unwrap();
    let (sender, stream) = channel("payments", 10);
    let source = Source::stream("events", "payments").build().unwrap();
    let store =
        builder(home.path()).with_source(source).with_stream("payments", Arc::new(stream)).build().await.unwrap();
    sender.send(batch(&[row(1, 10, 1), row(1, 20, 2)])).await.unwrap();
    drop(sender);
    assert_eq!(store.source("events").unwrap().run().await.unwrap().rows, 2);
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn times_that_are_none_are_refused_at_the_door() {
    let home = tempfile::tempdir().unwrap();
    let with_time = |data_type: &DataType| {
        let schema = schema();
        let fields = schema.fields().iter().map(|field| match field.name().as_str() {
            "event_timestamp" => Field::new("event_timestamp", data_type.clone(), true),
            _ => field.as_ref().clone(),
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    let store = builder(home.path()).build().await.unwrap();
    let ingestor = store.ingestor("events").unwrap();
    let refused = async |id: &str, time: ArrayRef| {
        let mut columns = batch(&[row(1, 1, 1)]).columns().to_vec();
        columns[1] = Arc::clone(&time);
        let rows = RecordBatch::try_new(with_time(time.data_type()), columns).unwrap();
        let error = ingestor.append(id, &rows).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains("\"event_timestamp\""), "{error}");
    };
    refused("null", times([None])).await;
    refused("another unit", Arc::new(TimestampMillisecondArray::from(vec![1]).with_timezone("UTC"))).await;
    refused("overflow", Arc::new(TimestampSecondArray::from(vec![i64::MAX]).with_timezone("UTC"))).await;
    refused("a number", Arc::new(Int64Array::from(vec![1]))).await;
    refused("a text", Arc::new(StringArray::from(vec!["2025-01-01"]))).await;
    assert_eq!(count(&store).await, 0);
    // The ends of time are times: what is at them is in the table and is read again.
    for (id, time) in [("first", i64::MIN), ("last", i64::MAX)] {
        ingestor.append(id, &batch(&[row(1, time, 1)])).await.unwrap();
    }
    let read = rows(&store).await;
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    store.materializer().run("v", Timestamp::from_micros(0)).await.unwrap();
}

/// Reads the server that `MLOPS_TEST_POSTGRES` names.
#[cfg(feature = "postgres")]
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the server is named by an environment variable")]
async fn rows_of_postgres_come_once_in_order_of_their_cursor() {
    use sqlx::Executor as _;

    let Ok(url) = std::env::var("MLOPS_TEST_POSTGRES") else {
        println!("skipped: MLOPS_TEST_POSTGRES names no server");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let create = "DROP TABLE IF EXISTS source_payments; CREATE TABLE source_payments \
        (id BIGSERIAL PRIMARY KEY, card INT, paid TIMESTAMPTZ, amount DOUBLE PRECISION, n BIGINT)";
    pool.execute(create).await.unwrap();
    let insert = "INSERT INTO source_payments (card, paid, amount, n) \
        VALUES (7, '2025-01-01 01:00:00.25+01', 0.1, NULL), (NULL, '2025-01-02', 1e-300, 1152921504606846977)";
    pool.execute(insert).await.unwrap();
    let source = |cursor: &str| {
        let source = Source::sql("events", "crm", "public.source_payments", cursor).with_column("k", "card");
        source.with_column("event_timestamp", "paid").with_column("x", "amount").build().unwrap()
    };
    let reader = Arc::new(mlops_features::source::sql::PostgresReader::connect(&url).await.unwrap());
    let store = async |cursor: &str| {
        let builder = builder(&home.path().join(cursor)).with_source(source(cursor));
        builder.with_connection("crm", Arc::clone(&reader) as _).build().await.unwrap()
    };
    let store_by_id = store("id").await;
    assert_eq!(store_by_id.source("events").unwrap().run().await.unwrap().rows, 2);
    assert_eq!(store_by_id.source("events").unwrap().run().await.unwrap().rows, 0);
    pool.execute(insert).await.unwrap();
    assert_eq!(store_by_id.source("events").unwrap().run().await.unwrap().rows, 2);
    let first = 1_735_689_600_250_000;
    let row = |id| (Some(7), Some(first), id, Some(0.1), None);
    let other = |id| (None, Some(first + 86_399_750_000), id, Some(1e-300), Some((1 << 60) + 1));
    assert_eq!(rows(&store_by_id).await, [batch(&[row(1), other(2)]), batch(&[row(3), other(4)])]);
    let error = store("paid").await.source("events").unwrap().run().await.unwrap_err();
    assert!(error.message().contains("source_payments"), "{error}");
    let parts = "ALTER TABLE source_payments ADD part NUMERIC, ADD half DOUBLE PRECISION; \
        UPDATE source_payments SET part = id + 0.4, half = id / 2.0";
    pool.execute(parts).await.unwrap();
    for cursor in ["part", "half"] {
        let error = store(cursor).await.source("events").unwrap().run().await.unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains("is not whole"), "{error}");
    }
    pool.execute("UPDATE source_payments SET part = id, half = id").await.unwrap();
    for cursor in ["part", "half"] {
        assert_eq!(store(cursor).await.source("events").unwrap().run().await.unwrap().rows, 4);
    }
    pool.execute("DROP TABLE source_payments").await.unwrap();
}
