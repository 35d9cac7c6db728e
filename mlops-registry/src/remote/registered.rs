//! What an import reads of a server beyond tracking: registered models, their versions, and files of runs.
//!
//! Invariant: nothing is written.

use futures::{StreamExt as _, stream};
use mlops_core::{Alias, Error, ModelName, Result, RunId};
use mlops_http::reqwest::Response;
use serde_json::Value;

use super::{MlflowRemote, read};
use crate::{
    import::{FilePieces, SourceFile},
    registry::{ModelVersion, RegisteredModel, STAGE_TAG, VersionSource},
    search::Page,
};

/// What MLflow allows for one page.
const MODELS_PER_PAGE: usize = 1_000;
const VERSIONS_PER_PAGE: usize = 1_000;

/// A file or directory of a run.
pub(crate) enum Listed {
    File(SourceFile),
    Directory(String),
}

impl MlflowRemote {
    /// The address of the server.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(crate) async fn registered_models(&self, token: Option<String>) -> Result<Page<RegisteredModel>> {
        let size = ("max_results", MODELS_PER_PAGE.to_string());
        let token = token.map(|token| ("page_token", token));
        let query: Vec<_> = std::iter::once(size).chain(token).collect();
        let answer = self.get("registered-models/search", &query).await?;
        read::page(&answer, "registered_models", registered_model)
    }

    pub(crate) async fn model_versions(&self, model: &ModelName, token: Option<String>) -> Result<Page<ModelVersion>> {
        let quote = if model.as_str().contains('\'') { '"' } else { '\'' };
        let filter = ("filter", format!("name = {quote}{model}{quote}"));
        let size = ("max_results", VERSIONS_PER_PAGE.to_string());
        let token = token.map(|token| ("page_token", token));
        let query: Vec<_> = [filter, size].into_iter().chain(token).collect();
        let answer = self.get("model-versions/search", &query).await?;
        read::page(&answer, "model_versions", |value| model_version(value, model))
    }

    /// The entries of a directory of a run; the empty path is the top.
    pub(crate) async fn artifacts(&self, run: &RunId, path: &str, token: Option<String>) -> Result<Page<Listed>> {
        let mut query = page_query(("path", path), token);
        query.push(("run_id", run.to_string()));
        listed(&self.get("artifacts/list", &query).await?)
    }

    /// A file of a run, as MLflow's web page asks for it.
    pub(crate) async fn artifact(&self, run: &RunId, path: &str) -> Result<FilePieces> {
        self.file("get-artifact", &[("path", path), ("run_uuid", run.as_str())]).await
    }

    /// The bytes at a route.
    pub(super) async fn file(&self, route: &str, query: &[(&str, &str)]) -> Result<FilePieces> {
        let mut url = self.base.join(route).map_err(|error| Error::internal("no path").with_source(error))?;
        url.query_pairs_mut().extend_pairs(query);
        let response = self.stream(url).await?;
        let next = |(remote, mut response): (Self, Response)| async move {
            let piece = remote.patiently(response.chunk()).await?;
            Ok(piece.map(|piece| (piece, (remote, response))))
        };
        Ok(stream::try_unfold((self.clone(), response), next).boxed())
    }
}

/// A directory, unless it is the top, and the token of a page.
pub(super) fn page_query<'a>((name, path): (&'a str, &str), token: Option<String>) -> Vec<(&'a str, String)> {
    let path = Some((name, path.to_owned())).filter(|(_, path)| !path.is_empty());
    path.into_iter().chain(token.map(|token| ("page_token", token))).collect()
}

/// The entries of a directory.
pub(super) fn listed(answer: &Value) -> Result<Page<Listed>> {
    read::page(answer, "files", |value| {
        let path = read::text(value, "path")?.to_owned();
        let directory = value.get("is_dir").and_then(Value::as_bool).unwrap_or_default();
        let size = read::whole(value, "file_size")?.and_then(|size| size.try_into().ok()).unwrap_or_default();
        Ok(if directory { Listed::Directory(path) } else { Listed::File(SourceFile { path, size }) })
    })
}

fn registered_model(value: &Value) -> Result<RegisteredModel> {
    let alias = |found: &Value| Ok((Alias::new(read::text(found, "alias")?)?, read::text(found, "version")?.parse()?));
    Ok(RegisteredModel {
        name: ModelName::new(read::text(value, "name")?)?,
        description: read::text_or_empty(value, "description"),
        created: read::time(value, "creation_timestamp")?.unwrap_or_default(),
        updated: read::time(value, "last_updated_timestamp")?.unwrap_or_default(),
        last_version: 0,
        tags: read::pairs(value, "tags")?,
        aliases: read::list(value, "aliases").map(alias).collect::<Result<_>>()?,
    })
}

fn model_version(value: &Value, model: &ModelName) -> Result<ModelVersion> {
    let mut tags = read::pairs(value, "tags")?;
    let stage = read::text_or_empty(value, "current_stage");
    if !matches!(stage.as_str(), "" | "None") {
        tags.insert(STAGE_TAG.to_owned(), stage);
    }
    Ok(ModelVersion {
        model: model.clone(),
        version: read::text(value, "version")?.parse()?,
        source: VersionSource::Uri(read::text_or_empty(value, "source")),
        run_id: RunId::new(read::text_or_empty(value, "run_id")).ok(),
        run_link: read::text_or_empty(value, "run_link"),
        description: read::text_or_empty(value, "description"),
        created_by: read::text_or_empty(value, "user_id"),
        created: read::time(value, "creation_timestamp")?.unwrap_or_default(),
        updated: read::time(value, "last_updated_timestamp")?.unwrap_or_default(),
        tags,
        aliases: Vec::new(),
    })
}
