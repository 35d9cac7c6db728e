//! `POST /search` and its older name `/retrieve-online-documents`: the entities whose vectors are nearest to one that
//! is asked for, their features, and `distance`.

use std::sync::Arc;

use arrow_array::{Float64Array, ListArray, types::Float64Type};
use arrow_schema::DataType;
use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use mlops_core::{Action, Error, FeatureRef, Result};

use super::{
    Inner,
    error::Answer,
    question::{at_most, feature},
    render::render,
    routes::Call,
    wire::{self, Search},
};
use crate::{FeatureStore, Metric, VectorQuery};

/// What the distance is called in the answer.
const DISTANCE: &str = "distance";

pub(super) async fn search(inner: Arc<Inner>, call: Call) -> Answer<Response> {
    let asked: Search = wire::read(&call.body)?;
    at_most("features", asked.features.len(), inner.settings.features_max)?;
    at_most("neighbours", asked.top_k, inner.settings.rows_max)?;
    let features: Vec<FeatureRef> =
        asked.features.iter().map(|text| feature(&inner.store, text)).collect::<Answer<_>>()?;
    if let Some(feature) = features.iter().find(|feature| feature.feature() == DISTANCE) {
        let why = format!("feature \"{feature}\" has the name of the distance in the answer; ask without it");
        return Err(Error::invalid_argument(why).into());
    }
    let vector = vector(&inner.store, &features)?;
    inner.allow(&call, Action::Read, "feature_view", vector.view()).await?;
    let query = query(&asked)?;
    let now = inner.clock.now();
    let nearest = inner.store.nearest(&vector, &query, now).await?;
    let reader = inner.store.reader();
    let plan = reader.plan(&features)?;
    let names = plan.join_keys();
    let names = names.iter().map(|field| nearest.schema_ref().index_of(field.name()));
    let keys = nearest.project(&names.collect::<std::result::Result<Vec<_>, _>>().map_err(Error::from)?);
    let keys = keys.map_err(Error::from)?;
    let found = reader.read(&plan, &keys, now).await?;
    let distances = nearest.column_by_name(DISTANCE).ok_or_else(|| Error::internal("a search gave no distances"))?;
    let names: Vec<String> = plan.features().iter().map(|feature| feature.feature().to_owned()).collect();
    let (body, counts) = render(&keys, &names, &found, &[(DISTANCE, Arc::clone(distances))])?;
    inner.count(counts);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
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

fn query(asked: &Search) -> Result<VectorQuery> {
    if asked.filters.as_ref().is_some_and(|filters| !filters.is_null()) {
        return Err(Error::unimplemented("this feature server has no filters of a search; ask without them"));
    }
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
    VectorQuery::new(&vector, asked.top_k, metric)
}
