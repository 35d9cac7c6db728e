//! What `POST /get-online-features` asks, resolved against the store before anything is read.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};
use axum::http::StatusCode;
use mlops_core::{Error, FeatureRef, Result};

use super::{
    FeastSettings, convert,
    error::{Answer, Failure},
    wire::{Columns, GetOnlineFeatures},
};
use crate::{FeatureStore, ReadPlan, definition::first_duplicate};

/// A question ready to be read.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) plan: Cow<'a, ReadPlan>,
    /// What the features are called in the answer.
    pub(super) names: Vec<String>,
    /// The join keys, in the order of the request.
    pub(super) keys: RecordBatch,
    /// The same and then the request data of on-demand views.
    pub(super) entities: RecordBatch,
}

impl<'a> Question<'a> {
    pub(super) fn resolve(
        store: &'a FeatureStore,
        asked: &GetOnlineFeatures,
        settings: &FeastSettings,
    ) -> Answer<Self> {
        let plan = match (&asked.feature_service, &asked.features) {
            (Some(name), _) => {
                let plan = store.service_plan(name);
                Cow::Borrowed(plan.map_err(|error| Failure::of(&error, "FeatureServiceNotFoundException"))?)
            }
            (None, Some(features)) if !features.is_empty() => {
                at_most("features", features.len(), settings.features_max)?;
                let features = features.iter().map(|text| feature(store, text)).collect::<Answer<Vec<_>>>()?;
                Cow::Owned(store.reader().plan(&features)?)
            }
            _ => return Err(Error::invalid_argument("neither features nor a feature service is asked for").into()),
        };
        let names: Vec<String> = plan.features().iter().map(|of| shown_name(of, asked.full_feature_names)).collect();
        let (keys, entities) = entities(store, &plan, &asked.entities, settings)?;
        let key_names = keys.schema_ref().fields().iter().map(|field| field.name().as_str());
        if let Some(twice) = first_duplicate(key_names.chain(names.iter().map(String::as_str))) {
            let message = format!("\"{twice}\" would occur twice in the answer; ask with full_feature_names");
            return Err(Failure::raising(StatusCode::BAD_REQUEST, "FeatureNameCollisionError", &message));
        }
        Ok(Self { plan, names, keys, entities })
    }
}

/// What `feature` is called in an answer.
pub(super) fn shown_name(feature: &FeatureRef, full: bool) -> String {
    if full { format!("{}__{}", feature.view_key(), feature.feature()) } else { feature.feature().to_owned() }
}

/// Reads `view:feature`, `view@latest:feature` or `view@v2:feature`.
pub(super) fn feature(store: &FeatureStore, text: &str) -> Answer<FeatureRef> {
    let Some((view, feature)) = text.split_once(':') else {
        return Err(Error::invalid_argument(format!("feature {text:?} is not of the form view:feature")).into());
    };
    let (view, version) = view.split_once('@').map_or((view, None), |(view, version)| (view, Some(version)));
    Ok(FeatureRef::new(view_key(store, view, version)?, feature)?)
}

/// What the store has `view` under, in this version: its name for the latest, else `view@v2`.
pub(super) fn view_key(store: &FeatureStore, view: &str, version: Option<&str>) -> Answer<String> {
    let defines = |key: &str| store.on_demand_view(key).is_ok() || store.view(key).is_ok();
    if !defines(view) {
        let missing = Error::not_found(format!("feature view \"{view}\" is not defined"));
        return Err(Failure::of(&missing, "FeatureViewNotFoundException"));
    }
    let Some(version) = version.filter(|version| !version.eq_ignore_ascii_case("latest")) else {
        return Ok(view.to_owned());
    };
    // Feast's clients write v2 or 2.
    let number: Option<u32> = version.strip_prefix(['v', 'V']).unwrap_or(version).parse().ok();
    let key = number.map(|number| format!("{view}@v{number}"));
    key.filter(|key| defines(key)).ok_or_else(|| {
        let message = format!("feature view \"{view}\" has no version \"{version}\"");
        Failure::raising(StatusCode::NOT_FOUND, "FeatureViewVersionNotFound", &message)
    })
}

/// Refuses more than `most` of something.
pub(super) fn at_most(what: &str, found: usize, most: usize) -> Result<()> {
    if found <= most {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{found} {what} in one request; at most {most} are allowed")))
}

/// The join keys of the plan, typed, and the same with the request data that it needs. An entity with one key may go by
/// its own name, as in older clients; columns that no view needs are ignored, as by Feast. Views without keys need no
/// column, and have one row then.
fn entities(
    store: &FeatureStore,
    plan: &ReadPlan,
    columns: &Columns,
    settings: &FeastSettings,
) -> Answer<(RecordBatch, RecordBatch)> {
    let uneven = || Error::invalid_argument("the columns of entities must have equally many values");
    let rows = if columns.0.is_empty() { 1 } else { columns.rows().ok_or_else(uneven)? };
    at_most("entity rows", rows, settings.rows_max)?;
    let mut keys = plan.join_keys();
    let (mut fields, mut arrays) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
    let request = plan.request();
    let request: Vec<&Field> =
        request.iter().filter(|field| keys.iter().all(|key| key.name() != field.name())).collect();
    for (name, values) in &columns.0 {
        let position = |name: &str| keys.iter().position(|known| known.name() == name);
        let Some(at) = position(name).or_else(|| position(join_key_of(store, plan, name)?)) else { continue };
        let field = keys.swap_remove(at);
        arrays.push(convert::column(name, values, field.data_type())?);
        fields.push(field);
    }
    if !keys.is_empty() {
        keys.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        let missing: Vec<_> = keys.iter().map(|key: &Field| format!("\"{}\"", key.name())).collect();
        let message = format!("the entities lack the join key {}", missing.join(", "));
        return Err(Error::invalid_argument(message).into());
    }
    let batch = |fields: &[Field], arrays: &[ArrayRef]| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        RecordBatch::try_new_with_options(schema, arrays.to_vec(), &options).map_err(Error::from)
    };
    let only_keys = batch(&fields, &arrays)?;
    let missing: Vec<_> = request.iter().filter(|field| columns.get(field.name()).is_none()).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|field| format!("\"{}\"", field.name())).collect();
        let message = format!("the entities lack the request data {}", names.join(", "));
        let class = "RequestDataNotFoundInEntityRowsException";
        return Err(Failure::raising(StatusCode::BAD_REQUEST, class, &message));
    }
    for field in request {
        let values = columns.get(field.name()).unwrap_or_default();
        arrays.push(convert::column(field.name(), values, field.data_type())?);
        fields.push(field.clone());
    }
    Ok((only_keys, batch(&fields, &arrays)?))
}

/// The only join key of the entity called `name` among the plan's views.
fn join_key_of<'a>(store: &'a FeatureStore, plan: &ReadPlan, name: &str) -> Option<&'a str> {
    let mut views = plan.features().iter().filter_map(|feature| store.view(feature.view_key()).ok());
    let entity = views.find(|view| view.entity().name() == name)?.entity();
    match entity.join_keys() {
        [key] => Some(key),
        _ => None,
    }
}
