//! Streams into tables: late rows, rejects and their replay, back-pressure, and kills at any moment.
#![allow(
    clippy::disallowed_methods,
    reason = "the test tells its child process where to write by an environment variable"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mlops_core::{
    ErrorKind, PrometheusMeter, Result, Timestamp,
    arrow_array::RecordBatch,
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_features::{
    FeatureStore, Ingestor, LatePolicy, MemoryOnlineStore, Scan, StreamIngestor, StreamSettings, StreamSource,
    stream::{Positions, StreamBatch, channel},
};
use tokio_util::sync::CancellationToken;

use crate::{
    checks::NotNegative,
    data::{Row, batch, clock, row, schema},
    kills::kills,
    table::ids,
};

async fn store(home: &str) -> FeatureStore {
    FeatureStore::builder(home)
        .with_clock(clock())
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .with_check("events", Arc::new(NotNegative))
        .build()
        .await
        .unwrap()
}

fn settings(late: LatePolicy) -> StreamSettings {
    StreamSettings { lateness_max: Duration::from_micros(50), late, ..StreamSettings::default() }
}

fn ingestor(store: &FeatureStore, source: Arc<dyn StreamSource>, late: LatePolicy) -> StreamIngestor {
    StreamIngestor::new(store.ingestor("events").unwrap(), source, settings(late)).unwrap()
}

async fn table_ids(store: &FeatureStore) -> Vec<i64> {
    ids(&store.table("events").unwrap().scan_all(Scan::latest()).await.unwrap())
}

async fn quarantined_ids(ingestor: &Ingestor) -> Vec<i64> {
    match ingestor.quarantine_table() {
        Some(table) => ids(&table.scan_all(Scan::latest()).await.unwrap()),
        None => Vec::new(),
    }
}

/// Rows of which the third is late by 7 us, the fourth negative, the fifth without time.
fn odd_rows() -> RecordBatch {
    let rows: [Row; 6] = [
        (Some(1), Some(100), 1, None, Some(1)),
        (Some(1), Some(50), 2, None, Some(1)),
        (Some(1), Some(43), 3, None, Some(1)),
        (Some(1), Some(101), 4, None, Some(-1)),
        (Some(1), None, 5, None, Some(1)),
        (Some(1), Some(102), 6, None, Some(1)),
    ];
    batch(&rows)
}

async fn take_odd_rows(home: &tempfile::TempDir, late: LatePolicy) -> (FeatureStore, StreamIngestor) {
    let store = store(home.path().to_str().unwrap()).await;
    let (sender, source) = channel("odd", 100);
    sender.send(odd_rows()).await.unwrap();
    drop(sender);
    let stream = ingestor(&store, Arc::new(source), late);
    stream.run(&CancellationToken::new()).await.unwrap();
    (store, stream)
}

#[tokio::test]
async fn late_rows_are_accepted_quarantined_or_dropped_and_always_counted() {
    for (late, in_table, in_quarantine) in [
        (LatePolicy::Accept, vec![1, 2, 3, 6], vec![4, 5]),
        (LatePolicy::Quarantine, vec![1, 2, 6], vec![3, 4, 5]),
        (LatePolicy::Drop, vec![1, 2, 6], vec![4, 5]),
    ] {
        let home = tempfile::tempdir().unwrap();
        let (store, stream) = take_odd_rows(&home, late).await;
        let progress = stream.progress();
        let mut quarantined = quarantined_ids(&store.ingestor("events").unwrap()).await;
        quarantined.sort_unstable();
        assert_eq!((table_ids(&store).await, quarantined), (in_table, in_quarantine), "{late:?}");
        let counts = (progress.late_accepted, progress.late_quarantined, progress.late_dropped);
        let is = |policy| u64::from(late == policy);
        assert_eq!(counts, (is(LatePolicy::Accept), is(LatePolicy::Quarantine), is(LatePolicy::Drop)), "{late:?}");
        assert_eq!((progress.positions["0"], progress.commits), (6, 1));
        assert_eq!(progress.watermark, Some(Timestamp::from_micros(52)));
    }
}

#[tokio::test]
async fn rejected_rows_come_back_once_they_are_mended() {
    let home = tempfile::tempdir().unwrap();
    let (store, _) = take_odd_rows(&home, LatePolicy::Quarantine).await;
    let gate = store.ingestor("events").unwrap();
    let rejected = gate.rejected().await.unwrap();
    assert_eq!((rejected.len(), rejected[0].rows, rejected[0].batch_id.as_str()), (1, 3, "stream/odd/0/0"));
    let reasons = rejected[0].reasons.join(" | ");
    for part in ["late: 7µs after the watermark", "not_negative: below 0", "column \"event_timestamp\" is null"] {
        assert!(reasons.contains(part), "{reasons}");
    }
    let id = rejected[0].batch_id.as_str();
    let failed = gate.replay(id, |rows| Ok(rows.slice(0, 0))).await.unwrap();
    assert_eq!((failed.rows, failed.accepted()), (0, true), "all was left out");
    assert!(gate.rejected().await.unwrap().is_empty());

    let bad = batch(&[row(1, 200, -7), row(1, 201, 8)]);
    assert!(!gate.append("bad", &bad).await.unwrap().accepted());
    let again = gate.replay("bad", Ok).await.unwrap();
    assert_eq!((again.failures.len(), gate.rejected().await.unwrap().len()), (1, 1), "what is not mended stays");
    let mend = |_: RecordBatch| Ok(batch(&[row(1, 200, 7), row(1, 201, 8)]));
    for duplicate in [false, true] {
        let receipt = gate.replay("bad", mend).await.unwrap();
        assert_eq!((receipt.accepted(), receipt.duplicate), (true, duplicate));
    }
    assert_eq!(table_ids(&store).await, [1, 2, 6, 7, 8]);
    let unknown = gate.replay("nothing", Ok).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn senders_are_held_back_and_a_stop_finishes_what_has_begun() {
    let home = tempfile::tempdir().unwrap();
    let meter = Arc::new(PrometheusMeter::default());
    let store = FeatureStore::builder(home.path().to_str().unwrap())
        .with_clock(clock())
        .with_meter(Arc::<PrometheusMeter>::clone(&meter))
        .with_online(Arc::new(MemoryOnlineStore::default()))
        .with_table("events", schema())
        .build()
        .await
        .unwrap();
    let (sender, source) = channel("s", 8);
    let stream = Arc::new(ingestor(&store, Arc::new(source), LatePolicy::Accept));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (stream, stop) = (Arc::clone(&stream), stop.clone());
        async move { stream.run(&stop).await }
    });
    for first in (0..40).step_by(4) {
        let rows: Vec<Row> = (first..first + 4).map(|id| row(1, id, id)).collect();
        sender.send(batch(&rows)).await.unwrap();
        let durable = stream.progress().rows;
        assert!(first as u64 + 4 <= durable + 8, "never more than 8 rows that are not durable");
    }
    sender.flush().await.unwrap();
    assert_eq!(table_ids(&store).await, (0..40).collect::<Vec<_>>());
    stop.cancel();
    let progress = running.await.unwrap().unwrap();
    assert_eq!((progress.rows, progress.positions["0"]), (40, 40));
    let page = meter.render();
    assert!(page.contains("mlops_features_rows_total{table=\"events\",outcome=\"accepted\"} 40"), "{page}");
    assert!(page.contains("mlops_features_stream_lag_seconds{stream=\"s\"}"), "{page}");
    // Stopped is not ended: another run goes on.
    sender.send(batch(&[row(1, 40, 40)])).await.unwrap();
    drop(sender);
    stream.run(&CancellationToken::new()).await.unwrap();
    assert_eq!(table_ids(&store).await.len(), 41);
}

/// A log that can be read again, of `rows` rows in each of three partitions. How many come at a time is random.
#[derive(Debug)]
struct Log {
    name: &'static str,
    rows: u64,
    polls: AtomicU64,
    random: SplitMix64,
}

const PARTITIONS: [&str; 3] = ["a", "b", "c"];

impl Log {
    fn new(name: &'static str, rows: u64, seed: u64) -> Self {
        Self { name, rows, polls: AtomicU64::new(0), random: SplitMix64::new(seed) }
    }

    /// Row `offset` of partition number `partition`: 1 of 17 late, 1 of 13 negative, 1 of 29 without time.
    fn row(&self, partition: usize, offset: u64) -> Row {
        let offset = offset.cast_signed();
        let stream = if self.name == "quarantining" { 0 } else { 100_000_000 };
        let id = stream + 1_000_000 * partition as i64 + offset;
        let late = if offset % 17 == 5 { 75 } else { 0 };
        let time = (offset % 29 != 7).then_some(10 * offset - late);
        let number = if offset % 13 == 4 { -1 } else { 1 };
        (Some(1), time, id, None, Some(number))
    }

    /// Ids for the table, ids for the quarantine, and how many rows are dropped.
    fn expected(&self, late: LatePolicy) -> (Vec<i64>, Vec<i64>, u64) {
        let (mut table, mut quarantine, mut dropped) = (Vec::new(), Vec::new(), 0);
        for partition in 0..PARTITIONS.len() {
            let mut newest: Option<i64> = None;
            for row in (0..self.rows).map(|offset| self.row(partition, offset)) {
                let is_late = row.1.zip(newest).is_some_and(|(time, newest)| time < newest - 50);
                newest = newest.max(row.1);
                match (row.1, is_late, late) {
                    (None, _, _) => quarantine.push(row.2),
                    (_, true, LatePolicy::Drop) => dropped += 1,
                    (_, true, LatePolicy::Quarantine) => quarantine.push(row.2),
                    _ if row.4 == Some(-1) => quarantine.push(row.2),
                    _ => table.push(row.2),
                }
            }
        }
        (table, quarantine, dropped)
    }
}

#[async_trait]
impl StreamSource for Log {
    fn name(&self) -> &str {
        self.name
    }

    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        // The last is found out only when it has rows, as a partition that is added later.
        Ok(PARTITIONS[..2].iter().map(|name| Arc::from(*name)).collect())
    }

    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        let mut batches = Vec::new();
        for (number, name) in PARTITIONS.iter().enumerate() {
            let from = positions.get(*name).copied().unwrap_or(0);
            let some = self.random.bits(self.polls.fetch_add(1, Ordering::Relaxed)) % 40;
            let until = (from + some.min(rows_max as u64 / 3)).min(self.rows);
            if until > from {
                let rows: Vec<Row> = (from..until).map(|offset| self.row(number, offset)).collect();
                let (partition, offsets) = (Arc::from(*name), (from..until).collect());
                batches.push(StreamBatch { partition, offsets, records: batch(&rows), unreadable: Vec::new() });
            }
        }
        let ended = PARTITIONS.iter().all(|name| positions.get(*name).copied().unwrap_or(0) >= self.rows);
        match (batches.is_empty(), ended) {
            (true, true) => Ok(None),
            (true, false) => Box::pin(self.poll(positions, rows_max)).await,
            (false, _) => Ok(Some(batches)),
        }
    }

    async fn commit(&self, _: &Positions) -> Result<()> {
        Ok(())
    }
}

const HOME: &str = "MLOPS_FEATURES_STREAM_HOME";
const SEED: &str = "MLOPS_FEATURES_STREAM_SEED";
const ROWS: u64 = 400;
const STREAMS: [(&str, LatePolicy); 2] = [("quarantining", LatePolicy::Quarantine), ("dropping", LatePolicy::Drop)];

/// Two streams into one table at once.
async fn consume(home: &str, seed: u64, rows: u64) -> Vec<u64> {
    let store = store(home).await;
    let streams = STREAMS.map(|(name, late)| Arc::new(ingestor(&store, Arc::new(Log::new(name, rows, seed)), late)));
    let mut running = Vec::new();
    for stream in &streams {
        let (stream, mut watch) = (Arc::clone(stream), stream.watch());
        running.push(tokio::spawn(async move {
            let stop = CancellationToken::new();
            let mut run = std::pin::pin!(stream.run(&stop));
            loop {
                tokio::select! {
                    done = &mut run => return done.unwrap().late_dropped,
                    _ = watch.changed() => acknowledge(watch.borrow_and_update().commits),
                }
            }
        }));
    }
    let mut dropped = Vec::new();
    for running in running {
        dropped.push(running.await.unwrap());
    }
    dropped
}

/// The child: consumes until it is killed. Does nothing when run as a test.
#[test]
fn child() {
    let (Ok(home), Ok(seed)) = (std::env::var(HOME), std::env::var(SEED)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(consume(&home, seed.parse().unwrap(), u64::MAX / 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_killed_lose_nothing_and_double_nothing() {
    let home = tempfile::tempdir().unwrap();
    let location = home.path().to_str().unwrap();
    let kills = kills(6);
    let random = SplitMix64::new(20_260_102);
    for kill in 0..kills {
        let seed = kill.to_string();
        let acks = 1 + usize::try_from(random.bits(2 * kill) % 6).unwrap();
        let spins = random.bits(2 * kill + 1) % 60_000;
        run_and_kill("stream::child", &[(HOME, location), (SEED, &seed)], acks, spins)
            .expect("the child acknowledged something");
    }
    // Every row up to where the last child stood, and some more.
    let store = store(location).await;
    let found = table_ids(&store).await;
    let rows = found.iter().map(|id| id.cast_unsigned() % 1_000_000).max().unwrap() + ROWS;
    assert!(rows < 1_000_000, "ids of partitions do not meet");
    let dropped = consume(location, 77, rows).await;
    let (mut table, mut quarantine) = (Vec::new(), Vec::new());
    for ((name, late), dropped) in STREAMS.into_iter().zip(dropped) {
        let expected = Log::new(name, rows, 0).expected(late);
        table.extend(expected.0);
        quarantine.extend(expected.1);
        assert_eq!(dropped, expected.2, "{name}");
    }
    let gate = store.ingestor("events").unwrap();
    let waiting: u64 = gate.rejected().await.unwrap().iter().map(|batch| batch.rows).sum();
    assert_eq!(waiting, quarantine.len() as u64);
    for (what, mut found, mut expected) in
        [("table", table_ids(&store).await, table), ("quarantine", quarantined_ids(&gate).await, quarantine)]
    {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        found.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
        counts.retain(|_, count| *count > 1);
        assert!(counts.is_empty(), "{what}: doubled {counts:?}");
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{what}");
    }
    println!("{kills} kills, {rows} rows in each of 6 partitions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_consumer_is_refused_and_doubles_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path().to_str().unwrap()).await;
    let (name, late) = STREAMS[0];
    let one = ingestor(&store, Arc::new(Log::new(name, ROWS, 1)), late);
    let two = ingestor(&store, Arc::new(Log::new(name, ROWS, 2)), late);
    let stop = CancellationToken::new();
    let (one_done, two_done) = tokio::join!(one.run(&stop), two.run(&stop));
    for done in [one_done, two_done] {
        if let Err(error) = done {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
    }
    one.run(&stop).await.unwrap();
    let (mut expected, mut rejected, _) = Log::new(name, ROWS, 0).expected(late);
    let mut found = (table_ids(&store).await, quarantined_ids(&store.ingestor("events").unwrap()).await);
    for ids in [&mut expected, &mut rejected, &mut found.0, &mut found.1] {
        ids.sort_unstable();
    }
    assert_eq!(found, (expected, rejected));
}
