//! One who watches a run.
//!
//! Invariant: nothing is fetched before it is asked for, so a slow watcher costs no memory; it notices at its next step that
//! it was left behind.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use mlops_core::{Result, RunId};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};

use super::{
    Shared, TailCursor, TailEvent, TailItem,
    change::is_over,
    feed::{Feed, Next},
};

/// The events of one run, from [`LiveTail::tail`](super::LiveTail::tail). Dropping it ends the watch.
#[derive(Debug)]
pub struct Tail {
    shared: Arc<Shared>,
    run: RunId,
    feed: Arc<Feed>,
    seen: u64,
    first: Option<TailItem>,
    over: bool,
    changed: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Tail {
    pub(super) async fn begin(
        shared: Arc<Shared>,
        permit: OwnedSemaphorePermit,
        run: RunId,
        feed: Arc<Feed>,
        after: Option<TailCursor>,
    ) -> Result<Self> {
        let (changed, closed) = (feed.subscribe(), shared.closed.subscribe());
        let mut tail = Self { shared, run, feed, seen: 0, first: None, over: false, changed, closed, _permit: permit };
        let state = tail.state().await?;
        let resumed = after.filter(|after| after.epoch == tail.shared.epoch).map(|after| after.number);
        match resumed.map(|seen| (seen, tail.feed.next(seen))) {
            None | Some((_, Next::Missed)) => tail.first = Some(state),
            Some((seen, next)) => (tail.seen, tail.over) = (seen, matches!(next, Next::Over)),
        }
        Ok(tail)
    }

    /// Whether nothing is left to tell.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over && self.first.is_none()
    }

    /// The next event, when there is one; none when the run has ended or was deleted, or the tail was closed. Giving up
    /// while waiting loses nothing.
    ///
    /// # Errors
    /// Those of [`TrackingStore::run`](crate::TrackingStore::run).
    pub async fn next(&mut self) -> Result<Option<TailItem>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while !self.over && !*self.closed.borrow() {
            match self.feed.next(self.seen) {
                Next::Change(number, change) => {
                    (self.seen, self.over) = (number, change.is_end());
                    return Ok(Some(TailItem { cursor: self.cursor(), event: TailEvent::Change(change) }));
                }
                Next::Missed => return self.state().await.map(Some),
                Next::Over => self.over = true,
                Next::Wait => self.wait().await?,
            }
        }
        Ok(None)
    }

    /// All events.
    pub fn into_stream(self) -> impl Stream<Item = Result<TailItem>> + Send + 'static {
        stream::try_unfold(self, |mut tail| async move { Ok(tail.next().await?.map(|item| (item, tail))) })
    }

    fn cursor(&self) -> TailCursor {
        TailCursor { epoch: self.shared.epoch, number: self.seen }
    }

    /// The run as it stands. What is written meanwhile is told afterwards, perhaps again.
    async fn state(&mut self) -> Result<TailItem> {
        let at = self.feed.last();
        let record = self.shared.store.run(&self.run).await?;
        self.feed.compare(at, record.clone(), &self.shared.last, &self.shared.settings);
        (self.seen, self.over) = (at, is_over(&record));
        Ok(TailItem { cursor: self.cursor(), event: TailEvent::State(Box::new(record)) })
    }

    /// Until something changed, or it is time to look.
    async fn wait(&mut self) -> Result<()> {
        let every = Duration::from_millis(self.shared.settings.poll_ms);
        tokio::select! {
            // Both senders live as long as this does.
            _ = self.changed.changed() => return Ok(()),
            _ = self.closed.changed() => return Ok(()),
            () = sleep(every) => {}
        }
        if let Some(at) = self.feed.begin_reading(every) {
            let record = self.shared.store.run(&self.run).await?;
            self.feed.compare(at, record, &self.shared.last, &self.shared.settings);
        }
        Ok(())
    }
}
