//! What ensembles within each other share while one prediction runs: how deep they are, how many steps they may still
//! take, and which versions they ask.
//!
//! A reload can turn a model that an ensemble asks into one that asks the ensemble, and ensembles of ensembles multiply
//! their steps. The bounds end both with an error rather than with the thread's stack or the worker's time. Invariant: one
//! prediction asks one version of each model, however many ensembles ask for it.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use mlops_core::{Error, ModelName, Result, Version};

use crate::repository::{LoadedVersion, Peers};

/// Most ensembles within each other.
const DEPTH_MAX: usize = 16;
/// Most steps of one prediction, those of all ensembles within it together.
const STEPS_MAX: usize = 1_024;

thread_local! {
    static HERE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Where a thread is.
#[derive(Debug, Clone)]
struct Place {
    depth: usize,
    prediction: Arc<Prediction>,
}

/// What a model was asked for, and the version that answers.
type Choice = (Peers, ModelName, Option<Version>, Arc<LoadedVersion>);

#[derive(Debug, Default)]
struct Prediction {
    steps: AtomicUsize,
    chosen: Mutex<Vec<Choice>>,
}

/// A prediction of an ensemble in progress on this thread.
#[derive(Debug)]
pub(super) struct Inside {
    place: Place,
    before: Option<Place>,
}

impl Inside {
    /// Enters one ensemble more.
    ///
    /// # Errors
    /// `FailedPrecondition` when there are too many already.
    pub(super) fn enter() -> Result<Self> {
        let place = match HERE.with_borrow(Clone::clone) {
            Some(Place { depth, prediction }) => Place { depth: depth + 1, prediction },
            None => Place { depth: 1, prediction: Arc::default() },
        };
        if place.depth > DEPTH_MAX {
            return Err(Error::failed_precondition(format!(
                "ensembles ask each other more than {DEPTH_MAX} deep; does one ask itself?"
            )));
        }
        Ok(Self::at(place))
    }

    /// Goes on with the same prediction on another thread.
    pub(super) fn here(&self) -> Self {
        Self::at(self.place.clone())
    }

    fn at(place: Place) -> Self {
        Self { before: HERE.replace(Some(place.clone())), place }
    }

    /// Takes one step of those that the prediction may take.
    ///
    /// # Errors
    /// `FailedPrecondition` when it took them all.
    pub(super) fn begin_step(&self) -> Result<()> {
        if self.place.prediction.steps.fetch_add(1, Ordering::Relaxed) < STEPS_MAX {
            return Ok(());
        }
        Err(Error::failed_precondition(format!(
            "the prediction takes more than {STEPS_MAX} steps, with those of the ensembles that it asks; ask fewer"
        )))
    }

    /// The version that this prediction asks; see [`Peers::version`].
    ///
    /// # Errors
    /// As [`Peers::version`].
    pub(super) fn version(
        &self,
        peers: &Peers,
        model: &ModelName,
        version: Option<Version>,
        held: Option<&Arc<LoadedVersion>>,
    ) -> Result<Arc<LoadedVersion>> {
        let mut chosen = self.place.prediction.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(of, name, wanted, _): &&Choice| (of, name, wanted) == (peers, model, &version);
        if let Some((.., loaded)) = chosen.iter().find(same) {
            return Ok(Arc::clone(loaded));
        }
        let loaded = peers.version(model, version, held)?;
        chosen.push((peers.clone(), model.clone(), version, Arc::clone(&loaded)));
        Ok(loaded)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.set(self.before.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_through_the_nesting_and_over_threads_and_begin_anew() {
        for _ in 0..2 {
            let outer = Inside::enter().unwrap();
            (0..STEPS_MAX - 2).for_each(|_| outer.begin_step().unwrap());
            Inside::enter().unwrap().begin_step().unwrap();
            std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    let _inside = outer.here();
                    Inside::enter().unwrap().begin_step()
                });
                other.join().unwrap().unwrap();
            });
            assert!(Inside::enter().unwrap().begin_step().unwrap_err().message().contains("1024 steps"));
        }
    }
}
