//! `model-versions/...`.

use std::collections::BTreeMap;

use mlops_core::{Action, Error, Result, Version};
use serde_json::{Value, json};

use super::{
    Api, Inner, answer,
    kept::{keep_model_id, kept_model_id, refuse_kept},
    models::{hide_prompts, is_prompt, name_of},
    request::Params,
    source::Source,
};
use crate::{Actor, CreateVersion, ModelVersion, MoveAlias, MoveStage, Stage, View, linked::linked};

/// Largest size that clients may ask for, and the largest page they get.
const SEARCH_MAX: usize = 200_000;
const PAGE_MAX: usize = 50_000;

/// The field `version`, which is text.
pub(super) fn version_number(params: &Params) -> Result<Version> {
    parse_version(params.required("version")?)
}

/// The number that the text is.
pub(super) fn parse_version(text: &str) -> Result<Version> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(Version(number)),
        _ => Err(Error::invalid_argument(format!("Parameter 'version' must be an integer, got '{text}'."))),
    }
}

/// The version that `name` and `version` say.
async fn named(api: &Api, params: &Params) -> Result<ModelVersion> {
    api.registry.version(&name_of(params, "name")?, version_number(params)?).await
}

pub(super) async fn create(api: Api, params: Params) -> Result<Value> {
    let name = name_of(&params, "name")?;
    let run_id = params.text("run_id")?.filter(|id| !id.is_empty()).map(str::parse).transpose()?;
    let model_id = params.text("model_id")?.filter(|id| !id.is_empty()).map(|_| params.model_id()).transpose()?;
    let mut tags: BTreeMap<String, String> = params.pairs("tags")?;
    refuse_kept(tags.keys())?;
    let mut source = Source { uri: params.required("source")?.to_owned(), run_id, model_id };
    source.check_pattern(&api)?;
    let is_prompt = is_prompt(&tags);
    // A prompt has its text in a tag; its source is a word that says so and names no file.
    if !is_prompt {
        source = source.check(&api).await?;
    }
    if let Some(id) = &source.model_id {
        keep_model_id(&mut tags, id);
    }
    let options = CreateVersion {
        run_id: source.run_id,
        run_link: params.owned("run_link")?.unwrap_or_default(),
        description: params.owned("description")?.unwrap_or_default(),
        tags,
        ..CreateVersion::default()
    };
    let created = api.registry.create_version_from_uri(&name, &source.uri, options).await?;
    if let (false, Some(id)) = (is_prompt, &source.model_id) {
        // Whoever copies a version may not see the model it is of, which is then not told.
        linked(api.models()?.add_registration(id, &created.model, created.version).await)?;
    }
    Ok(json!({ "model_version": api.answer_version(&created).await? }))
}

impl Inner {
    /// A version with params and metrics of the logged model that it is, for whom they are.
    pub(super) async fn answer_version(&self, version: &ModelVersion) -> Result<Value> {
        let mut answer = answer::version(version);
        let (Some(store), Some(id)) = (&self.logged_models, kept_model_id(version)) else { return Ok(answer) };
        if let Some(model) = linked(store.logged_model(&id, View::All).await)? {
            answer::add_model(&mut answer, &model);
        }
        Ok(answer)
    }
}

pub(super) async fn get(api: Api, params: Params) -> Result<Value> {
    Ok(json!({ "model_version": api.answer_version(&named(&api, &params).await?).await? }))
}

pub(super) async fn update(api: Api, params: Params) -> Result<Value> {
    let (name, version) = (name_of(&params, "name")?, version_number(&params)?);
    let description = params.text("description")?.unwrap_or_default();
    let updated = api.registry.describe_version(&name, version, description, &Actor::default()).await?;
    Ok(json!({ "model_version": answer::version(&updated) }))
}

/// Deletes a version with its aliases.
pub(super) async fn delete(api: Api, params: Params) -> Result<Value> {
    let version = named(&api, &params).await?;
    // Asked before the aliases go, which is less of a right: a refusal leaves them where they are.
    if let Some(guard) = &api.guard {
        guard.check_model(Action::Delete, &version.model).await?;
    }
    for alias in &version.aliases {
        let options = MoveAlias {
            // An alias that was moved in the meantime is not ours to delete.
            expected: Some(Some(version.version)),
            reason: format!("version {} is deleted", version.version.0),
            actor: Actor::default(),
        };
        api.registry.delete_alias(&version.model, alias, options).await?;
    }
    api.registry.delete_version(&version.model, version.version, &Actor::default()).await?;
    Ok(json!({}))
}

pub(super) async fn transition_stage(api: Api, params: Params) -> Result<Value> {
    let (name, version) = (name_of(&params, "name")?, version_number(&params)?);
    let stage = Stage::parse(params.required("stage")?)?;
    let archive_existing = params.flag("archive_existing_versions")?.unwrap_or_default();
    let options = MoveStage { archive_existing, actor: Actor::default() };
    let moved = api.registry.transition_stage(&name, version, stage, options).await?;
    Ok(json!({ "model_version": answer::version(&moved) }))
}

pub(super) async fn search(api: Api, params: Params) -> Result<Value> {
    let mut page = params.page(SEARCH_MAX, SEARCH_MAX)?;
    page.max_results = page.max_results.map(|size| size.min(PAGE_MAX));
    let found = api.registry.search_versions(&hide_prompts(params.search("view_type", page)?)).await?;
    Ok(answer::page("model_versions", &found, answer::version))
}

pub(super) async fn download_uri(api: Api, params: Params) -> Result<Value> {
    let version = named(&api, &params).await?;
    Ok(json!({ "artifact_uri": Source::origin(&api, version).await? }))
}

pub(super) async fn set_tag(api: Api, params: Params) -> Result<Value> {
    let (name, version, pair) = (name_of(&params, "name")?, version_number(&params)?, params.pair()?);
    refuse_kept(std::iter::once(&pair.0))?;
    api.registry.set_version_tags(&name, version, &[pair], &Actor::default()).await?;
    Ok(json!({}))
}

pub(super) async fn delete_tag(api: Api, params: Params) -> Result<Value> {
    let (name, version, key) = (name_of(&params, "name")?, version_number(&params)?, params.owned("key")?);
    refuse_kept(key.iter())?;
    api.registry.delete_version_tag(&name, version, params.required("key")?, &Actor::default()).await?;
    Ok(json!({}))
}
