//! Files as a web page asks for them: of a run, a version or a logged model by its id and a path below its root, and
//! small ones that a page writes.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Query, Request},
    http::HeaderMap,
    response::Response,
    routing,
};
use mlops_core::{Action, Error, ModelName, Result, RunId};
use serde::Deserialize;

use super::{
    Api, Inner,
    auth::Caller,
    failure::Failure,
    files::{Answer, check_relative, send},
    source::Source,
    versions::parse_version,
};
use crate::{LoggedModelId, View};

/// Largest file that a page may write, in bytes.
const UPLOAD_BYTES_MAX: usize = 10 << 20;

/// Routes beside the API.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/get-artifact", routing::get(of_run))
        .route("/model-versions/get-artifact", routing::get(of_version))
        // As written after the address of a server that ends with a slash.
        .route("//model-versions/get-artifact", routing::get(of_version))
}

/// Routes below `/ajax-api` only.
pub(super) fn upload_routes() -> Router<Api> {
    Router::new()
        .route("/2.0/mlflow/upload-artifact", routing::post(upload))
        .route("/2.0/mlflow/logged-models/{model_id}/artifacts/files", routing::get(of_model))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    run_id: Option<String>,
    run_uuid: Option<String>,
    name: Option<String>,
    version: Option<String>,
    path: Option<String>,
    artifact_file_path: Option<String>,
}

impl Wanted {
    fn run(&self) -> Result<RunId> {
        let id = self.run_id.as_deref().or(self.run_uuid.as_deref()).filter(|id| !id.is_empty());
        id.ok_or_else(|| missing("run_uuid"))?.parse()
    }

    fn path(&self) -> Result<&str> {
        let path = self.path.as_deref().filter(|path| !path.is_empty()).ok_or_else(|| missing("path"))?;
        check_relative(path)?;
        Ok(path)
    }
}

fn missing(field: &str) -> Error {
    Error::invalid_argument(format!("Request must specify {field}."))
}

async fn of_run(Caller(api): Caller, Query(wanted): Query<Wanted>, headers: HeaderMap) -> Answer<Response> {
    let (id, path) = (wanted.run()?, wanted.path()?);
    let run = api.tracking.run(&id).await?;
    below(&api, &run.artifact_uri, path, &headers).await
}

async fn of_version(Caller(api): Caller, Query(wanted): Query<Wanted>, headers: HeaderMap) -> Answer<Response> {
    let path = wanted.path()?;
    let name: ModelName = wanted.name.as_deref().ok_or_else(|| missing("name"))?.parse()?;
    let number = parse_version(wanted.version.as_deref().ok_or_else(|| missing("version"))?)?;
    let version = api.registry.version(&name, number).await?;
    let root = Source::origin(&api, version).await?;
    below(&api, &root, path, &headers).await
}

async fn of_model(
    Caller(api): Caller,
    Path(id): Path<LoggedModelId>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Answer<Response> {
    let path =
        wanted.artifact_file_path.as_deref().filter(|path| !path.is_empty()).ok_or_else(|| {
            Error::invalid_argument("Request must include the \"artifact_file_path\" query parameter.")
        })?;
    let model = api.models()?.logged_model(&id, View::ActiveOnly).await?;
    below(&api, &model.artifact_uri, path, &headers).await
}

/// A file below a root, as an attachment.
pub(super) async fn below(api: &Inner, root: &str, path: &str, headers: &HeaderMap) -> Answer<Response> {
    check_relative(path)?;
    let (files, path) = api.artifacts.below(root, path, Action::Read).await?;
    send(files, &path, headers).await
}

async fn upload(Caller(api): Caller, Query(wanted): Query<Wanted>, request: Request) -> Answer<Response> {
    let (run, path) = (wanted.run()?, wanted.path()?);
    let too_large = || Error::invalid_argument("Artifact size is too large. Max size is 10MB.");
    let bytes = to_bytes(request.into_body(), UPLOAD_BYTES_MAX)
        .await
        .map_err(|error| Failure(too_large().with_source(error)))?;
    if bytes.is_empty() {
        return Err(missing("data").into());
    }
    let run = api.tracking.run(&run).await?;
    let (files, path) = api.artifacts.below(&run.artifact_uri, path, Action::Write).await?;
    files.put(&path, bytes).await?;
    Ok(Response::new(Body::empty()))
}
