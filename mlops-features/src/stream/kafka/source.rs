//! The source: which topic, from where on, and what becomes of messages that are gone.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::FuturesUnordered};
use mlops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{
    cluster::{Cluster, Known, OUT_OF_RANGE, by_leader},
    connection::Limits,
    messages::{Found, Want},
    records::{Fault, Message, Records, read},
    server::KafkaServer,
    wire::Malformed,
};
use crate::stream::{
    MessageDecoder, Positions, ReadSettings, StreamBatch, StreamSource, given_name::NameRule, message::Entry,
    read::Reader,
};

/// Longest look for new messages where several brokers lead: each of them is waited for.
const WAIT_OF_SEVERAL: Duration = Duration::from_millis(100);

const TOPIC: NameRule = NameRule {
    thing: "topic of Kafka",
    bytes_max: 249,
    allows: |letter| letter.is_ascii_alphanumeric() || "._-".contains(letter),
    allowed: "letters, digits and . _ -",
};

/// Where a partition begins of which nothing is durable yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// With the first message that there is.
    #[default]
    Earliest,
    /// With the first message that comes after the source was made; a partition that is added later begins with its
    /// first one. A source that is made again before anything of a partition is durable begins after what came
    /// meanwhile.
    Latest,
}

/// How a topic of Kafka is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KafkaSourceSettings {
    /// How any stream is read. The partitions that one broker leads are waited at together; where several brokers lead,
    /// a look lasts 100 milliseconds at most. A broker that does not answer holds up the others for up to `timeout`.
    #[serde(flatten)]
    pub read: ReadSettings,
    /// About how many bytes of messages are read at once of all partitions, as they come and as they lie in memory when
    /// they are expanded. No batch of a producer may have more.
    pub bytes_max: usize,
    /// Where a partition begins of which nothing is durable yet.
    pub start: StartAt,
}

impl Default for KafkaSourceSettings {
    fn default() -> Self {
        Self { read: ReadSettings::default(), bytes_max: 64 << 20, start: StartAt::Earliest }
    }
}

/// A topic of one Kafka cluster; its partitions are named by their numbers.
///
/// A topic that was removed and made again under the same name is noticed when a partition has fewer messages than are
/// durable, or fewer partitions; otherwise give the source another name. The same holds for messages that brokers lost,
/// as by the election of a leader that had not all of them (`unclean.leader.election.enable`): others may stand at their
/// offsets, which is not noticed. Messages that compaction removes are no loss: a newer one has their
/// key.
#[derive(Debug)]
pub struct KafkaSource {
    reader: Reader,
    cluster: Cluster,
    bytes_max: usize,
    /// Where partitions begin of which nothing is durable, if not with the first message.
    starts: BTreeMap<i32, u64>,
    /// Messages that were read and may not have been given yet.
    ahead: Mutex<BTreeMap<i32, Ahead>>,
}

/// What was read of a partition: all that there is from one offset up to another.
struct Ahead {
    from: u64,
    messages: Vec<Message>,
    next: u64,
    /// Where the messages ended when they were read.
    end: u64,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, messages, next, end } = self;
        let mut text = f.debug_struct("Ahead");
        text.field("from", from).field("messages", &messages.len()).field("next", next).field("end", end).finish()
    }
}

impl Ahead {
    /// Whether it begins where something is wanted.
    fn covers(&self, position: u64) -> bool {
        (self.from..=self.next).contains(&position)
    }

    /// Keeps what is at or after `position`.
    fn let_go(&mut self, position: u64) {
        let at = self.messages.partition_point(|message| message.offset < position);
        self.messages = self.messages.split_off(at);
        self.from = position;
    }

    fn from(&self, position: u64) -> &[Message] {
        let at = self.messages.partition_point(|message| message.offset < position);
        self.messages.get(at..).unwrap_or_default()
    }
}

/// A partition, its name and the offset of its next message.
#[derive(Debug, Clone)]
struct Place {
    partition: i32,
    name: Arc<str>,
    position: u64,
    /// Whether messages from the position on must not be gone.
    begun: bool,
}

impl KafkaSource {
    /// Connects to `server`. The messages of `topic` are rows by their values; keys are not read.
    ///
    /// # Errors
    /// `InvalidArgument` for what can be no topic, `NotFound` for one that is not there, `Unavailable` when no broker
    /// can be reached, `PermissionDenied` when they refuse, `FailedPrecondition` for brokers before 2.1.
    pub async fn connect(
        server: KafkaServer,
        name: &str,
        topic: &str,
        decoder: Arc<dyn MessageDecoder>,
        settings: KafkaSourceSettings,
    ) -> Result<Self> {
        TOPIC.check(topic)?;
        let reader = Reader::new(name, decoder, settings.read.clone());
        let (client, timeout, bytes_max) = (Arc::clone(&reader.name), reader.settings.timeout, settings.bytes_max);
        let cluster = Cluster::new(server, topic, Limits { client, timeout, bytes_max });
        let known = cluster.known().await?;
        let mut starts = BTreeMap::new();
        if settings.start == StartAt::Latest {
            for partition in known.partitions() {
                starts.insert(partition, cluster.ends(&known, partition).await?.1);
            }
        }
        Ok(Self { reader, cluster, bytes_max, starts, ahead: Mutex::default() })
    }

    /// What there is from the positions on, and what comes within one wait where there is nothing.
    async fn round(&self, positions: &Positions, rows_max: usize) -> Result<Vec<StreamBatch>> {
        let known = self.cluster.known().await?;
        let places = self.places(&known, positions)?;
        loop {
            let given = self.give(&places, rows_max);
            if !given.is_empty() {
                return self.reader.rows(given);
            }
            if self.fetch(&known, &places, Duration::ZERO).await? {
                continue;
            }
            if !self.reader.settings.follow && self.is_at_end(&places) {
                return Ok(Vec::new());
            }
            match (self.fetch(&known, &places, self.reader.settings.wait).await?, self.reader.settings.follow) {
                (true, _) => {}
                (false, true) => return Ok(Vec::new()),
                (false, false) => {
                    let about = self.cluster.about(None);
                    return Err(Error::unavailable(format!("{about} has messages that its brokers do not give")));
                }
            }
        }
    }

    fn places(&self, known: &Known, positions: &Positions) -> Result<Vec<Place>> {
        let place = |partition: i32| {
            let name: Arc<str> = partition.to_string().into();
            let durable = positions.get(&name).copied().filter(|position| *position > 0);
            let start = self.starts.get(&partition).copied();
            let position = durable.or(start).unwrap_or(0);
            Place { partition, name, position, begun: durable.is_some() || start.is_some() }
        };
        let places: Vec<Place> = known.partitions().map(place).collect();
        let gone =
            |(name, position): &(&Arc<str>, &u64)| **position > 0 && places.iter().all(|place| place.name != **name);
        if let Some((name, position)) = positions.iter().find(gone) {
            return Err(Error::failed_precondition(format!(
                "{} has {} partitions, but messages up to {} of partition {name} are durable here: it was made anew; \
                 read it under another source name to take what is there",
                self.cluster.about(None),
                places.len(),
                position - 1
            )));
        }
        Ok(self.reader.in_turn(places))
    }

    /// Messages that were read already.
    fn give(&self, places: &[Place], rows_max: usize) -> Vec<(Arc<str>, Vec<Entry>)> {
        let (ahead, mut left, mut given) = (self.ahead(), rows_max.max(1), Vec::new());
        for place in places {
            let known = behind(&ahead, place);
            let most = left.min(self.reader.settings.messages_max);
            let messages = known.map(|known| known.from(place.position)).unwrap_or_default();
            let entries: Vec<Entry> = messages.iter().take(most).map(entry).collect();
            left -= entries.len();
            if !entries.is_empty() {
                given.push((Arc::clone(&place.name), entries));
            }
        }
        given
    }

    /// Reads on behind what is known, and tells whether that led any further. Where some brokers answer and others are
    /// away, those that answer are enough. What was given is let go.
    async fn fetch(&self, known: &Known, places: &[Place], wait: Duration) -> Result<bool> {
        let wants: Vec<Want> = {
            let mut ahead = self.ahead();
            let next = |place: &Place| behind(&ahead, place).map_or(place.position, |known| known.next);
            let wants: Vec<Want> =
                places.iter().map(|place| Want { partition: place.partition, from: next(place) }).collect();
            ahead.retain(|partition, known| match places.iter().find(|place| place.partition == *partition) {
                Some(place) if known.covers(place.position) => {
                    known.let_go(place.position);
                    true
                }
                _ => false,
            });
            wants
        };
        let share = (self.bytes_max / wants.len().max(1)).max(1);
        let leaders = by_leader(known, &wants);
        let wait = if leaders.len() > 1 { wait.min(WAIT_OF_SEVERAL) } else { wait };
        let ask = async |(leader, wants): &(Option<i32>, Vec<Want>)| {
            self.cluster.fetch(known, (*leader, wants), share, wait).await
        };
        let mut asked: FuturesUnordered<_> = leaders.iter().map(ask).collect();
        let (mut further, mut left, mut failed) = (false, self.bytes_max, Vec::new());
        while let Some(answer) = asked.next().await {
            let found = answer.unwrap_or_else(|error| {
                failed.push(error);
                Vec::new()
            });
            for found in found {
                let at = |place: &&Place| place.partition == found.partition;
                let want = wants.iter().find(|want| want.partition == found.partition);
                let (Some(place), Some(want)) = (places.iter().find(at), want) else { continue };
                match self.take(known, place, want.from, found, left).await {
                    Ok((led, bytes)) => (further, left) = (further | led, left.saturating_sub(bytes)),
                    Err(error) => failed.push(error),
                }
            }
        }
        // What does not go away by itself is told first, whatever else can be read.
        failed.sort_by_key(|error| error.kind() == ErrorKind::Unavailable);
        match failed.into_iter().next() {
            Some(error) if !further || error.kind() != ErrorKind::Unavailable => Err(error),
            Some(error) => {
                tracing::warn!(source = &*self.reader.name, %error, "some partitions cannot be read; others are");
                Ok(true)
            }
            None => Ok(further),
        }
    }

    /// Takes what was found of a partition from `from` on, at most about `left` bytes of it, and tells whether that led
    /// any further and how many bytes it took. Where the next batch has more, but would fit alone, it is left.
    async fn take(&self, known: &Known, place: &Place, from: u64, found: Found, left: usize) -> Result<(bool, usize)> {
        let end = u64::try_from(found.end).unwrap_or(0);
        let Records { messages, next, bytes } = match found.code {
            0 => {
                let reading = move || read(found.records, from, &found.aborted, left);
                let panicked = |_| Error::internal("reading batches of messages panicked");
                match tokio::task::spawn_blocking(reading).await.map_err(panicked)? {
                    Err(Fault::TooLarge) if left < self.bytes_max => return Ok((false, 0)),
                    read => read.map_err(|fault| {
                        let about = self.cluster.about(Some(place.partition));
                        unreadable(&format!("{about} at message {from}"), self.bytes_max, fault)
                    })?,
                }
            }
            OUT_OF_RANGE => {
                let next = self.after_what_is_gone(known, place, from).await?;
                Records { messages: Vec::new(), next, bytes: 0 }
            }
            code => {
                self.cluster.doubt();
                return Err(match self.cluster.refused(code) {
                    // Its leader does not know of it: it was moved or removed, which the next question tells.
                    error if error.kind() == ErrorKind::NotFound => Error::unavailable(error.message().to_owned()),
                    error => error,
                });
            }
        };
        let led = next > from;
        self.ahead().insert(place.partition, Ahead { from: place.position, messages, next, end: end.max(next) });
        Ok((led, bytes))
    }

    /// Where a partition goes on whose next message is not there.
    async fn after_what_is_gone(&self, known: &Known, place: &Place, from: u64) -> Result<u64> {
        let (first, next) = self.cluster.ends(known, place.partition).await?;
        let about = self.cluster.about(Some(place.partition));
        if from > next {
            return Err(Error::failed_precondition(format!(
                "{about} ends before message {next}, but messages up to {} are durable here: it was made anew, or its \
                 brokers lost messages; read it under another source name to take what is there",
                from - 1
            )));
        }
        if from >= first {
            return Err(Error::unavailable(format!("{about} does not give message {from}, which it has")));
        }
        let last = first - 1;
        if !place.begun {
            return Ok(first);
        }
        if self.reader.settings.skip_missing {
            tracing::warn!(from, last, "{about} no longer has messages that were not read yet; they are skipped");
            return Ok(first);
        }
        Err(Error::failed_precondition(format!(
            "{about} no longer has messages {from} to {last}, which were not read yet: they were deleted or removed by \
             the topic's retention; set skip_missing to go on with message {first}, and let the topic keep more"
        )))
    }

    /// Whether all was given that there was.
    fn is_at_end(&self, places: &[Place]) -> bool {
        let ahead = self.ahead();
        places.iter().all(|place| behind(&ahead, place).is_some_and(|known| known.next >= known.end))
    }

    fn ahead(&self) -> MutexGuard<'_, BTreeMap<i32, Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was read of a partition, if it is of where something is wanted.
fn behind<'a>(ahead: &'a BTreeMap<i32, Ahead>, place: &Place) -> Option<&'a Ahead> {
    ahead.get(&place.partition).filter(|known| known.covers(place.position))
}

/// A message's value. A tombstone has none, and is no row: it is known by its key.
fn entry(message: &Message) -> Entry {
    let key = || message.key.clone().unwrap_or_default();
    let value =
        message.value.clone().ok_or_else(|| (key(), "no row: the message is a tombstone, it has no value".to_owned()));
    (message.offset, value)
}

fn unreadable(at: &str, bytes_max: usize, fault: Fault) -> Error {
    match fault {
        Fault::Malformed(Malformed(why)) => Error::data_loss(format!("{at}: {why}")),
        Fault::Codec(why) => Error::data_loss(format!("{at}: {why}")),
        Fault::Format(format) => Error::failed_precondition(format!(
            "{at}: messages are in format {format}; only format 2, of producers and brokers since 0.11, is read"
        )),
        Fault::TooLarge => Error::new(
            ErrorKind::ResourceExhausted,
            format!("{at}: messages take more than {bytes_max} bytes when they are expanded; raise bytes_max"),
        ),
    }
}

#[async_trait]
impl StreamSource for KafkaSource {
    fn name(&self) -> &str {
        &self.reader.name
    }

    async fn partitions(&self) -> Result<Vec<Arc<str>>> {
        Ok(self.cluster.known().await?.partitions().map(|partition| partition.to_string().into()).collect())
    }

    async fn poll(&self, positions: &Positions, rows_max: usize) -> Result<Option<Vec<StreamBatch>>> {
        self.reader.poll(|| self.round(positions, rows_max)).await
    }

    /// Brokers are told nothing: how long they keep messages is the topic's retention.
    async fn commit(&self, _positions: &Positions) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use arrow_schema::{DataType, Field, Schema};
    use tokio::time::Instant;

    use super::*;
    use crate::stream::{
        JsonMessages,
        kafka::{
            fake::{Asked, Fake, fetched, metadata, offset},
            records::tests::Kept,
        },
    };

    const NOW: Duration = Duration::ZERO;

    fn settings(follow: bool) -> KafkaSourceSettings {
        let read = ReadSettings { follow, patience: Duration::ZERO, ..ReadSettings::default() };
        KafkaSourceSettings { read, ..KafkaSourceSettings::default() }
    }

    async fn connect(ports: &[u16], settings: KafkaSourceSettings) -> Result<KafkaSource> {
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let field = Field::new("n", DataType::Int64, true);
        let decoder = Arc::new(JsonMessages::new(Arc::new(Schema::new(vec![field]))));
        KafkaSource::connect(KafkaServer::at(&addresses.join(",")).unwrap(), "s", "t", decoder, settings).await
    }

    fn one() -> Vec<u8> {
        Kept::of(0, &["{\"n\": 5551}"]).bytes()
    }

    fn at(positions: &[(&str, u64)]) -> Positions {
        positions.iter().map(|(name, position)| ((*name).into(), *position)).collect()
    }

    /// Two brokers, each leading one partition: one has a message, the other has lost those that are wanted.
    #[tokio::test]
    async fn what_is_lost_is_told_whatever_others_have() {
        let (good, bad) = (Fake::new().await, Fake::new().await);
        let ports = [good.port, bad.port];
        good.answer(move |asked| match asked {
            Asked::Fetch { wants, .. } if wants[0].from == 0 => (NOW, fetched(0, &[(0, 0, 1, &one())])),
            Asked::Fetch { .. } => (NOW, fetched(0, &[(0, 0, 1, &[])])),
            _ => metadata(&ports, 0, &[0, 1]),
        });
        bad.answer(move |asked| match asked {
            Asked::Metadata => metadata(&ports, 0, &[0, 1]),
            Asked::Offset { first } => offset(if first { 10 } else { 20 }),
            Asked::Fetch { .. } => (NOW, fetched(0, &[(1, OUT_OF_RANGE, 20, &[])])),
        });
        let source = connect(&ports, settings(true)).await.unwrap();
        let error = source.poll(&at(&[("1", 5)]), 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("messages 5 to 9"), "{error}");
    }

    #[tokio::test]
    async fn a_partition_of_another_broker_is_not_waited_for_long() {
        let (busy, idle) = (Fake::new().await, Fake::new().await);
        let ports = [busy.port, idle.port];
        let asked_busy = AtomicU32::new(0);
        busy.answer(move |asked| match asked {
            Asked::Fetch { .. } if asked_busy.fetch_add(1, Ordering::Relaxed) > 1 => {
                (NOW, fetched(0, &[(0, 0, 1, &one())]))
            }
            Asked::Fetch { wait, .. } => (wait, fetched(0, &[(0, 0, 0, &[])])),
            _ => metadata(&ports, 0, &[0, 1]),
        });
        idle.answer(move |asked| match asked {
            Asked::Fetch { wait, .. } => (wait, fetched(0, &[(1, 0, 0, &[])])),
            _ => metadata(&ports, 0, &[0, 1]),
        });
        let mut slow = settings(true);
        slow.read.wait = Duration::from_secs(20);
        let source = connect(&ports, slow).await.unwrap();
        let begun = Instant::now();
        assert_eq!(source.poll(&Positions::new(), 100).await.unwrap().unwrap().len(), 1);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(!format!("{source:?}").contains("5551"), "{source:?}");
    }

    /// Partitions that together take more than is allowed are read one after another.
    #[tokio::test]
    async fn all_that_is_expanded_at_once_is_bounded() {
        let fake = Fake::new().await;
        let ports = [fake.port];
        let values: Vec<&'static str> = vec!["{\"n\": 1}"; 100];
        let batch = Kept::of(0, &values).compressed().bytes();
        fake.answer(move |asked| match asked {
            Asked::Fetch { wants, .. } => {
                let records = |want: &Want| if want.from == 0 { batch.as_slice() } else { &[] };
                let parts: Vec<_> = wants.iter().map(|want| (want.partition, 0, 100, records(want))).collect();
                (NOW, fetched(0, &parts))
            }
            _ => metadata(&ports, 0, &[0; 6]),
        });
        let bytes_max = 25_000;
        let source = connect(&ports, KafkaSourceSettings { bytes_max, ..settings(false) }).await.unwrap();
        let (mut positions, mut rows, mut polls) = (Positions::new(), 0, 0);
        while let Some(batches) = source.poll(&positions, 10_000).await.unwrap() {
            let held: usize = source.ahead().values().map(|ahead| ahead.messages.len() * size_of::<Message>()).sum();
            assert!((1..=bytes_max).contains(&held), "{held}");
            for batch in batches {
                rows += batch.records.num_rows();
                positions.insert(batch.partition, 100);
            }
            polls += 1;
        }
        assert_eq!(rows, 600);
        assert!(polls > 2, "{polls}");
        let source = connect(&ports, KafkaSourceSettings { bytes_max: 1_000, ..settings(false) }).await.unwrap();
        let error = source.poll(&Positions::new(), 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    }

    #[tokio::test]
    async fn a_broker_that_slows_us_down_is_not_at_its_end() {
        let fake = Fake::new().await;
        let ports = [fake.port];
        let asked_for = AtomicU32::new(0);
        fake.answer(move |asked| match asked {
            Asked::Fetch { .. } if asked_for.fetch_add(1, Ordering::Relaxed) % 4 < 3 => (NOW, fetched(20, &[])),
            Asked::Fetch { wants, .. } if wants[0].from == 0 => (NOW, fetched(0, &[(0, 0, 1, &one())])),
            Asked::Fetch { .. } => (NOW, fetched(0, &[(0, 0, 1, &[])])),
            _ => metadata(&ports, 0, &[0]),
        });
        let source = connect(&ports, settings(false)).await.unwrap();
        assert_eq!(source.poll(&Positions::new(), 100).await.unwrap().unwrap().len(), 1);
        assert!(source.poll(&at(&[("0", 1)]), 100).await.unwrap().is_none());
    }

    /// A broker may be new, or hang.
    #[tokio::test]
    async fn a_topic_is_known_if_one_broker_knows_it() {
        const UNKNOWN: i16 = 3;
        let (fresh, hanging, good) = (Fake::new().await, Fake::new().await, Fake::new().await);
        let ports = [fresh.port, hanging.port, good.port];
        fresh.answer(move |_| metadata(&ports, UNKNOWN, &[]));
        hanging.answer(move |_| (Duration::from_secs(60), Vec::new()));
        let forgets = Arc::new(AtomicU32::new(0));
        let told = Arc::clone(&forgets);
        good.answer(move |_| metadata(&ports, told.load(Ordering::Relaxed) as i16, &[2]));
        let begun = Instant::now();
        let mut patient = settings(true);
        patient.read.timeout = Duration::from_secs(20);
        let source = connect(&ports, patient).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        let error = connect(&ports[..1], settings(true)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        drop(source);
        let mut brief = settings(true);
        brief.read.timeout = Duration::from_millis(500);
        let source = connect(&ports, brief).await.unwrap();
        forgets.store(3, Ordering::Relaxed);
        source.cluster.doubt();
        assert_eq!(source.partitions().await.unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn what_is_gone_after_the_start_or_with_its_partition_is_told() {
        let fake = Fake::new().await;
        let ports = [fake.port];
        let asked_for = AtomicU32::new(0);
        fake.answer(move |asked| match asked {
            Asked::Metadata => metadata(&ports, 0, &[0]),
            // First where the source begins, then where the partition does.
            Asked::Offset { first: true } if asked_for.load(Ordering::Relaxed) == 0 => offset(0),
            Asked::Offset { first: false } if asked_for.fetch_add(1, Ordering::Relaxed) == 0 => offset(5),
            Asked::Offset { first } => offset(if first { 10 } else { 20 }),
            Asked::Fetch { .. } => (NOW, fetched(0, &[(0, OUT_OF_RANGE, 20, &[])])),
        });
        let latest = KafkaSourceSettings { start: StartAt::Latest, ..settings(true) };
        let source = connect(&ports, latest).await.unwrap();
        let error = source.poll(&Positions::new(), 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("messages 5 to 9"), "{error}");
        let error = source.poll(&at(&[("0", 12), ("7", 3)]), 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
        assert!(error.message().contains("up to 2 of partition 7"), "{error}");
    }
}
