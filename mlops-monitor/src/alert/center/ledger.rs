//! The durable half of a center: a router whose every change is in the journal before anybody
//! relies on it, and the notifications that are still to be delivered.
//!
//! Invariant: what the journal holds, replayed, gives the state in memory; a notification is in
//! the journal before a sink sees it, and stays until that sink took it or it became a dead letter.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    path::Path,
};

use mlops_core::{Error, Event, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    dead_letters::{DeadLetter, DeadLetters},
    journal::{Journal, io_error},
    settings::CenterSettings,
};
use crate::alert::{
    matcher::Matcher,
    notification::{Alert, Notification},
    observation::Observation,
    router::{AlertRouter, Observed, RouterState, Sighting},
    silence::Silence,
};

/// One frame of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    /// Everything up to here.
    Snapshot { router: RouterState, pending: BTreeMap<u64, Pending>, next_id: u64 },
    /// Observations that were taken.
    Seen { now: Timestamp, sightings: Vec<Sighting> },
    /// A silence was added.
    Silenced { silence: Silence },
    /// A silence was ended.
    SilenceExpired { id: String, now: Timestamp },
    /// Alerts were ended and forgotten.
    Retired { matchers: Vec<Matcher>, now: Timestamp },
    /// Time passed, and notifications came of it.
    Ticked { now: Timestamp, told: Vec<Notification>, sinks: Vec<String> },
    /// A dead letter is to be sent again.
    Revived { notification: Notification, sinks: Vec<String> },
    /// A sink took a notification, or it became a dead letter.
    Settled { id: u64, sink: String },
}

/// A notification, and who still has to take it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pending {
    notification: Notification,
    sinks: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    router: AlertRouter,
    pending: BTreeMap<u64, Pending>,
    next_id: u64,
    journal: Journal,
    dead: DeadLetters,
    sinks: Vec<String>,
    compact_bytes: u64,
    /// Size of the journal after it was last compacted.
    compacted_bytes: u64,
    pending_max: usize,
    lock: Option<File>,
}

/// The names of a center's files within its directory.
const LOCK_FILE: &str = "lock";
const JOURNAL_FILE: &str = "journal";
const DEAD_LETTERS_FILE: &str = "dead_letters.jsonl";

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK_FILE);
    let open = fs::create_dir_all(directory).and_then(|()| File::create(&path));
    let file = open.map_err(|error| io_error(&path, "opened", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::failed_precondition(format!(
            "alert directory {} is in use by another process; give each its own",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(io_error(&path, "locked", error)),
    }
}

/// What the frames of a journal add up to.
#[derive(Debug)]
struct Replayed {
    router: AlertRouter,
    pending: BTreeMap<u64, Pending>,
    next_id: u64,
}

impl Replayed {
    fn apply(&mut self, text: &str) -> Result<()> {
        let record: Record = serde_json::from_str(text).map_err(|error| {
            Error::data_loss("the alert journal has a record that makes no sense").with_source(error)
        })?;
        match record {
            Record::Snapshot { router, pending, next_id } => {
                self.router = self.router.clone().with_state(router);
                (self.pending, self.next_id) = (pending, next_id);
            }
            Record::Seen { now, sightings } => sightings.iter().for_each(|sighting| {
                self.router.take(sighting, now);
            }),
            // Settings may have become stricter since; what was accepted then is not an error now.
            Record::Silenced { silence } => drop(self.router.silence(silence)),
            Record::SilenceExpired { id, now } => drop(self.router.expire_silence(&id, now)),
            Record::Retired { matchers, now } => drop(self.router.retire(&matchers, now)),
            Record::Ticked { now, told, sinks } => {
                // With other settings than at the time, the router may tell more: that must not be lost.
                let more = self.router.tick(now).into_iter().filter(|notification| !told.contains(notification));
                let more: Vec<Notification> = more.collect();
                told.into_iter().chain(more).for_each(|notification| self.add(notification, &sinks));
            }
            Record::Revived { notification, sinks } => self.add(notification, &sinks),
            Record::Settled { id, sink } => settle(&mut self.pending, id, &sink),
        }
        // Events are notices; who missed one sees the state.
        drop(self.router.take_events());
        Ok(())
    }

    fn add(&mut self, notification: Notification, sinks: &[String]) {
        add(&mut self.pending, &mut self.next_id, notification, sinks);
    }
}

fn add(pending: &mut BTreeMap<u64, Pending>, next_id: &mut u64, notification: Notification, sinks: &[String]) {
    let sinks: BTreeSet<String> = sinks.iter().cloned().collect();
    if !sinks.is_empty() {
        pending.insert(*next_id, Pending { notification, sinks });
    }
    *next_id = next_id.saturating_add(1);
}

fn settle(pending: &mut BTreeMap<u64, Pending>, id: u64, sink: &str) {
    if let Some(entry) = pending.get_mut(&id) {
        entry.sinks.remove(sink);
        if entry.sinks.is_empty() {
            pending.remove(&id);
        }
    }
}

impl Ledger {
    /// Opens the directory and replays the journal. Notifications for sinks that are no more
    /// become dead letters.
    pub(super) fn open(
        directory: &Path,
        router: AlertRouter,
        settings: &CenterSettings,
        sinks: Vec<String>,
        now: Timestamp,
    ) -> Result<Self> {
        let lock = lock(directory)?;
        let mut replayed = Replayed { router, pending: BTreeMap::new(), next_id: 1 };
        let journal = Journal::open(directory.join(JOURNAL_FILE), |text| replayed.apply(text))?;
        let Replayed { router, pending, next_id } = replayed;
        let dead = DeadLetters::new(directory.join(DEAD_LETTERS_FILE), settings.dead_letters_bytes_max);
        let mut ledger = Self {
            router,
            pending,
            next_id,
            journal,
            dead,
            sinks,
            compact_bytes: settings.journal_bytes_max,
            compacted_bytes: 0,
            pending_max: settings.pending_max,
            lock: Some(lock),
        };
        ledger.bury_orphans(now)?;
        Ok(ledger)
    }

    fn bury_orphans(&mut self, now: Timestamp) -> Result<()> {
        let pairs = self.pending.iter().flat_map(|(id, entry)| entry.sinks.iter().map(|sink| (*id, sink.clone())));
        let orphans: Vec<(u64, String)> = pairs.filter(|(_, sink)| !self.sinks.contains(sink)).collect();
        let gone = Error::not_found("the center has no sink of this name any more");
        orphans.iter().try_for_each(|(id, sink)| self.bury(*id, sink, &gone, now))
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        let text = serde_json::to_string(record)
            .map_err(|error| Error::internal("an alert record cannot be written as JSON").with_source(error))?;
        self.journal.append(&text)
    }

    /// Takes observations; each has its own outcome. Those accepted are durable when this returns.
    ///
    /// # Errors
    /// Those of the journal; then nothing is acknowledged.
    pub(super) fn observe(&mut self, observations: &[Observation], now: Timestamp) -> Result<Vec<Result<Observed>>> {
        self.journal.check_usable()?;
        let (mut outcomes, mut sightings) = (Vec::with_capacity(observations.len()), Vec::new());
        for observation in observations {
            outcomes.push(self.router.read(observation, now).map(|sighting| {
                let observed = self.router.take(&sighting, now);
                sightings.push(sighting);
                observed
            }));
        }
        if !sightings.is_empty() {
            self.record(&Record::Seen { now, sightings })?;
            self.compact_if_large()?;
        }
        Ok(outcomes)
    }

    pub(super) fn silence(&mut self, silence: Silence) -> Result<String> {
        let id = self.router.silence(silence.clone())?;
        self.record(&Record::Silenced { silence })?;
        Ok(id)
    }

    pub(super) fn expire_silence(&mut self, id: &str, now: Timestamp) -> Result<()> {
        self.router.expire_silence(id, now)?;
        self.record(&Record::SilenceExpired { id: id.to_owned(), now })
    }

    pub(super) fn retire(&mut self, matchers: Vec<Matcher>, now: Timestamp) -> Result<usize> {
        let retired = self.router.retire(&matchers, now)?;
        self.record(&Record::Retired { matchers, now })?;
        Ok(retired)
    }

    /// Lets time pass; gives how many notifications came of it. While too many are pending nothing
    /// new is told: the router keeps what there is to tell, and no notification is dropped. When the
    /// journal fails on them they are delivered all the same, and once more after a restart.
    pub(super) fn tick(&mut self, now: Timestamp) -> Result<usize> {
        if self.pending.len() >= self.pending_max {
            return Ok(0);
        }
        self.journal.check_usable()?;
        let told = self.router.tick(now);
        if !self.router.moved() {
            return Ok(0);
        }
        let (count, sinks) = (told.len(), self.sinks.clone());
        let recorded = self.record(&Record::Ticked { now, told: told.clone(), sinks });
        let Self { pending, next_id, sinks, .. } = self;
        told.into_iter().for_each(|notification| add(pending, next_id, notification, sinks));
        recorded?;
        self.compact_if_large()?;
        Ok(count)
    }

    /// The oldest notification that a sink still has to take.
    pub(super) fn next(&self, sink: &str) -> Option<(u64, Notification)> {
        let mut waiting = self.pending.iter().filter(|(_, entry)| entry.sinks.contains(sink));
        waiting.next().map(|(id, entry)| (*id, entry.notification.clone()))
    }

    /// A sink took a notification. When the journal fails, it takes it again after a restart, not
    /// before.
    pub(super) fn settle(&mut self, id: u64, sink: &str) -> Result<()> {
        let recorded = self.record(&Record::Settled { id, sink: sink.to_owned() });
        settle(&mut self.pending, id, sink);
        recorded?;
        self.compact_if_large()
    }

    /// A sink will not take a notification: it becomes a dead letter.
    pub(super) fn bury(&mut self, id: u64, sink: &str, error: &Error, now: Timestamp) -> Result<()> {
        if let Some(entry) = self.pending.get(&id) {
            let notification = entry.notification.clone();
            let (sink, error) = (sink.to_owned(), error.chain());
            self.dead.append(&DeadLetter { at: now, sink, error, notification })?;
        }
        self.settle(id, sink)
    }

    pub(super) fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.dead.list()
    }

    /// Makes dead letters pending again, each for its sink; letters of sinks that are no more go
    /// to all there are. They leave the file only when they are in the journal.
    pub(super) fn revive(&mut self) -> Result<usize> {
        let letters = self.dead.list()?;
        for letter in &letters {
            let known = self.sinks.contains(&letter.sink);
            let sinks = if known { vec![letter.sink.clone()] } else { self.sinks.clone() };
            let notification = letter.notification.clone();
            self.record(&Record::Revived { notification: notification.clone(), sinks: sinks.clone() })?;
            add(&mut self.pending, &mut self.next_id, notification, &sinks);
        }
        self.dead.clear()?;
        Ok(letters.len())
    }

    fn compact_if_large(&mut self) -> Result<()> {
        let bytes = self.journal.bytes();
        if bytes > self.compact_bytes && bytes > self.compacted_bytes.saturating_mul(2) {
            self.compact()?;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        let (router, pending) = (self.router.state().clone(), self.pending.clone());
        let snapshot = Record::Snapshot { router, pending, next_id: self.next_id };
        let text = serde_json::to_string(&snapshot)
            .map_err(|error| Error::internal("the state of alerts cannot be written as JSON").with_source(error))?;
        self.journal.replace(&text)?;
        self.compacted_bytes = self.journal.bytes();
        Ok(())
    }

    pub(super) fn router(&self) -> &AlertRouter {
        &self.router
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        self.router.take_events()
    }

    pub(super) fn told_firing(&self) -> Vec<Alert> {
        self.router.told_firing()
    }

    /// Gives the directory up; nothing is written any more.
    pub(super) fn close(&mut self) {
        self.journal.close();
        self.lock = None;
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_writable(&self) -> bool {
        self.journal.check_usable().is_ok()
    }

    pub(super) fn journal_bytes(&self) -> u64 {
        self.journal.bytes()
    }
}

#[cfg(test)]
mod tests;
