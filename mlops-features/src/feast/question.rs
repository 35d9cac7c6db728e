//! What `POST /get-online-features` asks, resolved against the store before anything is read.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{RecordBatch, RecordBatchOptions};
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
        let name = |feature: &FeatureRef| match asked.full_feature_names {
            true => format!("{}__{}", feature.view(), feature.feature()),
            false => feature.feature().to_owned(),
        };
        let names: Vec<String> = plan.features().iter().map(name).collect();
        let entities = entities(store, &plan, &asked.entities, settings)?;
        let keys = entities.schema_ref().fields().iter().map(|field| field.name().as_str());
        if let Some(twice) = first_duplicate(keys.chain(names.iter().map(String::as_str))) {
            let message = format!("\"{twice}\" would occur twice in the answer; ask with full_feature_names");
            return Err(Failure::raising(StatusCode::BAD_REQUEST, "FeatureNameCollisionError", &message));
        }
        Ok(Self { plan, names, entities })
    }
}

/// Reads `view:feature` or `view@latest:feature`; numbered versions are not served here.
fn feature(store: &FeatureStore, text: &str) -> Answer<FeatureRef> {
    let Some((view, feature)) = text.split_once(':') else {
        return Err(Error::invalid_argument(format!("feature {text:?} is not of the form view:feature")).into());
    };
    let (view, version) = view.split_once('@').map_or((view, None), |(view, version)| (view, Some(version)));
    check_view(store, view, version)?;
    Ok(FeatureRef::new(view, feature)?)
}

/// Refuses a view that is not defined, and a version other than the latest.
pub(super) fn check_view(store: &FeatureStore, view: &str, version: Option<&str>) -> Answer<()> {
    store.view(view).map_err(|error| Failure::of(&error, "FeatureViewNotFoundException"))?;
    match version {
        None => Ok(()),
        Some(version) if version.eq_ignore_ascii_case("latest") => Ok(()),
        Some(version) => {
            let message =
                format!("feature view \"{view}\" has no version \"{version}\" here; only \"latest\" is served");
            Err(Failure::raising(StatusCode::NOT_FOUND, "FeatureViewVersionNotFound", &message))
        }
    }
}

/// Refuses more than `most` of something.
pub(super) fn at_most(what: &str, found: usize, most: usize) -> Result<()> {
    if found <= most {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{found} {what} in one request; at most {most} are allowed")))
}

/// The join keys of the plan, typed. An entity with one key may go by its own name, as in older clients; columns that no
/// view needs are ignored, as by Feast. Views without keys need no column, and have one row then.
fn entities(store: &FeatureStore, plan: &ReadPlan, columns: &Columns, settings: &FeastSettings) -> Result<RecordBatch> {
    let uneven = || Error::invalid_argument("the columns of entities must have equally many values");
    let rows = if columns.0.is_empty() { 1 } else { columns.rows().ok_or_else(uneven)? };
    at_most("entity rows", rows, settings.rows_max)?;
    let mut keys = plan.join_keys();
    let (mut fields, mut arrays) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
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
        return Err(Error::invalid_argument(format!("the entities lack the join key {}", missing.join(", "))));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
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
