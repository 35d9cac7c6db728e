//! Which version answers, and which one gets a copy.

use std::{sync::Arc, time::Duration};

use arrow_array::{Array, cast::AsArray};
use mlops_core::{Error, Model, Result, Version};

use super::{InferOptions, Wanted};
use crate::{
    executor::Priority,
    repository::{Batching, Entry, LoadedVersion},
    rollout::Variant,
    server::{ActiveRollout, Inner, arm::Chosen},
};

/// A request that knows who answers it.
pub(super) struct Routed {
    pub(super) entry: Arc<Entry>,
    pub(super) version: Arc<LoadedVersion>,
    pub(super) variant: Variant,
    pub(super) propensity: Option<f64>,
    pub(super) context: Vec<f64>,
    /// Where it counts; none for a request that was not routed by chance.
    pub(super) rollout: Option<Arc<ActiveRollout>>,
    /// Gets a copy of the request.
    pub(super) shadow: Option<Arc<LoadedVersion>>,
    pub(super) request_id: Arc<str>,
    pub(super) timeout: Duration,
    pub(super) priority: Priority,
    pub(super) batching: Batching,
    pub(super) started: Duration,
}

impl Routed {
    /// The model that answers rows.
    ///
    /// # Errors
    /// `Internal` for one on raw tensors.
    pub(super) fn model(&self) -> Result<&dyn Model> {
        self.version.model.rows().ok_or_else(|| Error::internal("a model on raw tensors was given rows"))
    }
}

impl Inner {
    pub(super) fn route(
        &self,
        wanted: Wanted,
        options: InferOptions,
        sticky: Option<String>,
        started: Duration,
    ) -> Routed {
        let request_id: Arc<str> = options.request_id.unwrap_or_else(|| self.next_request_id()).into();
        let priority = options.priority;
        let rollout = wanted.state.rollout.clone().filter(|active| active.rollout.is_active() && !wanted.pinned);
        let key = options.routing_key.or(sticky);
        let forced = options.variant.filter(|variant| *variant != Variant::Pinned);
        let loaded = |version: &Version| wanted.state.versions.get(version).cloned();
        let (mut version, mut shadow) = (wanted.described_by, None);
        let mut chosen = Chosen { variant: Variant::Champion, propensity: None };
        if wanted.pinned {
            chosen.variant = Variant::Pinned;
        } else if let Some(active) = &rollout {
            let by_chance = || active.choose(key.as_deref().unwrap_or(&request_id), &request_id, &options.context);
            let choice = forced.map_or_else(by_chance, |variant| Chosen { variant, propensity: None });
            let candidates = &active.rollout.candidates;
            let place = active.rollout.arm(choice.variant).and_then(|arm| arm.checked_sub(1));
            if let Some(candidate) = place.and_then(|place| candidates.get(place)).and_then(loaded) {
                version = candidate;
                chosen = choice;
            } else if place.is_none() {
                chosen.propensity = choice.propensity;
            }
            if forced.is_none() && active.mirrors(&request_id) {
                shadow = candidates.first().and_then(loaded);
            }
        }
        // Who asks for a side is no random sample of those who get it.
        let rollout = rollout.filter(|_| forced.is_none());
        let mut timeout = Duration::from_millis(self.settings.timeout_ms);
        timeout = timeout.min(wanted.entry.config.timeout.unwrap_or(timeout)).min(options.timeout.unwrap_or(timeout));
        let Chosen { variant, propensity } = chosen;
        let batching = wanted.entry.batching(&wanted.state);
        let context = options.context;
        Routed {
            entry: wanted.entry,
            version,
            variant,
            propensity,
            context,
            rollout,
            shadow,
            request_id,
            timeout,
            priority,
            batching,
            started,
        }
    }
}

pub(super) fn sticky_name(wanted: &Wanted) -> Option<&str> {
    wanted.state.rollout.as_ref()?.rollout.settings.sticky_by.as_deref()
}

/// The first value as text.
pub(super) fn key_text(values: &dyn Array) -> Option<String> {
    if values.is_empty() || values.is_null(0) {
        return None;
    }
    match values.as_binary_opt::<i32>() {
        Some(bytes) => Some(String::from_utf8_lossy(bytes.value(0)).into_owned()),
        None => arrow_cast::display::array_value_to_string(values, 0).ok(),
    }
}
