//! A stream within the process: a bounded channel of batches that keeps what is not durable yet.
//!
//! Senders wait while the channel is full, and it is full until rows are committed, so the pace of storage reaches
//! those who send. What was sent and not committed is lost with the process; [`StreamSender::flush`] says when it is
//! not.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use mlops_core::{Error, Result};
use tokio::sync::Notify;

use super::{Positions, StreamBatch, StreamSource};

/// The one partition of a channel.
const PARTITION: &str = "0";

/// A channel called `name` that holds up to `rows_max` rows which are not committed yet. A batch that is larger has
/// the channel to itself.
///
/// ```
/// use mlops_features::stream::{Positions, StreamSource, channel};
/// use mlops_core::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// # use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sender, source) = channel("clicks", 1_000);
/// let rows = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)])?;
/// sender.send(rows).await?;
/// let batches = source.poll(&Positions::new(), 10).await?.expect("there are rows");
/// assert_eq!(batches[0].offsets, [0, 1]);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn channel(name: impl AsRef<str>, rows_max: usize) -> (StreamSender, ChannelSource) {
    let shared = Arc::new(Shared {
        name: name.as_ref().into(),
        rows_max: rows_max.max(1),
        state: Mutex::new(State::default()),
        changed: Notify::new(),
    });
    let open = Arc::new(Sending(Arc::clone(&shared)));
    (StreamSender { shared: Arc::clone(&shared), _open: open }, ChannelSource { shared })
}

#[derive(Debug)]
struct Shared {
    name: Arc<str>,
    rows_max: usize,
    state: Mutex<State>,
    /// Woken at every change, all who wait; each looks for itself.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<(u64, RecordBatch)>,
    /// Rows that were sent.
    sent: u64,
    /// Rows that were committed.
    committed: u64,
    /// The offset of the first row that was sent. It is the position that is polled first, so the rows of a new
    /// process follow those of the one before it.
    base: Option<u64>,
    ended: bool,
    abandoned: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` gives something.
    async fn wait<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listens before it looks, so that no change falls between the two.
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.state()) {
                return found;
            }
            changed.await;
        }
    }
}

/// Ends the stream when the last sender is gone.
#[derive(Debug)]
struct Sending(Arc<Shared>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_waiters();
    }
}

/// The end that rows are put into. Clones share it; the stream ends when all are gone.
#[derive(Debug, Clone)]
pub struct StreamSender {
    shared: Arc<Shared>,
    _open: Arc<Sending>,
}

impl StreamSender {
    /// Waits for room and puts `rows` at the end. Dropping the call before it returns sends nothing.
    ///
    /// # Errors
    /// `Unavailable` when nobody reads any more.
    pub async fn send(&self, rows: RecordBatch) -> Result<()> {
        let (count, rows_max) = (rows.num_rows() as u64, self.shared.rows_max as u64);
        if count == 0 {
            return Ok(());
        }
        let mut rows = Some(rows);
        let put = |state: &mut State| {
            if state.abandoned {
                return Some(false);
            }
            let held = state.sent - state.committed;
            if held > 0 && held.saturating_add(count) > rows_max {
                return None;
            }
            let first = state.sent;
            state.batches.extend(rows.take().map(|rows| (first, rows)));
            state.sent += count;
            Some(true)
        };
        let sent = self.shared.wait(put).await;
        self.shared.changed.notify_waiters();
        if sent { Ok(()) } else { Err(self.abandoned()) }
    }

    /// Waits until every row that was sent so far is durable.
    ///
    /// # Errors
    /// `Unavailable` when nobody reads any more.
    pub async fn flush(&self) -> Result<()> {
        let sent = self.shared.state().sent;
        let durable = |state: &mut State| match state.committed >= sent {
            true => Some(true),
            false => state.abandoned.then_some(false),
        };
        if self.shared.wait(durable).await { Ok(()) } else { Err(self.abandoned()) }
    }

    fn abandoned(&self) -> Error {
        Error::unavailable(format!("stream \"{}\" is not read any more", self.shared.name))
    }
}

/// The end that rows are read from.
#[derive(Debug)]
pub struct ChannelSource {
    shared: Arc<Shared>,
}

impl Drop for ChannelSource {
    fn drop(&mut self) {
        self.shared.state().abandoned = true;
        self.shared.changed.notify_waiters();
    }
}

impl State {
    /// Rows from `offset`: some, an end, or nothing yet.
    fn read(&mut self, name: &str, offset: u64, rows_max: usize) -> Option<Result<Option<Vec<StreamBatch>>>> {
        let base = *self.base.get_or_insert(offset);
        let Some(from) = offset.checked_sub(base).filter(|from| *from >= self.committed) else {
            return Some(Err(Error::failed_precondition(format!(
                "stream \"{name}\" has forgotten offset {offset}; it keeps rows from {}",
                base + self.committed
            ))));
        };
        let (mut batches, mut left) = (Vec::new(), rows_max.max(1));
        for (first, rows) in &self.batches {
            let skip = usize::try_from(from.saturating_sub(*first)).unwrap_or(usize::MAX).min(rows.num_rows());
            let count = (rows.num_rows() - skip).min(left);
            if count == 0 {
                continue;
            }
            let start = base + first + skip as u64;
            let offsets = (start..start + count as u64).collect();
            let (records, unreadable) = (rows.slice(skip, count), Vec::new());
            batches.push(StreamBatch { partition: PARTITION.into(), offsets, records, unreadable });
            left -= count;
        }
        match (batches.is_empty(), self.ended) {
            (false, _) => Some(Ok(Some(batches))),
            (true, true) => Some(Ok(None)),
            (true, false) => None,
        }
    }

    fn forget(&mut self, until: u64) {
        // Before the first poll nothing of this process can be durable.
        let Some(base) = self.base else { return };
        let until = until.saturating_sub(base).min(self.sent);
        self.committed = self.committed.max(until);
        while self.batches.front().is_some_and(|(first, rows)| first + rows.num_rows() as u64 <= self.committed) {
            self.batches.pop_front();
        }
    }
}

#[async_trait]
impl StreamSource for ChannelSource {
    fn name(&self) -> &str {
        &self.shared.name
    }

    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        Ok(vec![PARTITION.into()])
    }

    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        let offset = positions.get(PARTITION).copied().unwrap_or(0);
        self.shared.wait(|state| state.read(&self.shared.name, offset, rows_max)).await
    }

    async fn commit(&self, positions: &Positions) -> Result<()> {
        if let Some(until) = positions.get(PARTITION) {
            self.shared.state().forget(*until);
            self.shared.changed.notify_waiters();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::stream::conformance::{self, Feed, numbers};

    #[derive(Debug)]
    struct Sender(Option<StreamSender>);

    #[async_trait]
    impl Feed for Sender {
        async fn send(&mut self, numbers: RecordBatch) -> Result<()> {
            match &self.0 {
                Some(sender) => sender.send(numbers).await,
                None => Ok(()),
            }
        }
        async fn end(&mut self) -> Result<()> {
            self.0 = None;
            Ok(())
        }
    }

    #[tokio::test]
    async fn keeps_the_promises_of_a_source() {
        conformance::all(|| async {
            let (sender, source) = channel("s", 1_000);
            Ok((source, Sender(Some(sender))))
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn senders_wait_until_rows_are_durable() {
        let (sender, source) = channel("s", 3);
        sender.send(numbers(0..2).unwrap()).await.unwrap();
        assert!(sender.send(numbers(2..4).unwrap()).now_or_never().is_none(), "4 rows do not fit");
        assert!(sender.flush().now_or_never().is_none());
        let mut waiting = Box::pin(sender.send(numbers(2..9).unwrap()));
        assert!(waiting.as_mut().now_or_never().is_none());
        source.poll(&Positions::new(), 10).await.unwrap();
        assert!(waiting.as_mut().now_or_never().is_none(), "read is not durable");
        source.commit(&Positions::from([(PARTITION.into(), 2)])).await.unwrap();
        waiting.await.unwrap();
        let batches = source.poll(&Positions::from([(PARTITION.into(), 2)]), 100).await.unwrap().unwrap();
        assert_eq!(batches[0].offsets, (2..9).collect::<Vec<_>>(), "what waited in vain was not sent");
        source.commit(&Positions::from([(PARTITION.into(), 9)])).await.unwrap();
        sender.flush().await.unwrap();
        drop(source);
        assert_eq!(sender.send(numbers(0..1).unwrap()).await.unwrap_err().kind(), mlops_core::ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn rows_follow_those_of_the_process_before() {
        let (sender, source) = channel("s", 10);
        sender.send(numbers(0..2).unwrap()).await.unwrap();
        let batches = source.poll(&Positions::from([(PARTITION.into(), 500)]), 10).await.unwrap().unwrap();
        assert_eq!(batches[0].offsets, [500, 501]);
    }
}
