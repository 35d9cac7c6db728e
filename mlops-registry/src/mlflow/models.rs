//! `registered-models/...`.

use std::collections::BTreeMap;

use mlops_core::{Alias, Error, ErrorKind, ModelName, Result};
use serde_json::{Value, json};

use super::{Api, Inner, answer, request::Params, stage::newest_of, versions::version_number};
use crate::{
    Actor, CreateModel, ModelRegistryExt as _, ModelVersion, MoveAlias, PageRequest, RegisteredModel, Search, Stage,
    registry::PROMPT_TAG,
};

/// The search without prompts unless they are asked for.
pub(super) fn hide_prompts(mut search: Search) -> Search {
    if !search.filter.contains(PROMPT_TAG) {
        let clause = format!("tags.`{PROMPT_TAG}` = 'false'");
        search.filter =
            if search.filter.trim().is_empty() { clause } else { format!("{} AND {clause}", search.filter) };
    }
    search
}

pub(super) fn name_of(params: &Params, field: &str) -> Result<ModelName> {
    let name = params.required(field)?;
    if name.trim().is_empty() || matches!(name, "." | "..") {
        return Err(Error::invalid_argument(format!("Registered model name {name:?} says nothing; choose another")));
    }
    name.parse()
}

fn alias_of(params: &Params) -> Result<Alias> {
    params.required("alias")?.parse()
}

impl Inner {
    /// Every version of a model, newest first.
    pub(super) async fn versions_of(&self, name: &ModelName) -> Result<Vec<ModelVersion>> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self.registry.list_versions(name, &PageRequest { max_results: Some(1_000), token }).await?;
            found.extend(page.items);
            token = page.next_page_token;
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    async fn answer_model(&self, model: &RegisteredModel) -> Result<Value> {
        let latest = newest_of(&self.versions_of(&model.name).await?, &Stage::ALL);
        Ok(answer::model(model, &latest))
    }
}

pub(super) async fn create(api: Api, params: Params) -> Result<Value> {
    let name = name_of(&params, "name")?;
    let options = CreateModel {
        description: params.owned("description")?.unwrap_or_default(),
        tags: params.pairs("tags")?,
        actor: Actor::default(),
    };
    let prompt = is_prompt(&options.tags);
    match api.registry.create_model(&name, options).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken_by(&api, &name, prompt).await),
        created => Ok(json!({ "registered_model": answer::model(&created?, &[]) })),
    }
}

pub(super) fn is_prompt(tags: &BTreeMap<String, String>) -> bool {
    tags.get(PROMPT_TAG).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Models and prompts share their names, and clients look for these words. Who may not see what has the name is told
/// no more than that it is taken.
async fn taken_by(api: &Inner, name: &ModelName, prompt: bool) -> Error {
    let held = api.registry.model(name).await.map_or(prompt, |model| is_prompt(&model.tags));
    let what = |prompt: bool| if prompt { ("Prompt", "prompt") } else { ("Registered Model", "registered model") };
    Error::already_exists(match held == prompt {
        true => format!("{} (name={name}) already exists.", what(prompt).0),
        false => format!(
            "Tried to create a {} with name '{name}', but the name is already taken by a {}. Choose another name.",
            what(prompt).1,
            what(held).1
        ),
    })
}

/// Clients look for these words.
fn taken(error: Error, name: &ModelName) -> Error {
    match error.kind() {
        ErrorKind::AlreadyExists => Error::already_exists(format!("Registered Model (name={name}) already exists.")),
        _ => error,
    }
}

pub(super) async fn rename(api: Api, params: Params) -> Result<Value> {
    let (name, new_name) = (name_of(&params, "name")?, name_of(&params, "new_name")?);
    let renamed = api.registry.rename_model(&name, &new_name, &Actor::default()).await;
    let renamed = renamed.map_err(|error| taken(error, &new_name))?;
    Ok(json!({ "registered_model": api.answer_model(&renamed).await? }))
}

pub(super) async fn update(api: Api, params: Params) -> Result<Value> {
    let name = name_of(&params, "name")?;
    let description = params.text("description")?.unwrap_or_default();
    let model = api.registry.describe_model(&name, description, &Actor::default()).await?;
    Ok(json!({ "registered_model": api.answer_model(&model).await? }))
}

pub(super) async fn delete(api: Api, params: Params) -> Result<Value> {
    api.registry.delete_model(&name_of(&params, "name")?, &Actor::default()).await?;
    Ok(json!({}))
}

pub(super) async fn get(api: Api, params: Params) -> Result<Value> {
    let model = api.registry.model(&name_of(&params, "name")?).await?;
    Ok(json!({ "registered_model": api.answer_model(&model).await? }))
}

pub(super) async fn search(api: Api, params: Params) -> Result<Value> {
    let search = hide_prompts(params.search("view_type", params.page(100, 1_000)?)?);
    let found = api.registry.search_models(&search).await?;
    let mut models = Vec::with_capacity(found.items.len());
    for model in &found.items {
        models.push(api.answer_model(model).await?);
    }
    Ok(answer::object([("registered_models", models.into()), ("next_page_token", found.next_page_token.into())]))
}

pub(super) async fn latest_versions(api: Api, params: Params) -> Result<Value> {
    let name = name_of(&params, "name")?;
    let stages = params.texts("stages")?.iter().map(|stage| Stage::parse(stage)).collect::<Result<Vec<_>>>()?;
    let stages = if stages.is_empty() { Stage::ALL.to_vec() } else { stages };
    let found = newest_of(&api.versions_of(&name).await?, &stages);
    Ok(answer::object([("model_versions", found.iter().map(answer::version).collect())]))
}

pub(super) async fn set_tag(api: Api, params: Params) -> Result<Value> {
    api.registry.set_model_tags(&name_of(&params, "name")?, &[params.pair()?], &Actor::default()).await?;
    Ok(json!({}))
}

pub(super) async fn delete_tag(api: Api, params: Params) -> Result<Value> {
    let name = name_of(&params, "name")?;
    api.registry.delete_model_tag(&name, params.required("key")?, &Actor::default()).await?;
    Ok(json!({}))
}

pub(super) async fn set_alias(api: Api, params: Params) -> Result<Value> {
    let (name, alias, version) = (name_of(&params, "name")?, alias_of(&params)?, version_number(&params)?);
    api.registry.set_alias(&name, &alias, version, MoveAlias::default()).await?;
    Ok(json!({}))
}

pub(super) async fn delete_alias(api: Api, params: Params) -> Result<Value> {
    let (name, alias) = (name_of(&params, "name")?, alias_of(&params)?);
    api.registry.delete_alias(&name, &alias, MoveAlias::default()).await?;
    Ok(json!({}))
}

pub(super) async fn get_alias(api: Api, params: Params) -> Result<Value> {
    let (name, alias) = (name_of(&params, "name")?, alias_of(&params)?);
    Ok(json!({ "model_version": api.answer_version(&api.aliased(&name, &alias).await?).await? }))
}

impl Inner {
    /// The version that an alias means; `latest` is the highest.
    pub(super) async fn aliased(&self, name: &ModelName, alias: &Alias) -> Result<ModelVersion> {
        let model = self.registry.model(name).await?;
        if alias.as_str().eq_ignore_ascii_case("latest") {
            return self.registry.latest_version(name).await;
        }
        match model.aliases.get(alias) {
            Some(version) => self.registry.version(name, *version).await,
            // MLflow calls this an invalid parameter, not something missing.
            None => Err(Error::invalid_argument(format!("Registered model alias {alias} not found."))),
        }
    }
}
