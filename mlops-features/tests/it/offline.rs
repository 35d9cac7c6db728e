//! Training sets from tables: no setting changes one, and a file that is gone is an error.

use std::time::Duration;

use mlops_core::{ErrorKind, Timestamp, arrow_array::RecordBatch};
use mlops_features::{
    Aggregation, Entity, FeatureService, FeatureStore, FeatureStoreSettings, FeatureView, Function, JoinSettings,
    Moments, OfflineStore, TableSettings, offline::HistoricalOptions,
};
use proptest::prelude::*;

use crate::data::{Row, batch, clock, ints, row, schema, times};

/// Two views of one table: plain columns with and without a time to live, and windows.
async fn store(home: &std::path::Path, rows: &[Row], cut: usize, group_rows: usize) -> (FeatureStore, FeatureService) {
    let view = |name: &str| FeatureView::builder(name, Entity::new("e", ["k"]).unwrap(), "events");
    let table =
        TableSettings { row_group_rows_max: group_rows, file_rows_max: 3 * group_rows, ..TableSettings::default() };
    let windows = view("w")
        .with_aggregation(Aggregation::new("sum", Function::Sum, "x", Duration::from_micros(9)))
        .with_aggregation(Aggregation::new("first", Function::First, "n", Duration::from_micros(25)));
    let names = ["w:sum", "a:x", "b:n", "w:first"].map(|name| name.parse().unwrap());
    let service = FeatureService::new("s", names).unwrap();
    let store = FeatureStore::builder(home.to_str().unwrap())
        .with_clock(clock())
        .with_table("events", schema())
        .with_view(view("a").with_column("x").with_ttl(Duration::from_micros(7)).build().unwrap())
        .with_view(view("b").with_column("n").build().unwrap())
        .with_view(windows.build().unwrap())
        .with_settings(FeatureStoreSettings { table, ..FeatureStoreSettings::default() })
        .build()
        .await
        .unwrap();
    for (id, rows) in rows.chunks(cut).enumerate() {
        store.ingestor("events").unwrap().append(&format!("b{id}"), &batch(rows)).await.unwrap();
    }
    (store, service)
}

fn spine(rows: &[(Option<i64>, Option<i64>)]) -> RecordBatch {
    let columns = [("k", ints(rows.iter().map(|row| row.0))), ("event_timestamp", times(rows.iter().map(|row| row.1)))];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn neither_memory_nor_threads_nor_the_layout_of_files_change_a_training_set(
        events in proptest::collection::vec((proptest::option::weighted(0.9, 0_i64..4), 0_i64..50), 1..90),
        asked in proptest::collection::vec((proptest::option::weighted(0.9, 0_i64..5), proptest::option::weighted(0.9, 0_i64..60)), 0..50),
        cut in 1_usize..50, group_rows in 1_usize..30, threads in 1_usize..4, batch_rows in 1_usize..40,
        memory in 1_usize..200_000,
    ) {
        let rows: Vec<Row> = events.iter().zip(0..).map(|((key, time), id)| {
            let (_, _, id, x, n) = row(0, 0, id);
            (*key, Some(*time), id, x, n)
        }).collect();
        let spine = spine(&asked);
        runtime().block_on(async {
            let (one, another) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let (whole, service) = store(one.path(), &rows, 1_000, 100_000).await;
            let expected = whole.offline().get_historical(&spine, &service).await.unwrap().batch;
            let (pieces, _) = store(another.path(), &rows, cut, group_rows).await;
            let settings = JoinSettings { threads, batch_rows, memory_bytes_max: 32 << 20 };
            let offline = pieces.offline().with_settings(settings.clone());
            prop_assert_eq!(&offline.get_historical(&spine, &service).await.unwrap().batch, &expected);
            // Little memory is enough or is said to be too little.
            let little = pieces.offline().with_settings(JoinSettings { memory_bytes_max: memory, ..settings });
            match little.get_historical(&spine, &service).await {
                Ok(found) => prop_assert_eq!(&found.batch, &expected),
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
                    let said = format!("memory_bytes_max is {memory}");
                    prop_assert!(error.message().contains(&said), "{}", error);
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn only_files_that_can_matter_are_opened_and_one_that_is_gone_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let rows: Vec<Row> = (0..60).map(|time| row(1, time, time)).collect();
    let (store, service) = store(home.path(), &rows, 30, 10).await;
    let files = || {
        let files = std::fs::read_dir(home.path().join("tables/events")).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).filter(|path| path.is_file()).collect();
        files.sort();
        files
    };
    assert_eq!(files().len(), 2);
    // The second file begins at 30, after every row of the spine; it is not asked for.
    std::fs::remove_file(files().pop().unwrap()).unwrap();
    let early = spine(&[(Some(1), Some(20))]);
    let found = store.offline().get_historical(&early, &service).await.unwrap().batch;
    assert_eq!(found.column(4).as_ref(), ints([Some(20)]).as_ref());
    let error = store.offline().get_historical(&spine(&[(Some(1), Some(50))]), &service).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
}

/// Every entity and time of the table, without a list of them.
#[tokio::test]
async fn a_training_set_needs_no_list_of_entities() {
    let home = tempfile::tempdir().unwrap();
    let rows: Vec<Row> =
        (0..30).map(|time| row(time % 3, time, time)).chain([(None, Some(5), 99, None, None)]).collect();
    let (store, service) = store(home.path(), &rows, 10, 5).await;
    let offline = store.offline();
    let options = HistoricalOptions { timestamp: "at".to_owned(), ..HistoricalOptions::default() };
    let changes = Moments::Changes { after: Timestamp::from_micros(19), until: Timestamp::from_micros(25) };
    let spine = offline.all_entities(&service, changes, &options).await.unwrap();
    let expected = RecordBatch::try_from_iter_with_nullable([
        ("k", ints([0, 0, 1, 1, 2, 2].map(Some)), true),
        ("at", times([21, 24, 22, 25, 20, 23].map(Some)), true),
    ]);
    assert_eq!(spine, expected.unwrap());
    let set = offline.get_historical_opts(&spine, &service, &options).await.unwrap().batch;
    assert_eq!(set.column_by_name("n").unwrap(), &ints([21, 24, 22, 25, 20, 23].map(Some)));
    let at = Moments::At(Timestamp::from_micros(1));
    let spine = offline.all_entities(&service, at, &HistoricalOptions::default()).await.unwrap();
    assert_eq!(spine.column(0), &ints([0, 1].map(Some)), "2 was not seen by then, and nobody has no key");
    // Of the table as it was nothing else is seen.
    let first = HistoricalOptions { versions: [("events".to_owned(), 1)].into(), ..HistoricalOptions::default() };
    let late = Moments::Changes { after: Timestamp::from_micros(7), until: Timestamp::from_micros(25) };
    assert_eq!(offline.all_entities(&service, late, &first).await.unwrap().num_rows(), 2);
}
