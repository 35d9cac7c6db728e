//! The loop from a source to a table.
//!
//! Per round: poll from the positions that the table has; judge every row; write the rejects, with the position after
//! them, into the quarantine; write the rest, with the same position, into the table; tell the source. Killed between
//! the two writes, the next run finds the quarantine ahead of the table and finishes exactly those rows, without
//! judging them anew: what is in quarantine stays out of the table, everything else goes in.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use mlops_core::{CheckOutcome, Error, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Positions, STREAM_NAME_BYTES_MAX, StreamBatch, StreamProgress, StreamSettings, StreamSource,
    lateness::Lateness,
    numbers::{Kept, Names, kept_position},
    rows::{Judge, Judged, Unfinished, check, pick, skip},
};
use crate::{
    definition::check_name,
    ingest::{Ingestor, reason},
    metrics::STREAM_LAG_SECONDS,
    table::{Appended, Commit, Table},
};

/// Most reasons that one announcement of rejected rows lists.
const REASONS_MAX: usize = 16;

/// Takes one stream into one table. One at a time: a second consumer of the same stream and table is refused by the
/// first commit that it makes, before anything is written twice.
#[derive(Debug)]
pub struct StreamIngestor {
    ingestor: Ingestor,
    source: Arc<dyn StreamSource>,
    settings: StreamSettings,
    progress: watch::Sender<StreamProgress>,
}

/// What is known of the stream between rounds.
#[derive(Debug)]
struct State {
    partitions: BTreeMap<Arc<str>, Partition>,
    lateness: Lateness,
}

#[derive(Debug)]
struct Partition {
    kept: Kept,
    /// The position as the quarantine's log has it.
    quarantined: Option<i64>,
    unfinished: Option<Unfinished>,
}

impl State {
    fn positions(&self) -> Positions {
        self.partitions.iter().map(|(name, partition)| (Arc::clone(name), partition.kept.offset())).collect()
    }
}

impl StreamIngestor {
    /// Takes `source` into the table of `ingestor`, by its checks.
    ///
    /// # Errors
    /// `InvalidArgument` for a stream name that is not valid or longer than [`STREAM_NAME_BYTES_MAX`].
    pub fn new(ingestor: Ingestor, source: Arc<dyn StreamSource>, settings: StreamSettings) -> Result<Self> {
        check_stream_name("stream name", source.name())?;
        Ok(Self { ingestor, source, settings, progress: watch::Sender::new(StreamProgress::default()) })
    }

    /// What is durable so far.
    #[must_use]
    pub fn progress(&self) -> StreamProgress {
        self.progress.borrow().clone()
    }

    /// Follows [`StreamIngestor::progress`]: it changes after every commit.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<StreamProgress> {
        self.progress.subscribe()
    }

    /// Takes rows in until `stop` is cancelled or the stream ends. A round that has begun is finished first. After an
    /// error, as after a crash, the next run goes on where the last commit was.
    ///
    /// # Errors
    /// `Conflict` when someone else consumes the stream into the same table; `InvalidArgument` for rows that do not
    /// fit the table; `DataLoss` when the source does not keep its promises; the errors of the source, the checks and
    /// the table.
    #[tracing::instrument(skip_all, fields(stream = self.source.name(), table = self.ingestor.table().name()))]
    pub async fn run(&self, stop: &CancellationToken) -> Result<StreamProgress> {
        let mut state = self.load().await?;
        self.tell(&state).await;
        loop {
            let positions = state.positions();
            let polled = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                polled = self.source.poll(&positions, self.settings.rows_per_commit_max.max(1)) => polled?,
            };
            let Some(batches) = polled else { break };
            self.take(&mut state, batches).await?;
            self.tell(&state).await;
        }
        Ok(self.progress())
    }

    async fn load(&self) -> Result<State> {
        let lateness = Lateness::new(self.settings.lateness_max);
        let mut state = State { partitions: BTreeMap::new(), lateness };
        for partition in self.source.partitions().await? {
            self.load_partition(&mut state, &partition).await?;
        }
        let version = self.ingestor.table().version().await?;
        self.progress.send_modify(|progress| {
            progress.positions = state.positions();
            progress.table_version = Some(version);
            progress.watermark = state.lateness.watermark();
            progress.late_dropped = dropped(&state);
        });
        Ok(state)
    }

    async fn load_partition(&self, state: &mut State, name: &Arc<str>) -> Result<()> {
        if state.partitions.contains_key(name) {
            return Ok(());
        }
        check_stream_name("partition", name)?;
        let stream = self.source.name();
        let kept = Kept::read(self.ingestor.table(), stream, name).await?;
        if let Some(newest) = kept.newest {
            state.lateness.restore(name, newest);
        }
        let quarantine = self.ingestor.quarantine();
        let quarantined = match quarantine.existing().await? {
            Some(table) => Kept::read(table, stream, name).await?,
            None => Kept::default(),
        };
        let unfinished = if quarantined.offset() > kept.offset() {
            let (from, until) = (kept.offset(), quarantined.offset());
            let mut rejected = quarantine.offsets(&group(stream, name), from, until).await?;
            rejected.sort_unstable();
            Some(Unfinished { until, rejected })
        } else {
            None
        };
        let quarantined = quarantined.position;
        state.partitions.insert(Arc::clone(name), Partition { kept, quarantined, unfinished });
        Ok(())
    }

    /// One round.
    async fn take(&self, state: &mut State, batches: Vec<StreamBatch>) -> Result<()> {
        let judge = Judge {
            timestamp: &self.settings.timestamp,
            timestamps: self.ingestor.timestamps(),
            policy: self.settings.late,
        };
        let mut judged: Vec<Judged> = Vec::with_capacity(batches.len());
        let is_new = |batch: &&StreamBatch| !state.partitions.contains_key(&batch.partition);
        let new: Vec<Arc<str>> = batches.iter().filter(is_new).map(|batch| Arc::clone(&batch.partition)).collect();
        for batch in batches {
            self.load_partition(state, &batch.partition).await?;
            let State { partitions, lateness } = state;
            let Some(partition) = partitions.get(&batch.partition) else { continue };
            let before = judged.iter().rfind(|judged| judged.partition == batch.partition);
            let position = before.map_or(partition.kept.offset(), |before| before.next);
            // A partition that was not listed was polled from its first row, whatever the table has of it already.
            let batch = if new.contains(&batch.partition) { skip(batch, position) } else { batch };
            check(self.source.name(), &batch, position)?;
            let batch = StreamBatch { records: self.ingestor.table().conform(&batch.records)?, ..batch };
            judged.push(judge.rows(&batch, position, partition.unfinished.as_ref(), lateness)?);
        }
        self.check_rows(&mut judged).await?;
        self.write_rejected(state, &judged).await?;
        self.write_kept(state, &judged).await
    }

    /// Moves the rows that break a rule from the kept to the rejected. A rule about the whole batch rejects all.
    async fn check_rows(&self, judged: &mut [Judged]) -> Result<()> {
        let fresh = |judged: &&mut Judged| !judged.checked && judged.kept.num_rows() > 0;
        let parts: Vec<RecordBatch> = judged.iter_mut().filter(fresh).map(|judged| judged.kept.clone()).collect();
        let Some(first) = parts.first() else { return Ok(()) };
        let all = concat_batches(&first.schema(), &parts)?;
        let CheckOutcome { failures, warnings } = self.ingestor.outcome(&all).await?;
        self.ingestor.log(&format!("stream/{}", self.source.name()), &warnings);
        if failures.is_empty() {
            return Ok(());
        }
        let mut reasons: Vec<Vec<String>> = vec![Vec::new(); all.num_rows()];
        for failure in &failures {
            let whole = 0..if failure.rows.is_empty() { all.num_rows() } else { 0 };
            for row in failure.rows.iter().copied().chain(whole) {
                reasons.get_mut(row).into_iter().for_each(|reasons| reasons.push(reason(failure)));
            }
        }
        let mut reasons = reasons.into_iter();
        for judged in judged.iter_mut().filter(fresh) {
            let of_rows: Vec<Vec<String>> = reasons.by_ref().take(judged.kept.num_rows()).collect();
            reject(judged, &of_rows)?;
        }
        Ok(())
    }

    /// Puts the rejects into the quarantine, once, together with the position after them.
    async fn write_rejected(&self, state: &mut State, judged: &[Judged]) -> Result<()> {
        let quarantine = self.ingestor.quarantine();
        let stream = self.source.name();
        let (mut parts, mut commit, mut reasons_seen, mut ends) =
            (Vec::new(), Commit::default(), Vec::new(), Positions::new());
        for judged in judged.iter().filter(|judged| !judged.rejected.is_empty()) {
            let id = format!("{}{}", group(stream, &judged.partition), judged.first);
            for (records, offsets, reasons) in &judged.rejected {
                parts.push(quarantine.rows(&id, records, reasons, offsets.iter().copied())?);
                reasons_seen.extend(reasons.iter().cloned());
            }
        }
        let Some(first) = parts.first() else { return Ok(()) };
        // Of a partition in which something was rejected, all that was judged in this round is settled.
        let rejecting: Vec<&Arc<str>> =
            judged.iter().filter(|judged| !judged.rejected.is_empty()).map(|judged| &judged.partition).collect();
        for judged in judged.iter().filter(|judged| rejecting.contains(&&judged.partition)) {
            ends.insert(Arc::clone(&judged.partition), judged.next);
        }
        for (name, next) in &ends {
            let Some(partition) = state.partitions.get(name) else { continue };
            let number = Names::of(stream, name).position;
            commit.expected.push((number.clone(), partition.quarantined));
            commit.set.push((number, kept_position(name, *next)?));
        }
        let rows = concat_batches(&first.schema(), &parts)?;
        self.append(quarantine.table().await?, commit, &rows).await?;
        for (name, next) in &ends {
            if let Some(partition) = state.partitions.get_mut(name) {
                partition.quarantined = Some(kept_position(name, *next)?);
            }
        }
        reasons_seen.sort_unstable();
        reasons_seen.dedup();
        reasons_seen.truncate(REASONS_MAX);
        let count = rows.num_rows() as u64;
        self.ingestor.rejected_rows(&format!("stream/{stream}"), count, reasons_seen).await;
        self.progress.send_modify(|progress| progress.quarantined += count);
        Ok(())
    }

    /// Puts the rest into the table, together with the positions after them.
    async fn write_kept(&self, state: &mut State, judged: &[Judged]) -> Result<()> {
        let (table, stream) = (self.ingestor.table(), self.source.name());
        let mut commit = Commit::default();
        let mut after: BTreeMap<Arc<str>, Kept> = BTreeMap::new();
        for judged in judged {
            let Some(partition) = state.partitions.get(&judged.partition) else { continue };
            let kept = after.entry(Arc::clone(&judged.partition)).or_insert(partition.kept);
            kept.position = Some(kept_position(&judged.partition, judged.next)?);
            kept.newest = state.lateness.newest(&judged.partition);
            kept.dropped = kept.dropped.saturating_add_unsigned(judged.late.dropped);
        }
        for (name, kept) in &after {
            let before = state.partitions.get(name).and_then(|partition| partition.kept.position);
            let Names { position, newest, dropped } = Names::of(stream, name);
            commit.expected.push((position.clone(), before));
            commit.set.extend(kept.position.map(|number| (position, number)));
            commit.set.extend(kept.newest.map(|number| (newest, number)));
            commit.set.extend((kept.dropped > 0).then_some((dropped, kept.dropped)));
        }
        let parts: Vec<&RecordBatch> = judged.iter().map(|judged| &judged.kept).collect();
        let rows = match parts.first() {
            Some(first) => concat_batches(&first.schema(), parts)?,
            None => return Ok(()),
        };
        let version = self.append(table, commit, &rows).await?;
        for (name, kept) in after {
            if let Some(partition) = state.partitions.get_mut(&name) {
                partition.kept = kept;
                partition.unfinished.take_if(|unfinished| kept.offset() >= unfinished.until);
            }
        }
        self.account(state, judged, &rows, version).await
    }

    async fn append(&self, table: &Table, commit: Commit, rows: &RecordBatch) -> Result<u64> {
        match table.append_if(commit, rows).await? {
            Appended::Committed(version) => Ok(version),
            Appended::Unexpected { name, found, .. } => Err(Error::conflict(format!(
                "table \"{}\" has {found:?} for {name}: someone else consumes stream \"{}\" into it; stop one of the two",
                table.name(),
                self.source.name()
            ))),
        }
    }

    /// Tells of a round that is durable.
    async fn account(&self, state: &State, judged: &[Judged], rows: &RecordBatch, version: u64) -> Result<()> {
        let (table, stream) = (self.ingestor.table().name(), self.source.name());
        let told = self.ingestor.told();
        let sum = |count: fn(&Judged) -> u64| judged.iter().map(count).sum::<u64>();
        let (accepted, dropped_now) = (sum(|judged| judged.late.accepted), sum(|judged| judged.late.dropped));
        told.rows(table, "late_accepted", accepted);
        told.rows(table, "late_dropped", dropped_now);
        let watermark = state.lateness.watermark();
        if let Some(watermark) = watermark {
            told.lag(STREAM_LAG_SECONDS, "stream", stream, watermark);
        }
        self.progress.send_modify(|progress| {
            progress.positions = state.positions();
            progress.table_version = Some(version);
            progress.commits += 1;
            progress.rows += rows.num_rows() as u64;
            progress.late_accepted += accepted;
            progress.late_quarantined += sum(|judged| judged.late.quarantined);
            progress.late_dropped = dropped(state);
            progress.watermark = watermark;
        });
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.ingestor.accepted(&format!("stream/{stream}@{version}"), rows, version, "accepted").await
    }

    /// Tells the source what it may forget. It is told again after the next round, so a failure is only logged.
    async fn tell(&self, state: &State) {
        if let Err(error) = self.source.commit(&state.positions()).await {
            tracing::warn!(stream = self.source.name(), %error, "a stream was not told how far it is durable");
        }
    }
}

fn dropped(state: &State) -> u64 {
    state.partitions.values().map(|partition| partition.kept.dropped.unsigned_abs()).sum()
}

/// What ids of rejected rows of a partition begin with.
fn group(stream: &str, partition: &str) -> String {
    format!("stream/{stream}/{partition}/")
}

/// Moves the rows that have reasons to the rejected.
fn reject(judged: &mut Judged, reasons: &[Vec<String>]) -> Result<()> {
    if reasons.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let broken = |row: usize| reasons.get(row).is_some_and(|reasons| !reasons.is_empty());
    let (rejected, offsets) = pick(&judged.kept, &judged.kept_offsets, broken)?;
    let kept = pick(&judged.kept, &judged.kept_offsets, |row| !broken(row))?;
    let reasons = reasons.iter().filter(|reasons| !reasons.is_empty()).map(|reasons| reasons.join("; ")).collect();
    judged.rejected.push((rejected, offsets, reasons));
    (judged.kept, judged.kept_offsets) = kept;
    Ok(())
}

fn check_stream_name(what: &str, name: &str) -> Result<()> {
    check_name(what, name)?;
    if name.len() > STREAM_NAME_BYTES_MAX {
        return Err(Error::invalid_argument(format!(
            "{what} is {} bytes long; at most {STREAM_NAME_BYTES_MAX} are allowed",
            name.len()
        )));
    }
    Ok(())
}
