//! A list of features with those of on-demand views replaced by what they are made of, and the way back.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use mlops_core::{Error, FeatureRef, Result};

use super::{OnDemandViews, ResolvedOnDemand};

/// What is read, what is computed of it, and which of both was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Expansion {
    /// Each once: those asked for, then those that are only computed with.
    pub(crate) stored: Vec<FeatureRef>,
    /// How many of them were asked for.
    pub(crate) visible: usize,
    /// For every asked feature where it comes from.
    pub(crate) outputs: Vec<Output>,
    computed: Vec<Computed>,
}

/// Where an asked feature comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// This one of the stored.
    Stored(usize),
    /// This output of this one of the computed views.
    Computed { view: usize, output: usize, data_type: DataType },
}

#[derive(Debug, Clone)]
struct Computed {
    view: Arc<ResolvedOnDemand>,
    /// Its inputs among the stored.
    inputs: Vec<usize>,
}

impl Expansion {
    /// None when no feature is of an on-demand view.
    pub(crate) fn new(on_demand: &OnDemandViews, features: &[FeatureRef]) -> Result<Option<Self>> {
        if !features.iter().any(|feature| on_demand.contains_key(feature.view_key())) {
            return Ok(None);
        }
        let mut all = Self { stored: Vec::new(), visible: 0, outputs: Vec::new(), computed: Vec::new() };
        for feature in features.iter().filter(|feature| !on_demand.contains_key(feature.view_key())) {
            all.read(feature);
        }
        all.visible = all.stored.len();
        for feature in features {
            let output = match on_demand.get(feature.view_key()) {
                None => Output::Stored(all.read(feature)),
                Some(view) => {
                    let (output, data_type) = view.place(feature.feature())?;
                    Output::Computed { view: all.compute(view), output, data_type: data_type.clone() }
                }
            };
            all.outputs.push(output);
        }
        Ok(Some(all))
    }

    /// Where `feature` is among the stored, added when it is not.
    fn read(&mut self, feature: &FeatureRef) -> usize {
        self.stored.iter().position(|known| known == feature).unwrap_or_else(|| {
            self.stored.push(feature.clone());
            self.stored.len() - 1
        })
    }

    fn compute(&mut self, view: &Arc<ResolvedOnDemand>) -> usize {
        self.computed.iter().position(|known| Arc::ptr_eq(&known.view, view)).unwrap_or_else(|| {
            let inputs = view.view.inputs().iter().map(|input| self.read(&input.feature)).collect();
            self.computed.push(Computed { view: Arc::clone(view), inputs });
            self.computed.len() - 1
        })
    }

    /// The on-demand views.
    pub(crate) fn views(&self) -> impl Iterator<Item = &Arc<ResolvedOnDemand>> {
        self.computed.iter().map(|computed| &computed.view)
    }

    /// The request data of all views, each once.
    pub(crate) fn request(&self) -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::new();
        for field in self.views().flat_map(|view| view.view.request()) {
            if !fields.iter().any(|known| known.name() == field.name()) {
                fields.push(field.clone());
            }
        }
        fields
    }

    /// The join keys by which stored feature `at` is found, as far as an on-demand view reads it.
    pub(crate) fn keys(&self, at: usize) -> &[Arc<str>] {
        let of = |computed: &'_ Computed| computed.inputs.iter().position(|input| *input == at);
        let found = self.computed.iter().find_map(|computed| computed.view.keys.get(of(computed)?));
        found.map(Vec::as_slice).unwrap_or_default()
    }

    /// Refuses a request that lacks request data, or has it in another type.
    pub(crate) fn check_request(&self, request: &Schema) -> Result<()> {
        self.views().try_for_each(|view| view.check_request(request))
    }

    /// The fields of the asked features, from those of the stored.
    pub(crate) fn fields(&self, features: &[FeatureRef], stored: &[FieldRef]) -> Result<Vec<FieldRef>> {
        let field = |(feature, output): (&FeatureRef, &Output)| match output {
            Output::Stored(at) => stored.get(*at).cloned().ok_or_else(|| lost(feature)),
            Output::Computed { data_type, .. } => Ok(Arc::new(Field::new(feature.feature(), data_type.clone(), true))),
        };
        features.iter().zip(&self.outputs).map(field).collect()
    }

    /// The columns of the asked features, from those of the stored and the rows of the request, which was checked.
    pub(crate) fn finish(&self, stored: &[ArrayRef], request: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let one = |computed: &Computed| {
            let input = |at: &usize| stored.get(*at).cloned().ok_or_else(|| lost(&computed.view.view.name()));
            computed.view.compute(computed.inputs.iter().map(input).collect::<Result<_>>()?, request)
        };
        let computed = self.computed.iter().map(one).collect::<Result<Vec<_>>>()?;
        let column = |output: &Output| match output {
            Output::Stored(at) => stored.get(*at),
            Output::Computed { view, output, .. } => computed.get(*view).and_then(|outputs| outputs.get(*output)),
        };
        let columns = self.outputs.iter().map(|output| column(output).cloned().ok_or_else(|| lost(&"of a plan")));
        columns.collect()
    }
}

fn lost(feature: &dyn std::fmt::Display) -> Error {
    Error::internal(format!("a feature of {feature} was not computed"))
}
