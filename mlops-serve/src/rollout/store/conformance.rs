//! What every [`RolloutStore`] promises, as functions that panic when a promise is broken. Each takes a new, empty store.

#![allow(clippy::expect_used, reason = "a broken promise is a panic")]

use mlops_core::{Timestamp, Version};

use super::{Rollout, RolloutStore};
use crate::rollout::{Decision, RolloutSettings, RolloutStats};

/// All promises; `fresh` gives a new store each time.
///
/// # Panics
/// When a promise is broken.
pub async fn rollout_store<S: RolloutStore>(fresh: impl AsyncFn() -> S) {
    saving_replaces_and_repeats(&fresh().await).await;
    models_are_apart_and_in_order(&fresh().await).await;
    removing_is_for_good_and_repeats(&fresh().await).await;
}

/// A rollout of `model` in its first stage.
///
/// # Panics
/// When `model` is no name.
#[must_use]
pub fn rollout(model: &str) -> Rollout {
    let model = model.parse().expect("a name of a model");
    let planned = Rollout::new(model, Version(1), Version(2), RolloutSettings::default()).expect("valid settings");
    planned.started(Timestamp::from_micros(5))
}

/// The last state that was saved is the one that is read, whole.
///
/// # Panics
/// When it is not so.
pub async fn saving_replaces_and_repeats(store: &dyn RolloutStore) {
    assert_eq!(list(store).await, []);
    let first = rollout("fraud");
    store.save(&first).await.expect("saves");
    store.save(&first).await.expect("saves again");
    assert_eq!(list(store).await, std::slice::from_ref(&first));
    let next = first.apply(&Decision::Advance(0.5), &RolloutStats::default(), Timestamp::from_micros(9));
    store.save(&next).await.expect("saves the next state");
    assert_eq!(list(store).await, [next]);
}

/// Names of any letters are kept apart, and listed in order.
///
/// # Panics
/// When it is not so.
pub async fn models_are_apart_and_in_order(store: &dyn RolloutStore) {
    let mut rollouts = ["a b", "a_b", "A_B", "é", "z"].map(rollout).to_vec();
    for rollout in rollouts.iter().rev() {
        store.save(rollout).await.expect("saves");
    }
    rollouts.sort_by(|a, b| a.model.cmp(&b.model));
    assert_eq!(list(store).await, rollouts);
}

/// What was removed is not there any more; the others are.
///
/// # Panics
/// When it is not so.
pub async fn removing_is_for_good_and_repeats(store: &dyn RolloutStore) {
    let (gone, stays) = (rollout("gone"), rollout("stays"));
    store.remove(&gone.model).await.expect("removes what was never there");
    store.save(&gone).await.expect("saves");
    store.save(&stays).await.expect("saves");
    store.remove(&gone.model).await.expect("removes");
    store.remove(&gone.model).await.expect("removes again");
    assert_eq!(list(store).await, [stays]);
}

async fn list(store: &dyn RolloutStore) -> Vec<Rollout> {
    store.list().await.expect("lists")
}
