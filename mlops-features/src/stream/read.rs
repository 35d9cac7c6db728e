//! What reading streams of servers is like for every kind of server: the settings, whose turn it is, and for how long a
//! server that is away is waited for.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mlops_core::{ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

#[cfg(any(feature = "nats", feature = "redis"))]
use super::Positions;
use super::{
    MessageDecoder, StreamBatch,
    message::{Entry, batch},
};

/// Most messages of one read, whatever the settings say.
const MESSAGES_MAX: usize = 1 << 20;

/// Shortest and longest look for new messages, whatever the settings say.
const WAIT_MIN: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Pause between two tries while a server is away: it is doubled from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How streams of any server are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadSettings {
    /// Most messages of one read of one partition, 1 to 2^20.
    pub messages_max: usize,
    /// How long one look for new messages lasts, 1 millisecond to 1 hour. Where partitions are not all waited at
    /// together, it bounds how late a message of another one is seen.
    pub wait: Duration,
    /// Longest wait for a connection, and for an answer beyond `wait`.
    pub timeout: Duration,
    /// How long the server may stay away before that is an error; meanwhile the connection is made again, with pauses
    /// that grow to 2 seconds, and reading goes on where it was.
    pub patience: Duration,
    /// Whether to wait for messages that are still to come; if not, the stream ends with the last message.
    pub follow: bool,
    /// Whether messages that were removed before they were read are skipped, with a warning, instead of being an error.
    pub skip_missing: bool,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self {
            messages_max: 10_000,
            wait: Duration::from_millis(500),
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(30),
            follow: true,
            skip_missing: false,
        }
    }
}

impl ReadSettings {
    /// The same within their bounds.
    fn bounded(self) -> Self {
        let messages_max = self.messages_max.clamp(1, MESSAGES_MAX);
        Self { messages_max, wait: self.wait.clamp(WAIT_MIN, WAIT_MAX), ..self }
    }
}

/// A source as far as it does not depend on the kind of its server.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) name: Arc<str>,
    pub(super) settings: ReadSettings,
    decoder: Arc<dyn MessageDecoder>,
    /// Counts the looks.
    turn: AtomicUsize,
}

impl Reader {
    pub(super) fn new(name: &str, decoder: Arc<dyn MessageDecoder>, settings: ReadSettings) -> Self {
        Self { name: name.into(), settings: settings.bounded(), decoder, turn: AtomicUsize::new(0) }
    }

    /// All of `partitions`, each time beginning with another one, so that none waits for ever behind others.
    pub(super) fn in_turn<T>(&self, partitions: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut partitions: Vec<T> = partitions.into_iter().collect();
        let first = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(partitions.len()).unwrap_or(0);
        partitions.rotate_left(first);
        partitions
    }

    /// What was found, as rows where it can be.
    pub(super) fn rows(&self, found: impl IntoIterator<Item = (Arc<str>, Vec<Entry>)>) -> Result<Vec<StreamBatch>> {
        let rows = |(partition, entries)| batch(&partition, self.decoder.as_ref(), entries);
        found.into_iter().map(rows).collect()
    }

    /// Goes round until there are rows; without following, a round that finds nothing is the end. A server that is away
    /// is asked again for as long as patience lasts.
    pub(super) async fn poll<F>(&self, mut round: impl FnMut() -> F) -> Result<Option<Vec<StreamBatch>>>
    where
        F: Future<Output = Result<Vec<StreamBatch>>>,
    {
        let (mut away_since, mut pause) = (None, PAUSE_MIN);
        loop {
            let begun = Instant::now();
            match round().await {
                Ok(batches) if !batches.is_empty() => return Ok(Some(batches)),
                Ok(_) if !self.settings.follow => return Ok(None),
                Ok(_) => {
                    (away_since, pause) = (None, PAUSE_MIN);
                    // A round that had nothing to wait for, as without any partition.
                    if begun.elapsed() < WAIT_MIN {
                        tokio::time::sleep(PAUSE_MIN).await;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    let since = *away_since.get_or_insert(begun);
                    let left = self.settings.patience.saturating_sub(since.elapsed());
                    if left.is_zero() {
                        return Err(error);
                    }
                    tracing::warn!(source = &*self.name, %error, "the stream cannot be read; it is tried again");
                    tokio::time::sleep(pause.min(left)).await;
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Tells of every partition up to where it is durable. One that fails does not keep the others back; the first error is
/// told.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(super) async fn tell_each<'a, F>(
    positions: &'a Positions,
    mut tell: impl FnMut(&'a Arc<str>, u64) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let mut told = Ok(());
    for (partition, from) in positions.iter().filter(|(_, from)| **from > 0) {
        told = told.and(tell(partition, *from).await);
    }
    told
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use arrow_schema::Schema;
    use mlops_core::Error;

    use super::*;
    use crate::stream::JsonMessages;

    fn reader(settings: ReadSettings) -> Reader {
        Reader::new("s", Arc::new(JsonMessages::new(Arc::new(Schema::empty()))), settings)
    }

    #[test]
    fn each_turn_begins_with_another_partition() {
        let reader = reader(ReadSettings::default());
        let turns: Vec<Vec<u32>> = (0..4).map(|_| reader.in_turn([1, 2, 3])).collect();
        assert_eq!(turns, [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
        assert_eq!(reader.in_turn(Vec::<u32>::new()), [0; 0]);
    }

    #[test]
    fn settings_are_brought_within_their_bounds() {
        let none = ReadSettings { messages_max: 0, wait: Duration::ZERO, ..ReadSettings::default() };
        let none = reader(none).settings;
        assert_eq!((none.messages_max, none.wait), (1, WAIT_MIN));
        let all = ReadSettings { messages_max: usize::MAX, wait: Duration::MAX, ..ReadSettings::default() };
        let all = reader(all).settings;
        assert_eq!((all.messages_max, all.wait), (MESSAGES_MAX, WAIT_MAX));
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_asked_again_until_patience_ends() {
        let patience = Duration::from_millis(400);
        let reader = reader(ReadSettings { patience, ..ReadSettings::default() });
        let (asked, begun) = (AtomicU32::new(0), Instant::now());
        let away = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Err(Error::unavailable("away"))
        };
        assert_eq!(reader.poll(away).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(begun.elapsed() >= patience);
        // At 0, 50, 150, 350 and 400 milliseconds, or less often on a machine that is slow.
        assert!((2..=5).contains(&asked.load(Ordering::Relaxed)), "{asked:?} times");
        let other = reader.poll(|| async { Err(Error::failed_precondition("gone")) }).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::FailedPrecondition);
    }

    #[tokio::test]
    async fn rounds_that_do_not_wait_are_not_one_after_another_without_a_pause() {
        let reader = reader(ReadSettings::default());
        let asked = AtomicU32::new(0);
        let nothing = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        };
        assert!(tokio::time::timeout(Duration::from_millis(220), reader.poll(nothing)).await.is_err());
        assert!((1..=5).contains(&asked.load(Ordering::Relaxed)), "{asked:?} times");
    }

    #[cfg(any(feature = "nats", feature = "redis"))]
    #[tokio::test]
    async fn one_that_cannot_be_told_does_not_keep_the_others_back() {
        let positions: Positions = [("0".into(), 0), ("1".into(), 5), ("2".into(), 7)].into_iter().collect();
        let told = std::sync::Mutex::new(Vec::new());
        let tell = |partition: &Arc<str>, from: u64| {
            told.lock().unwrap().push((partition.to_string(), from));
            let failed = from == 5;
            async move { if failed { Err(Error::unavailable("no")) } else { Ok(()) } }
        };
        assert!(tell_each(&positions, tell).await.is_err());
        assert_eq!(*told.lock().unwrap(), [("1".to_owned(), 5), ("2".to_owned(), 7)]);
    }
}
