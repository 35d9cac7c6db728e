//! `POST /search` and its older name `/retrieve-online-documents`: the entities whose vectors are nearest to one that
//! is asked for, their features, and `distance`.

use std::sync::Arc;

use arrow_array::{Array as _, Float64Array, ListArray, RecordBatch, types::Float64Type};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::filter::filter_record_batch;
use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use mlops_core::{Action, Error, FeatureRef, Result, Timestamp};

use super::{
    Inner,
    error::{Answer, Failure},
    filter::Filter,
    question::{at_most, feature, shown_name},
    render::render,
    routes::Call,
    wire::{self, Search},
};
use crate::{FeatureStore, Metric, ReadPlan, VectorQuery, vector::NEIGHBOURS_MAX};

/// What the distance is called in the answer.
const DISTANCE: &str = "distance";

pub(super) async fn search(inner: Arc<Inner>, call: Call) -> Answer<Response> {
    let asked: Search = wire::read(&call.body)?;
    at_most("neighbours", asked.top_k, inner.settings.rows_max)?;
    let features = features(&inner, &asked)?;
    if let Some(feature) = features.iter().find(|feature| feature.feature() == DISTANCE) {
        let why = format!("feature \"{feature}\" has the name of the distance in the answer; ask without it");
        return Err(Error::invalid_argument(why).into());
    }
    let vector = vector(&inner.store, &features)?;
    inner.allow(&call, Action::Read, "feature_view", vector.view()).await?;
    let filter = asked.filters.as_ref().filter(|filter| !filter.is_null()).map(Filter::parse).transpose()?;
    let now = inner.clock.now();
    let nearest = match filter {
        None => inner.store.nearest(&vector, &query(&asked, asked.top_k)?, now).await?,
        Some(filter) => passing(&inner.store, &vector, &asked, filter, now).await?,
    };
    let reader = inner.store.reader();
    let plan = reader.plan(&features)?;
    let keys = keys_of(&plan, &nearest)?;
    let found = reader.read(&plan, &keys, now).await?;
    let distances = nearest.column_by_name(DISTANCE).ok_or_else(|| Error::internal("a search gave no distances"))?;
    let names: Vec<String> = plan.features().iter().map(|of| shown_name(of, asked.full_feature_names)).collect();
    let (body, counts) = render(&keys, &names, &found, &[(DISTANCE, Arc::clone(distances))])?;
    inner.count(counts);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// What is asked for: the features of a service, or a list.
fn features(inner: &Inner, asked: &Search) -> Answer<Vec<FeatureRef>> {
    if let Some(name) = &asked.feature_service {
        let service = inner.store.service(name);
        let service = service.map_err(|error| Failure::of(&error, "FeatureServiceNotFoundException"))?;
        return Ok(service.features().to_vec());
    }
    let listed = asked.features.as_deref().unwrap_or_default();
    at_most("features", listed.len(), inner.settings.features_max)?;
    listed.iter().map(|text| feature(&inner.store, text)).collect()
}

/// The columns of `nearest` that are join keys of `plan`.
fn keys_of(plan: &ReadPlan, nearest: &RecordBatch) -> Result<RecordBatch> {
    let names = plan.join_keys();
    let places = names.iter().map(|field| Ok(nearest.schema_ref().index_of(field.name())?));
    Ok(nearest.project(&places.collect::<Result<Vec<_>>>()?)?)
}

/// The nearest that pass `filter`. Where it speaks of join keys alone they are the only ones that are searched; else
/// more and more of the nearest are looked at, until enough of them pass.
async fn passing(
    store: &FeatureStore,
    vector: &FeatureRef,
    asked: &Search,
    filter: Filter,
    now: Timestamp,
) -> Result<RecordBatch> {
    let keys = store.view(vector.view_key())?.entity().join_keys().to_vec();
    let is_key = |name: &str| keys.iter().any(|key| key.as_ref() == name);
    let features = filter.keys().into_iter().filter(|name| !is_key(name));
    let features = features.map(|name| FeatureRef::new(vector.view_key(), name)).collect::<Result<Vec<_>>>()?;
    if features.is_empty() {
        let query = query(asked, asked.top_k)?.with_filter(move |entities| filter.passes(entities));
        return store.nearest(vector, &query, now).await;
    }
    let reader = store.reader();
    let plan = reader.plan(&features)?;
    let mut looked_at = asked.top_k;
    loop {
        let nearest = store.nearest(vector, &query(asked, looked_at)?, now).await?;
        let keys = keys_of(&plan, &nearest)?;
        let values = reader.read(&plan, &keys, now).await?;
        let columns = keys.columns().iter().chain(values.columns()).cloned().collect();
        let fields = keys.schema_ref().fields().iter().map(|field| field.as_ref().clone());
        let both = features.iter().zip(values.columns());
        let fields = fields.chain(both.map(|(of, column)| Field::new(of.feature(), column.data_type().clone(), true)));
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?;
        let passing = filter_record_batch(&nearest, &filter.passes(&rows)?)?;
        if passing.num_rows() >= asked.top_k || nearest.num_rows() < looked_at {
            return Ok(passing.slice(0, passing.num_rows().min(asked.top_k)));
        }
        if looked_at == NEIGHBOURS_MAX {
            return Err(Error::resource_exhausted(format!(
                "{} of the nearest {NEIGHBOURS_MAX} pass the filters, and no more are looked at; ask for fewer, or filter by \
                 join keys, of which all are",
                passing.num_rows()
            )));
        }
        looked_at = looked_at.saturating_mul(4).min(NEIGHBOURS_MAX);
    }
}

/// The feature that is searched: the only vector among `features`, else the only one of their view.
fn vector(store: &FeatureStore, features: &[FeatureRef]) -> Result<FeatureRef> {
    let Some(first) = features.first() else {
        return Err(Error::invalid_argument("a search asks for no features; it needs at least one of the view"));
    };
    if let Some(other) = features.iter().find(|feature| feature.view_key() != first.view_key()) {
        return Err(Error::invalid_argument(format!(
            "a search is of one feature view; \"{first}\" and \"{other}\" are of two"
        )));
    }
    let view = store.view(first.view_key())?;
    let table = store.table(view.table())?;
    let is_vector = |name: &str| match table.schema().field_with_name(name).map(|field| field.data_type()) {
        Ok(DataType::List(item)) => matches!(item.data_type(), DataType::Float32 | DataType::Float64),
        _ => false,
    };
    let asked: Vec<&str> = features.iter().map(FeatureRef::feature).filter(|name| is_vector(name)).collect();
    let all: Vec<&str> = view.columns().iter().map(AsRef::as_ref).filter(|name| is_vector(name)).collect();
    match (asked.as_slice(), all.as_slice()) {
        ([one], _) | ([], [one]) => FeatureRef::new(first.view_key(), one),
        ([], []) => Err(Error::invalid_argument(format!("feature view \"{}\" has no vectors", first.view_key()))),
        _ => Err(Error::invalid_argument(format!(
            "feature view \"{}\" has vectors {}; ask for exactly one of them",
            first.view_key(),
            all.join(", ")
        ))),
    }
}

/// The `neighbours` nearest to what is asked for.
fn query(asked: &Search, neighbours: usize) -> Result<VectorQuery> {
    let Some(vector) = &asked.query else {
        return Err(match asked.query_string {
            Some(_) => Error::unimplemented("this feature server searches by vectors, not by texts; ask with a query"),
            None => Error::invalid_argument("a search has no query"),
        });
    };
    let metric = match asked.distance_metric.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("l2" | "euclidean") => Metric::L2,
        Some("cosine") => Metric::Cosine,
        Some("inner_product" | "ip" | "dot") => Metric::Dot,
        Some(other) => {
            return Err(Error::invalid_argument(format!(
                "distance metric \"{other}\" is not known; cosine, l2 and inner_product are"
            )));
        }
    };
    let numbers: Float64Array = vector.iter().copied().map(Some).collect();
    let vector = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(numbers.iter())]);
    VectorQuery::new(&vector, neighbours, metric)
}
