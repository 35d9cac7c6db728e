//! A view resolved against its table: types of keys and features, what is kept online, and under which name.

use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};
use mlops_core::{Error, Result, ResultExt};

use crate::{
    definition::is_timestamp,
    definition::{FeatureView, all_faults},
    value::is_supported,
    window::{StateLimits, WindowPlan},
};

/// Where a feature's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// This cell of the latest row.
    Column(usize),
    /// This aggregate.
    Window(usize),
}

/// A view with everything that is known once its table is.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedView {
    pub(crate) view: FeatureView,
    /// Name of the view's records online. It contains the definition's digest: records of another definition are
    /// never read as if they were of this one.
    pub(crate) online: Arc<str>,
    pub(crate) key_types: Vec<DataType>,
    pub(crate) column_types: Vec<DataType>,
    pub(crate) plan: WindowPlan,
    /// Schema of the view's table.
    #[cfg(feature = "feast")]
    pub(crate) source: SchemaRef,
    pub(crate) limits: StateLimits,
}

impl ResolvedView {
    /// Checks `view` against the schema of its table.
    pub(crate) fn new(view: FeatureView, schema: &SchemaRef, events_per_key_max: usize) -> Result<Self> {
        let what = format!("feature view \"{}\"", view.name());
        let mut faults = Vec::new();
        let mut types = |what: &str, names: &[Arc<str>], fits: fn(&DataType) -> bool| {
            let mut found = Vec::with_capacity(names.len());
            for name in names {
                match schema.field_with_name(name) {
                    Err(_) => faults.push(format!("table \"{}\" has no column \"{name}\"", view.table())),
                    Ok(field) if !fits(field.data_type()) => {
                        faults.push(format!("column \"{name}\" is {}, which cannot be {what}", field.data_type()));
                    }
                    Ok(field) => found.push(field.data_type().clone()),
                }
            }
            found
        };
        let key_types = types("a join key", view.entity().join_keys(), is_supported);
        let column_types = types("a feature", view.columns(), is_supported);
        types("an event time", &[view.timestamp().into()], is_timestamp);
        types("a creation time", &view.created().map(Arc::from).into_iter().collect::<Vec<_>>(), is_timestamp);
        types("an event id", &view.event_id().map(Arc::from).into_iter().collect::<Vec<_>>(), is_supported);
        let retraction: Vec<Arc<str>> = view.retraction().map(Arc::from).into_iter().collect();
        types("a retraction", &retraction, |data_type| *data_type == DataType::Boolean);
        all_faults(&what, &faults)?;
        let plan = WindowPlan::resolve(&view, schema).context(&what)?;
        let online = format!("{}@{}", view.name(), view.records_digest()?.short()).into();
        let limits = StateLimits::new(plan.window_max(), events_per_key_max, plan.parts());
        Ok(Self {
            view,
            online,
            key_types,
            column_types,
            plan,
            #[cfg(feature = "feast")]
            source: Arc::clone(schema),
            limits,
        })
    }

    /// Where `feature` comes from and its type.
    pub(crate) fn place(&self, feature: &str) -> Result<(Place, DataType)> {
        let column = self.view.columns().iter().zip(&self.column_types).enumerate();
        let window = self.plan.aggregations.iter().enumerate();
        let column = column.filter(|(_, (name, _))| name.as_ref() == feature).map(|(i, (_, t))| (Place::Column(i), t));
        let window = window.filter(|(_, a)| a.name.as_ref() == feature).map(|(i, a)| (Place::Window(i), &a.output));
        column.chain(window).next().map(|(place, data_type)| (place, data_type.clone())).ok_or_else(|| {
            let names: Vec<_> = self.view.feature_names().collect();
            Error::not_found(format!(
                "feature view \"{}\" has no feature \"{feature}\"; it has {}",
                self.view.name(),
                names.join(", ")
            ))
        })
    }

    /// The table's columns that the view needs.
    pub(crate) fn needed_columns(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        let view = &self.view;
        let special = [Some(view.timestamp()), view.created(), view.event_id(), view.retraction()];
        let special = special.into_iter().flatten().map(Arc::from);
        let listed = view.entity().join_keys().iter().chain(view.columns()).chain(&self.plan.columns).cloned();
        for name in special.chain(listed) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
