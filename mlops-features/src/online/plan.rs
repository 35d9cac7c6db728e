//! A question compiled once: which views are read, and where each feature lies in their records.

use std::{collections::BTreeMap, sync::Arc};

use arrow_schema::{Field, FieldRef};
use mlops_core::{Error, FeatureRef, Result};

use super::{ResolvedView, resolved::Place};
use crate::on_demand::{Expansion, OnDemandViews, Output};

/// The features of one kind of question, ready to be read again and again with [`super::OnlineReader::read`].
#[derive(Debug, Clone)]
pub struct ReadPlan {
    features: Arc<[FeatureRef]>,
    /// One field per feature, named after it.
    pub(super) fields: Vec<FieldRef>,
    /// For every feature, its view among `views` and what of it; none when it is computed on demand.
    pub(super) sources: Vec<Option<(usize, Place)>>,
    /// One field per feature that is read.
    pub(super) stored: Vec<FieldRef>,
    pub(super) views: Vec<PlannedView>,
    /// What is computed of the features that are read; none when they are the features that are asked for.
    pub(super) on_demand: Option<Arc<Expansion>>,
}

/// What is read of one view.
#[derive(Debug, Clone)]
pub(super) struct PlannedView {
    pub(super) view: Arc<ResolvedView>,
    /// Cell of the latest row and the stored feature that it becomes, by cell.
    pub(super) cells: Vec<(usize, usize)>,
    /// Aggregation and the stored feature that it becomes.
    pub(super) windows: Vec<(usize, usize)>,
    /// Time to live in microseconds.
    pub(super) ttl: Option<i64>,
}

impl ReadPlan {
    pub(crate) fn new(
        views: &BTreeMap<Arc<str>, Arc<ResolvedView>>,
        on_demand: &OnDemandViews,
        features: &[FeatureRef],
    ) -> Result<Self> {
        let Some(expansion) = Expansion::new(on_demand, features)? else { return Self::of_stored(views, features) };
        let stored = Self::of_stored(views, &expansion.stored)?;
        let source = |output: &Output| match output {
            Output::Stored(at) => stored.sources.get(*at).copied().flatten(),
            Output::Computed { .. } => None,
        };
        let sources = expansion.outputs.iter().map(source).collect();
        let fields = expansion.fields(features, &stored.fields)?;
        Ok(Self { features: features.into(), fields, sources, on_demand: Some(Arc::new(expansion)), ..stored })
    }

    /// A plan that reads every one of `features`.
    fn of_stored(views: &BTreeMap<Arc<str>, Arc<ResolvedView>>, features: &[FeatureRef]) -> Result<Self> {
        let mut plan = Self {
            features: features.into(),
            fields: Vec::with_capacity(features.len()),
            sources: Vec::with_capacity(features.len()),
            stored: Vec::new(),
            views: Vec::new(),
            on_demand: None,
        };
        for (position, feature) in features.iter().enumerate() {
            let unknown = || Error::not_found(format!("feature view \"{}\" is not defined", feature.view_key()));
            let view = views.get(feature.view_key()).ok_or_else(unknown)?;
            let (place, data_type) = view.place(feature.feature())?;
            plan.fields.push(Arc::new(Field::new(feature.feature(), data_type, true)));
            let at = plan.view(view);
            plan.sources.push(Some((at, place)));
            let Some(planned) = plan.views.get_mut(at) else { continue };
            match place {
                Place::Column(cell) => planned.cells.push((cell, position)),
                Place::Window(window) => planned.windows.push((window, position)),
            }
        }
        plan.views.iter_mut().for_each(|planned| planned.cells.sort_unstable());
        plan.stored.clone_from(&plan.fields);
        Ok(plan)
    }

    /// Where `view` is in the plan, added when it is not.
    fn view(&mut self, view: &Arc<ResolvedView>) -> usize {
        self.views.iter().position(|planned| Arc::ptr_eq(&planned.view, view)).unwrap_or_else(|| {
            let ttl = view.view.online_ttl().map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
            let (cells, windows) = (Vec::new(), Vec::new());
            self.views.push(PlannedView { view: Arc::clone(view), cells, windows, ttl });
            self.views.len() - 1
        })
    }

    /// The features, in the order of the answer.
    #[must_use]
    pub fn features(&self) -> &[FeatureRef] {
        &self.features
    }

    /// One field per feature, in the order of the answer.
    #[cfg(feature = "flight")]
    pub(crate) fn fields(&self) -> &[FieldRef] {
        &self.fields
    }

    /// The views that are read, each once, and the on-demand views that are computed.
    pub fn view_names(&self) -> impl Iterator<Item = &str> {
        let computed = self.on_demand.iter().flat_map(|expansion| expansion.views());
        let read = self.views.iter().map(|planned| planned.view.view.name());
        read.chain(computed.map(|computed| computed.view.name()))
    }

    /// What the entities must have beside their keys, because an on-demand view reads it.
    #[must_use]
    pub fn request(&self) -> Vec<Field> {
        self.on_demand.as_ref().map(|expansion| expansion.request()).unwrap_or_default()
    }

    /// The join keys of all views with their types, each once, in order of first need.
    #[must_use]
    pub fn join_keys(&self) -> Vec<Field> {
        let mut keys: Vec<Field> = Vec::new();
        for view in self.views.iter().map(|planned| &planned.view) {
            for (name, data_type) in view.view.entity().join_keys().iter().zip(&view.key_types) {
                if !keys.iter().any(|known| known.name() == name.as_ref()) {
                    keys.push(Field::new(name.as_ref(), data_type.clone(), true));
                }
            }
        }
        keys
    }
}
