//! The features of the stream, declared once for training and serving.
//!
//! Each entity gets a view of its recent activity (from the events) and one of its recent
//! outcomes (from the labels, which count only from the time at which they are known). Without
//! entities there is one view of each for the whole stream.

use std::{sync::Arc, time::Duration};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use mlops::{
    core::{FeatureRef, Result, TensorSpec},
    features::{Aggregation, Entity, FeatureService, FeatureView, Function},
};

use crate::stream::{EVENT_ID, EVENT_TIMESTAMP, LABEL, Stream};

/// The feature service that the model uses.
pub const SERVICE: &str = "model_inputs";

/// Tables, views and service of one stream.
pub struct Definitions {
    pub events: String,
    pub events_schema: SchemaRef,
    pub labels: String,
    pub labels_schema: SchemaRef,
    pub views: Vec<FeatureView>,
    pub service: FeatureService,
    /// Join keys of all views.
    pub keys: Vec<TensorSpec>,
}

impl Definitions {
    /// What the stream's columns and windows suggest.
    pub fn new(stream: &Stream) -> Result<Self> {
        let schema = stream.batch.schema();
        let without_label = schema.fields().iter().filter(|field| field.name() != LABEL).cloned();
        let events_schema = Arc::new(Schema::new(without_label.collect::<Vec<_>>()));
        let (events, labels) = (format!("{}_events", stream.name), format!("{}_labels", stream.name));
        let entities = if stream.entities.is_empty() {
            vec![Entity::global()]
        } else {
            stream.entities.iter().map(|key| Entity::new(key, [key])).collect::<Result<_>>()?
        };
        let mut views = Vec::new();
        for entity in &entities {
            views.push(activity(stream, entity, &events)?);
            views.push(outcomes(stream, entity, &labels)?);
        }
        let mut features = Vec::new();
        for view in &views {
            for name in view.feature_names() {
                features.push(FeatureRef::new(view.name(), name)?);
            }
        }
        let keys = stream.entities.iter().map(|key| {
            let field = schema.field_with_name(key).map_err(mlops::Error::from)?;
            TensorSpec::from_field(field)
        });
        Ok(Self {
            events,
            events_schema,
            labels,
            labels_schema: labels_schema(stream),
            views,
            service: FeatureService::new(SERVICE, features)?,
            keys: keys.collect::<Result<_>>()?,
        })
    }

    /// The raw columns that go into the model beside the features.
    pub fn raw_inputs(stream: &Stream) -> Vec<String> {
        stream.raw_columns().iter().map(|field| field.name().clone()).collect()
    }
}

/// The label table's rows: event, time at which the label is known, keys, label.
fn labels_schema(stream: &Stream) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = stream.batch.schema();
    let keys = schema.fields().iter().filter(|field| stream.entities.contains(field.name())).cloned();
    let fields =
        [Arc::new(Field::new(EVENT_ID, DataType::Int64, true)), Arc::new(Field::new(EVENT_TIMESTAMP, time, true))];
    let label = Arc::new(Field::new(LABEL, DataType::Int64, true));
    Arc::new(Schema::new(fields.into_iter().chain(keys).chain([label]).collect::<Vec<_>>()))
}

/// A window's length as part of a feature name: `1h`, `7d`, `90m`.
fn short(window: Duration) -> String {
    let seconds = window.as_secs();
    match seconds {
        s if s >= 86_400 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s >= 3_600 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s >= 60 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

fn activity(stream: &Stream, entity: &Entity, table: &str) -> Result<FeatureView> {
    let owner = entity.name();
    let mut view = FeatureView::builder(format!("{owner}_activity"), entity.clone(), table).with_event_id(EVENT_ID);
    for &window in &stream.windows {
        let name = format!("{owner}_events_{}", short(window));
        view = view.with_aggregation(Aggregation::new(name, Function::Count, EVENT_ID, window));
    }
    for column in stream.numeric_columns() {
        for &window in stream.windows.iter().skip(1) {
            let name = format!("{owner}_{column}_mean_{}", short(window));
            view = view.with_aggregation(Aggregation::new(name, Function::Mean, &column, window));
        }
    }
    view.build()
}

fn outcomes(stream: &Stream, entity: &Entity, table: &str) -> Result<FeatureView> {
    let owner = entity.name();
    let mut view = FeatureView::builder(format!("{owner}_outcomes"), entity.clone(), table).with_event_id(EVENT_ID);
    let longest = stream.windows.iter().copied().max().unwrap_or_default();
    view = view.with_aggregation(Aggregation::new(format!("{owner}_last_label"), Function::Last, LABEL, longest));
    for &window in stream.windows.iter().skip(1) {
        let name = format!("{owner}_label_mean_{}", short(window));
        view = view.with_aggregation(Aggregation::new(name, Function::Mean, LABEL, window));
    }
    view.build()
}
