//! `artifacts/presigned-...-url`: addresses in the store itself, without this server between. MLflow gives them where
//! files lie in a bucket that clients reach directly; here files go through this server, or clients have keys of their
//! own, and both calls say why there is no address.

use mlops_core::{Error, Result};
use serde_json::Value;

use super::{Api, files::check_relative, request::Params};
use crate::View;

/// Longest that an address may be asked to be valid, in seconds: what stores of objects allow.
const SECONDS_MAX: i64 = 604_800;

pub(super) async fn upload(api: Api, params: Params) -> Result<Value> {
    let given = |name: &str| params.text(name).map(|id| id.is_some_and(|id| !id.is_empty()));
    let (of_run, of_model) = (given("run_id")?, given("model_id")?);
    if of_run == of_model {
        return Err(Error::invalid_argument("Exactly one of run_id and model_id must be provided."));
    }
    check_relative(params.required("path")?)?;
    let root = match of_run {
        true => api.tracking.run(&params.run_id()?).await?.artifact_uri,
        false => api.models()?.logged_model(&params.model_id()?, View::ActiveOnly).await?.artifact_uri,
    };
    Err(none("upload", &root))
}

pub(super) async fn download(api: Api, params: Params) -> Result<Value> {
    let run = params.run_id()?;
    check_relative(params.required("path")?)?;
    if let Some(seconds) = params.int("expiration")?.filter(|seconds| !(1..=SECONDS_MAX).contains(seconds)) {
        return Err(Error::invalid_argument(format!(
            "expiration must be between 1 and {SECONDS_MAX} seconds (got {seconds})."
        )));
    }
    Err(none("download", &api.tracking.run(&run).await?.artifact_uri))
}

/// Why there is no address for what lies below this root.
fn none(what: &str, root: &str) -> Error {
    let scheme = root.split_once(':').map_or("", |(scheme, _)| scheme);
    if matches!(scheme, "http" | "https" | "mlflow-artifacts") {
        return Error::invalid_argument(format!(
            "Presigned {what} is not supported for files that go through this server (artifact URI scheme: {scheme}); \
             use mlflow-artifacts/artifacts/..."
        ));
    }
    Error::unimplemented(format!("this server gives no presigned {what} below {root}; use keys of the store"))
}
