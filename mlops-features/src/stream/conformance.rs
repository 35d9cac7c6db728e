//! The promises of a [`StreamSource`], one function each. Every source passes [`all`].

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, cast::AsArray, types::Int64Type};
use async_trait::async_trait;
use futures::{FutureExt as _, future::Either};
use mlops_core::{Error, Result};

#[cfg(feature = "kafka")]
pub use super::kafka::takes_any_answer_of_kafka;
use super::{Positions, StreamBatch, StreamSource};

/// Puts rows into the stream under test, into whatever partitions it likes.
#[async_trait]
pub trait Feed: Send {
    /// Puts the rows of `numbers` in, in order.
    async fn send(&mut self, numbers: RecordBatch) -> Result<()>;
    /// Ends the stream, for those that can.
    async fn end(&mut self) -> Result<()>;
}

/// A batch with one column `number`.
///
/// # Errors
/// None that a column of integers could cause.
pub fn numbers(range: Range<i64>) -> Result<RecordBatch> {
    let column = Arc::new(Int64Array::from_iter_values(range)) as ArrayRef;
    Ok(RecordBatch::try_from_iter([("number", column)])?)
}

/// Longest wait for a row that is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// Checks every promise on fresh streams from `make`.
///
/// # Errors
/// The first promise that is broken, or an error of the source.
pub async fn all<S: StreamSource, D: Feed, F: Future<Output = Result<(S, D)>>>(make: impl Fn() -> F) -> Result<()> {
    let (source, mut feed) = make().await?;
    gives_every_row_once_and_in_order(&source, &mut feed).await?;
    let (source, mut feed) = make().await?;
    gives_again_what_was_not_committed(&source, &mut feed).await?;
    let (source, mut feed) = make().await?;
    a_poll_waits_and_may_be_dropped(&source, &mut feed).await?;
    let (source, mut feed) = make().await?;
    ends_after_the_last_row(&source, &mut feed).await
}

/// Following the offsets gives every row, no batch above the limit, offsets ascending within partitions that are
/// listed.
///
/// # Errors
/// When the promise is broken.
pub async fn gives_every_row_once_and_in_order(source: &impl StreamSource, feed: &mut impl Feed) -> Result<()> {
    feed.send(numbers(0..7)?).await?;
    feed.send(numbers(7..20)?).await?;
    let (mut positions, mut seen) = (Positions::new(), Vec::new());
    while seen.len() < 20 {
        let batches = poll(source, &positions, 6).await?.unwrap_or_default();
        let rows: usize = batches.iter().map(|batch| batch.records.num_rows()).sum();
        expect("1 to rows_max rows", &(1..=6).contains(&rows), &true)?;
        let known = source.partitions().await?;
        for batch in &batches {
            expect("partitions are listed", &known.contains(&batch.partition), &true)?;
            expect("one offset per row", &batch.offsets.len(), &batch.records.num_rows())?;
            expect("offsets ascend", &batch.offsets.is_sorted_by(|one, next| one < next), &true)?;
            let from = positions.get(&batch.partition).copied().unwrap_or(0);
            expect("offsets are at or after the position", &batch.offsets.iter().all(|at| *at >= from), &true)?;
        }
        follow(&mut positions, &batches);
        seen.extend(values(&batches));
    }
    seen.sort_unstable();
    expect("every row once", &seen, &(0..20).collect())
}

/// Rows at or after the committed position come again under the same offsets, whatever was read since.
///
/// # Errors
/// When the promise is broken.
pub async fn gives_again_what_was_not_committed(source: &impl StreamSource, feed: &mut impl Feed) -> Result<()> {
    feed.send(numbers(0..10)?).await?;
    let first = poll(source, &Positions::new(), 4).await?.unwrap_or_default();
    let mut positions = Positions::new();
    follow(&mut positions, &first);
    let next = poll(source, &positions, 3).await?.unwrap_or_default();
    source.commit(&positions).await?;
    source.commit(&positions).await?;
    let left = 10 - values(&first).len();
    let mut again = Vec::new();
    while again.len() < left {
        let batches = poll(source, &positions, 3).await?.unwrap_or_default();
        expect("rows that were not committed come again", &batches.is_empty(), &false)?;
        follow(&mut positions, &batches);
        again.extend(rows(&batches));
    }
    // Other partitions may come first.
    let comes = |row: &(Arc<str>, u64, i64)| again.contains(row);
    expect("the same rows under the same offsets", &rows(&next).iter().all(comes), &true)
}

/// Without rows a poll waits; a wait that is given up loses nothing.
///
/// # Errors
/// When the promise is broken.
pub async fn a_poll_waits_and_may_be_dropped(source: &impl StreamSource, feed: &mut impl Feed) -> Result<()> {
    let none = Positions::new();
    expect("a poll waits", &source.poll(&none, 5).now_or_never().is_none(), &true)?;
    feed.send(numbers(0..3)?).await?;
    let mut seen = Vec::new();
    let mut positions = Positions::new();
    while seen.len() < 3 {
        let batches = poll(source, &positions, 5).await?.unwrap_or_default();
        follow(&mut positions, &batches);
        seen.extend(values(&batches));
    }
    seen.sort_unstable();
    expect("nothing was lost", &seen, &vec![0, 1, 2])
}

/// An ended stream gives what is left, then says that it has ended.
///
/// # Errors
/// When the promise is broken.
pub async fn ends_after_the_last_row(source: &impl StreamSource, feed: &mut impl Feed) -> Result<()> {
    feed.send(numbers(0..3)?).await?;
    feed.end().await?;
    let (mut positions, mut rows) = (Positions::new(), 0);
    while let Some(batches) = poll(source, &positions, 2).await? {
        follow(&mut positions, &batches);
        rows += values(&batches).len();
        if rows > 3 {
            break;
        }
    }
    expect("all rows, then the end", &rows, &3)
}

fn follow(positions: &mut Positions, batches: &[StreamBatch]) {
    for batch in batches {
        if let Some(last) = batch.offsets.last() {
            positions.insert(Arc::clone(&batch.partition), last + 1);
        }
    }
}

/// Partition, offset and number of each row.
fn rows(batches: &[StreamBatch]) -> Vec<(Arc<str>, u64, i64)> {
    let place = |batch: &StreamBatch| {
        let partition = Arc::clone(&batch.partition);
        batch.offsets.clone().into_iter().map(move |offset| (Arc::clone(&partition), offset))
    };
    let places = batches.iter().flat_map(place);
    places.zip(values(batches)).map(|((partition, offset), value)| (partition, offset, value)).collect()
}

fn values(batches: &[StreamBatch]) -> Vec<i64> {
    let column = |batch: &StreamBatch| batch.records.column_by_name("number").cloned();
    batches.iter().filter_map(column).flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec()).collect()
}

async fn poll(source: &impl StreamSource, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
    let wait = std::pin::pin!(tokio::time::sleep(PATIENCE));
    match futures::future::select(source.poll(positions, rows_max), wait).await {
        Either::Left((batches, _)) => batches,
        Either::Right(_) => Err(Error::internal("stream source breaks its promise: a row that is there does not come")),
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(promise: &str, found: &T, expected: &T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::internal(format!(
        "stream source breaks its promise \"{promise}\": expected {expected:?}, found {found:?}"
    )))
}
