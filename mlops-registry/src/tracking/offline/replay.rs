//! The sending side: the journal's entries in their order, as calls of a store.
//!
//! Invariant: the note that something was sent is written after the store has taken it, so a crash in between only sends
//! again what changes nothing. An error of the store ends the replay where it stands, except the refusal of single
//! values, which could never succeed: they are written to a file beside the journal, counted, and the replay goes on.

use std::{fs::OpenOptions, io::Write as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mlops_core::{Error, ErrorKind, Result, RunId};

use super::{
    OFFLINE_RUN_TAG,
    entry::{Entry, Start, metrics},
    logger::{OfflineLogger, OfflineSettings, Seen, Shared, State},
};
use crate::{
    artifacts::ArtifactStore,
    limits::{BATCH_ITEMS_MAX, BATCH_METRICS_MAX, BATCH_TAGS_MAX},
    tracking::{
        Batch, CreateRun, ExperimentId, PARENT_RUN_TAG, RunUpdate, TrackingStore, TrackingStoreExt as _, run_tagged,
    },
};

/// Most entries that are read at once.
const CHUNK_ENTRIES_MAX: usize = 256;
/// No more entries are read when those at hand take so many bytes.
const CHUNK_BYTES_MAX: u64 = 8 << 20;
/// Most refusals that a report tells about one by one.
const REFUSALS_MAX: usize = 100;

/// What a replay did.
#[derive(Debug, Default)]
pub struct ReplayReport {
    /// Runs that were created or found again.
    pub runs: u64,
    /// Entries that were sent, refused ones among them.
    pub entries: u64,
    /// Entries that the store refuses as wrong, now in the file beside the journal whose name ends in `.refused`.
    pub refused: u64,
    /// The first hundred of them.
    pub refusals: Vec<Refusal>,
}

/// Something that the store refuses to take.
#[derive(Debug)]
pub struct Refusal {
    /// The run, by its id in the journal.
    pub run: RunId,
    /// Why.
    pub error: Error,
}

impl OfflineLogger {
    /// Sends everything that is in the journal, and empties it; calls while another replay runs wait for it. Runs may go
    /// on logging. All replays of a journal must go to the same store. Files of runs are put into `artifacts`, which must
    /// be the store that the tracking store's locations are in.
    ///
    /// # Errors
    /// Those of the store other than `InvalidArgument` of single values; what was sent before stays sent.
    /// `FailedPrecondition` when runs have files and there is no artifact store, and when a run or experiment was deleted
    /// there: restore it.
    pub async fn replay(&self, store: &dyn TrackingStore, artifacts: Option<&ArtifactStore>) -> Result<ReplayReport> {
        self.replay_with(store, artifacts, |_| ()).await
    }

    /// As [`OfflineLogger::replay`], and tells how far it is after every call of the store.
    ///
    /// # Errors
    /// As [`OfflineLogger::replay`].
    pub async fn replay_with(
        &self,
        store: &dyn TrackingStore,
        artifacts: Option<&ArtifactStore>,
        progress: impl FnMut(&ReplayReport) + Send + Sync,
    ) -> Result<ReplayReport> {
        let _alone = self.shared.replaying.lock().await;
        let mut replay = Replay { shared: &self.shared, store, artifacts, report: ReplayReport::default(), progress };
        while let Some((entries, to)) = next_chunk(&self.shared).await? {
            replay.send(&entries).await?;
            self.shared.on_disk(move |state, _| state.note(&Entry::Sent { to })).await?;
        }
        Ok(replay.report)
    }
}

/// The next entries that wait and where they end; empties the journal and gives none when nothing waits.
async fn next_chunk(shared: &Arc<Shared>) -> Result<Option<(Vec<Entry>, u64)>> {
    let work = |state: &mut State, _: &OfflineSettings| {
        let sent = state.sent;
        let (mut entries, mut at) = (Vec::new(), sent);
        let room = |entries: &Vec<Entry>, at: u64| {
            entries.is_empty() || entries.len() < CHUNK_ENTRIES_MAX && at.saturating_sub(sent) < CHUNK_BYTES_MAX
        };
        while room(&entries, at) {
            let Some((text, end)) = state.journal.read(at)? else { break };
            let entry = Entry::from_bytes(&text)?;
            if !matches!(entry, Entry::Sent { .. } | Entry::Known { .. }) {
                entries.push(entry);
            }
            at = end;
        }
        if !entries.is_empty() {
            return Ok(Some((entries, at)));
        }
        if state.journal.bytes() > state.sent {
            state.runs.retain(|_, seen| !seen.finished);
            let known = |(run, seen): (&RunId, &Seen)| {
                Some(Entry::Known { run: run.clone(), there: seen.there.clone()? }.to_bytes())
            };
            let notes = state.runs.iter().filter_map(known).collect::<Result<Vec<_>>>()?;
            state.journal.replace(&notes)?;
            state.sent = state.journal.bytes();
        }
        Ok(None)
    };
    shared.on_disk(work).await
}

struct Replay<'a, P> {
    shared: &'a Arc<Shared>,
    store: &'a dyn TrackingStore,
    artifacts: Option<&'a ArtifactStore>,
    report: ReplayReport,
    progress: P,
}

impl<P: FnMut(&ReplayReport) + Send + Sync> Replay<'_, P> {
    async fn send(&mut self, entries: &[Entry]) -> Result<()> {
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let (together, then) = rest.split_at(together(rest).clamp(1, rest.len()));
            match self.send_group(together).await {
                Err(error) if error.kind() == ErrorKind::InvalidArgument && together.len() > 1 => {
                    for single in together {
                        let outcome = self.send_group(std::slice::from_ref(single)).await;
                        self.settle(single, outcome).await?;
                    }
                }
                outcome => self.settle(first, outcome).await?,
            }
            self.report.entries += together.len() as u64;
            (self.progress)(&self.report);
            rest = then;
        }
        Ok(())
    }

    /// Sets aside what the store calls wrong, unless all that follows of the run would be lost; any other error is final.
    async fn settle(&mut self, entry: &Entry, outcome: Result<()>) -> Result<()> {
        let (Err(error), Some(run)) = (outcome.as_ref(), entry.written()) else { return outcome };
        if error.kind() != ErrorKind::InvalidArgument {
            return outcome;
        }
        let line = serde_json::to_vec(&serde_json::json!({ "error": error.message(), "entry": entry }))
            .map_err(|error| Error::internal("a refused entry cannot be written").with_source(error))?;
        self.shared.on_disk(move |state, _| set_aside(state.journal.path(), line)).await?;
        tracing::warn!(run = %run, %error, "the store refused what was logged offline");
        self.report.refused += 1;
        if let (Err(error), true) = (outcome, self.report.refusals.len() < REFUSALS_MAX) {
            self.report.refusals.push(Refusal { run: run.clone(), error });
        }
        Ok(())
    }

    async fn send_group(&mut self, group: &[Entry]) -> Result<()> {
        match group {
            [Entry::Start(start)] => self.start(start).await,
            [Entry::Inputs { run, inputs }] => self.store.log_inputs(&self.there(run).await?, inputs).await,
            [Entry::File { run, path, bytes }] => self.file(run, path, bytes).await,
            [Entry::Finish { run, status, ended }] => {
                let there = self.there(run).await?;
                // A clock that was set back must not make the run end before it began.
                let ended = (*ended).max(self.store.run(&there).await?.started);
                let update = RunUpdate { status: Some(*status), ended: Some(ended), name: None };
                self.store.update_run(&there, update).await.map(drop)
            }
            logs => self.log(logs).await,
        }
    }

    async fn log(&self, logs: &[Entry]) -> Result<()> {
        let (mut batch, mut of) = (Batch::default(), None);
        for entry in logs {
            if let Entry::Log { run, points, params, tags } = entry {
                batch.metrics.extend(metrics(points)?);
                batch.params.extend_from_slice(params);
                batch.tags.extend_from_slice(tags);
                of = Some(run);
            }
        }
        match of {
            Some(run) => self.store.log_batch(&self.there(run).await?, &batch).await,
            None => Ok(()),
        }
    }

    /// Creates a run, unless a replay before has done so.
    async fn start(&mut self, start: &Start) -> Result<()> {
        let experiment = self.store.ensure_experiment(&start.experiment).await?;
        let there = match self.find(experiment, start.run.as_str()).await? {
            Some(there) => there,
            None => {
                let mut tags = start.tags.clone();
                tags.insert(OFFLINE_RUN_TAG.to_owned(), start.run.to_string());
                if let Some(parent) = tags.get_mut(PARENT_RUN_TAG)
                    && let Some(there) = self.find(experiment, parent).await?
                {
                    *parent = there.to_string();
                }
                let run = CreateRun {
                    name: Some(start.name.clone()).filter(|name| !name.is_empty()),
                    user: start.user.clone(),
                    started: Some(start.started),
                    tags,
                    ..CreateRun::new(experiment)
                };
                self.store.create_run(run).await?.id
            }
        };
        let known = Entry::Known { run: start.run.clone(), there };
        self.shared.on_disk(move |state, _| state.note(&known)).await?;
        self.report.runs += 1;
        Ok(())
    }

    /// The run that a run of a journal became; none when it is none of a journal.
    async fn find(&self, experiment: ExperimentId, run: &str) -> Result<Option<RunId>> {
        if !run.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        Ok(run_tagged(self.store, &[experiment], OFFLINE_RUN_TAG, run).await?.map(|found| found.id.clone()))
    }

    async fn file(&self, run: &RunId, path: &str, bytes: &str) -> Result<()> {
        let artifacts = self.artifacts.ok_or_else(|| {
            Error::failed_precondition(format!(
                "run {run} logged file {path:?} offline; give the replay the artifact store that it belongs to"
            ))
        })?;
        let bytes = STANDARD.decode(bytes).map_err(|error| {
            Error::data_loss(format!("file {path:?} of run {run} is damaged in the offline journal")).with_source(error)
        })?;
        let record = self.store.run(&self.there(run).await?).await?;
        artifacts.put(&format!("{}/{path}", artifacts.path_of(&record.artifact_uri)?), bytes.into()).await
    }

    /// The id under which the store knows a run.
    async fn there(&self, run: &RunId) -> Result<RunId> {
        let id = run.clone();
        let there = self.shared.on_disk(move |state, _| Ok(state.runs.get(&id).and_then(|seen| seen.there.clone())));
        there.await?.ok_or_else(|| Error::data_loss(format!("the offline journal does not say how run {run} began")))
    }
}

/// How many of the first entries make one batch: values of one run, of which at most one sets params.
fn together(entries: &[Entry]) -> usize {
    let Some(Entry::Log { run: first, .. }) = entries.first() else { return 1 };
    let (mut points_sum, mut params_sum, mut tags_sum) = (0, 0, 0);
    let fits = |entry: &&Entry| match entry {
        Entry::Log { run, points, params, tags } if run == first => {
            let second_params = params_sum > 0 && !params.is_empty();
            points_sum += points.len();
            params_sum += params.len();
            tags_sum += tags.len();
            let sum = points_sum + params_sum + tags_sum;
            !second_params && points_sum <= BATCH_METRICS_MAX && tags_sum <= BATCH_TAGS_MAX && sum <= BATCH_ITEMS_MAX
        }
        _ => false,
    };
    entries.iter().take_while(fits).count()
}

/// Adds a line to the file of what was refused.
fn set_aside(journal: &std::path::Path, mut line: Vec<u8>) -> Result<()> {
    let path = journal.with_added_extension("refused");
    line.push(b'\n');
    let write = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(&line)?;
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| {
        Error::unavailable(format!("{} cannot be written: {error}", path.display())).with_source(error)
    })
}
