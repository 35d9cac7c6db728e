//! What a read found: values, and for each of them why it is as it is.

use arrow_array::{Array, ArrayRef};
use mlops_core::Timestamp;

use super::resolved::Place;

/// Why a value is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeatureStatus {
    /// There is a value.
    Present,
    /// The entity's newest row has no value here, or the code of an on-demand view gave none.
    NullValue,
    /// The entity was never seen, or its key is null.
    NotFound,
    /// The entity's newest row is older than the view's time to live.
    OutsideMaxAge,
}

/// The features of some entities.
#[derive(Debug, Clone)]
pub struct OnlineFeatures {
    pub(super) columns: Vec<ArrayRef>,
    /// None for what is computed on demand.
    pub(super) sources: Vec<Option<(usize, Place)>>,
    pub(super) views: Vec<Sightings>,
}

/// For every entity row, what one view knew of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sightings {
    pub(super) rows: Vec<Sighting>,
    /// The same for windows, which live by events and not by the newest row.
    pub(super) windows: Vec<Sighting>,
}

/// What a view knew of one entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sighting {
    Never,
    Expired(i64),
    Alive(i64),
}

impl OnlineFeatures {
    /// One column per feature of the plan, in its order, one row per entity.
    #[must_use]
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// Why the value of `feature` (by position) at `row` is as it is; not found beyond the answer.
    #[must_use]
    pub fn status(&self, feature: usize, row: usize) -> FeatureStatus {
        let present = self.columns.get(feature).is_some_and(|column| row < column.len() && column.is_valid(row));
        match self.sighting(feature, row) {
            _ if present => FeatureStatus::Present,
            _ if self.source(feature).is_none() && row < self.rows() => FeatureStatus::NullValue,
            Sighting::Never => FeatureStatus::NotFound,
            Sighting::Expired(_) => FeatureStatus::OutsideMaxAge,
            Sighting::Alive(_) => FeatureStatus::NullValue,
        }
    }

    /// The time of the newest event that `feature` (by position) knows of at `row`.
    #[must_use]
    pub fn event_timestamp(&self, feature: usize, row: usize) -> Option<Timestamp> {
        match self.sighting(feature, row) {
            Sighting::Never => None,
            Sighting::Expired(time) | Sighting::Alive(time) => Some(Timestamp::from_micros(time)),
        }
    }

    /// Which view, and whether its windows, a feature is of: features of one source share their event timestamps. None
    /// for what is computed on demand, which has no event.
    pub(crate) fn source(&self, feature: usize) -> Option<(usize, bool)> {
        let (view, place) = self.sources.get(feature)?.as_ref()?;
        Some((*view, matches!(place, Place::Window(_))))
    }

    fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.len())
    }

    fn sighting(&self, feature: usize, row: usize) -> Sighting {
        let Some((view, windows)) = self.source(feature) else { return Sighting::Never };
        let seen = self.views.get(view).map(|seen| if windows { &seen.windows } else { &seen.rows });
        seen.and_then(|seen| seen.get(row)).copied().unwrap_or(Sighting::Never)
    }
}
