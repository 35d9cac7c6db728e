//! `traces/{trace}/assessments/...`.

use mlops_core::Result;
use serde_json::{Value, json};

use super::{Api, Params, Place, answer, read, store};

pub(super) async fn create(api: Api, place: Place, params: Params) -> Result<Value> {
    let create = read::assessment(&params.object("assessment")?)?;
    let made = store(&api)?.assess(place.id("trace")?, create).await?;
    Ok(json!({ "assessment": answer::assessment(&made) }))
}

pub(super) async fn get(api: Api, place: Place, _: Params) -> Result<Value> {
    let found = store(&api)?.assessment(place.id("trace")?, place.id("assessment_id")?).await?;
    Ok(json!({ "assessment": answer::assessment(&found) }))
}

pub(super) async fn update(api: Api, place: Place, params: Params) -> Result<Value> {
    let update = read::update(&params)?;
    let changed = store(&api)?.update_assessment(place.id("trace")?, place.id("assessment_id")?, update).await?;
    Ok(json!({ "assessment": answer::assessment(&changed) }))
}

pub(super) async fn delete(api: Api, place: Place, _: Params) -> Result<Value> {
    store(&api)?.delete_assessment(place.id("trace")?, place.id("assessment_id")?).await?;
    Ok(json!({}))
}
