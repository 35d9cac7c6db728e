//! Runs that were read lately: a page of runs that nobody has changed since costs a page of an index.
//!
//! Invariant: a run is given out only under the revision that a query has just read of its row. Whatever changes what a
//! record shows raises that revision in the same transaction ([`super::run::RunNumber::active`]), so what other processes
//! write is seen as if nothing were kept. (Programs from before there were revisions raise none: they may not write beside
//! this one.)

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use mlops_core::Metric;

use crate::tracking::record::{DatasetInput, RunRecord};

/// What a record and an entry of one of its maps take besides their texts, in bytes.
const RECORD_BYTES: usize = 700;
const ENTRY_BYTES: usize = 120;

/// A state of a run: its number, and how often it has been changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Revision {
    pub(super) run: i64,
    pub(super) number: i64,
}

/// The runs of the last reads, within a bound.
#[derive(Debug)]
pub(super) struct RunCache {
    bytes_max: usize,
    generations: Mutex<Generations>,
}

/// Two halves: what is asked for moves to the young one, and when that is full it becomes the old one, whose runs go.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<i64, Kept>,
    old: HashMap<i64, Kept>,
    young_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    revision: i64,
    bytes: usize,
    run: Arc<RunRecord>,
}

impl RunCache {
    /// One that keeps about `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, generations: Mutex::default() }
    }

    /// The runs that are kept in these states, by number.
    pub(super) fn get(&self, wanted: &[Revision]) -> HashMap<i64, Arc<RunRecord>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = HashMap::with_capacity(wanted.len());
        for Revision { run, number } in wanted {
            if let Some(kept) = generations.recall(*run, self.bytes_max).filter(|kept| kept.revision == *number) {
                found.insert(*run, Arc::clone(&kept.run));
            }
        }
        found
    }

    /// Keeps runs in the states that were read of them.
    pub(super) fn keep<'a>(&self, read: impl Iterator<Item = (Revision, &'a Arc<RunRecord>)>) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        for (Revision { run, number }, record) in read {
            let kept = Kept { revision: number, bytes: bytes_of(record), run: Arc::clone(record) };
            generations.add(run, kept, self.bytes_max);
        }
    }
}

impl Generations {
    fn recall(&mut self, run: i64, bytes_max: usize) -> Option<&Kept> {
        if let Some(kept) = self.old.remove(&run) {
            self.add(run, kept, bytes_max);
        }
        self.young.get(&run)
    }

    fn add(&mut self, run: i64, kept: Kept, bytes_max: usize) {
        let half = bytes_max / 2;
        if kept.bytes > half {
            return;
        }
        if self.young_bytes + kept.bytes > half {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        // Else an earlier state would come back over this one.
        self.old.remove(&run);
        self.young_bytes += kept.bytes;
        if let Some(before) = self.young.insert(run, kept) {
            self.young_bytes -= before.bytes;
        }
    }
}

/// About what a record takes.
fn bytes_of(run: &RunRecord) -> usize {
    let texts = |(key, value): (&String, &String)| ENTRY_BYTES + key.len() + value.len();
    let metric = |metric: &Metric| ENTRY_BYTES + 2 * metric.key.len();
    let dataset = |DatasetInput { dataset, tags }: &DatasetInput| {
        let long = [&dataset.schema, &dataset.profile].into_iter().flatten().map(String::len).sum::<usize>();
        2 * ENTRY_BYTES + dataset.name.len() + dataset.source.len() + long + tags.iter().map(texts).sum::<usize>()
    };
    RECORD_BYTES
        + run.name.len()
        + run.user.len()
        + run.artifact_uri.len()
        + run.params.iter().chain(&run.tags).map(texts).sum::<usize>()
        + run.metrics.values().map(metric).sum::<usize>()
        + run.datasets.iter().map(dataset).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mlops_core::{RunId, RunStatus, Timestamp};

    use super::*;
    use crate::ExperimentId;

    fn record(run: i64, name: &str) -> Arc<RunRecord> {
        Arc::new(RunRecord {
            id: RunId::new(format!("{run:032x}")).unwrap(),
            experiment: ExperimentId(0),
            name: name.to_owned(),
            user: String::new(),
            status: RunStatus::Running,
            started: Timestamp::from_millis(0),
            ended: None,
            artifact_uri: String::new(),
            deleted: false,
            params: BTreeMap::new(),
            metrics: BTreeMap::new(),
            tags: BTreeMap::new(),
            datasets: Vec::new(),
        })
    }

    fn keep(cache: &RunCache, run: i64, number: i64, record: &Arc<RunRecord>) {
        cache.keep([(Revision { run, number }, record)].into_iter());
    }

    #[test]
    fn a_run_is_found_in_its_state_alone() {
        let cache = RunCache::new(1 << 20);
        keep(&cache, 1, 4, &record(1, "then"));
        assert!(cache.get(&[Revision { run: 1, number: 5 }, Revision { run: 2, number: 4 }]).is_empty());
        assert_eq!(cache.get(&[Revision { run: 1, number: 4 }])[&1].name, "then");
        keep(&cache, 1, 5, &record(1, "now"));
        assert!(cache.get(&[Revision { run: 1, number: 4 }]).is_empty());
        assert_eq!(cache.get(&[Revision { run: 1, number: 5 }])[&1].name, "now");
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes_within_the_bound() {
        let one = bytes_of(&record(0, ""));
        let cache = RunCache::new(20 * one);
        let favourite = Revision { run: 0, number: 0 };
        keep(&cache, 0, 0, &record(0, ""));
        for run in 1..1_000 {
            keep(&cache, run, 0, &record(run, ""));
            assert_eq!(cache.get(&[favourite]).len(), 1, "after {run}");
            let held = cache.generations.lock().unwrap();
            assert!(held.young.len() + held.old.len() <= 20, "{} and {}", held.young.len(), held.old.len());
            assert_eq!(held.young_bytes, held.young.values().map(|kept| kept.bytes).sum::<usize>());
        }
        assert!(cache.get(&[Revision { run: 1, number: 0 }]).is_empty());
    }

    #[test]
    fn a_new_state_stays_when_the_half_with_the_old_one_is_full() {
        let one = bytes_of(&record(0, ""));
        let cache = RunCache::new(4 * one);
        keep(&cache, 0, 0, &record(0, ""));
        keep(&cache, 1, 0, &record(1, ""));
        keep(&cache, 0, 1, &record(0, ""));
        assert_eq!(cache.get(&[Revision { run: 0, number: 1 }]).len(), 1);
    }

    #[test]
    fn a_run_larger_than_half_the_bound_is_not_kept() {
        let cache = RunCache::new(4_000);
        keep(&cache, 1, 0, &record(1, &"n".repeat(2_000)));
        assert!(cache.get(&[Revision { run: 1, number: 0 }]).is_empty());
    }
}
