//! What an import reads of a server's logged models: records and files.
//!
//! Invariant: nothing is written.

use mlops_core::{Error, ErrorKind, Result, RunId};
use serde_json::{Value, json};

use super::{
    Listed, MlflowRemote,
    http::Sending::Repeatable,
    read,
    registered::{listed, page_query},
};
use crate::{
    import::FilePieces,
    logged_models::{LoggedModel, LoggedModelId, LoggedModelStatus, ModelMetric},
    search::Page,
    tracking::ExperimentId,
};

/// What MLflow allows for one page.
const MODELS_PER_PAGE: usize = 50;

impl MlflowRemote {
    /// Some logged models of an experiment; none of a server that knows no such thing.
    pub(crate) async fn logged_models(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
    ) -> Result<Page<LoggedModel>> {
        let fields = json!({
            "experiment_ids": [experiment.to_string()],
            "max_results": MODELS_PER_PAGE,
            "page_token": token.unwrap_or_default(),
        });
        match self.post("logged-models/search", &fields, Repeatable).await {
            Err(error) if is_absent(&error) => Ok(Page { items: Vec::new(), next_page_token: None }),
            answer => read::page(&answer?, "models", logged_model),
        }
    }

    /// The entries of a directory of a logged model; the empty path is the top.
    pub(crate) async fn logged_model_artifacts(
        &self,
        id: &LoggedModelId,
        path: &str,
        token: Option<String>,
    ) -> Result<Page<Listed>> {
        let query = page_query(("artifact_directory_path", path), token);
        listed(&self.get(&format!("logged-models/{id}/artifacts/directories"), &query).await?)
    }

    /// A file of a logged model, as MLflow's web page asks for it.
    pub(crate) async fn logged_model_artifact(&self, id: &LoggedModelId, path: &str) -> Result<FilePieces> {
        let place = format!("ajax-api/2.0/mlflow/logged-models/{id}/artifacts/files");
        self.file(&place, &[("artifact_file_path", path)]).await
    }
}

/// Whether the server is of a release that has no such route.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unimplemented)
}

fn logged_model(value: &Value) -> Result<LoggedModel> {
    let (info, empty) = (read::object(value, "info")?, Value::Null);
    let data = value.get("data").unwrap_or(&empty);
    let id = LoggedModelId::new(read::text(info, "model_id")?)?;
    let status = read::text_or_empty(info, "status");
    let status = status.strip_prefix("LOGGED_MODEL_").unwrap_or_default();
    let point = |value: &Value| -> Result<ModelMetric> {
        let optional = |name: &str| Some(read::text_or_empty(value, name)).filter(|text| !text.is_empty());
        Ok(ModelMetric {
            model: id.clone(),
            metric: read::metric(value)?,
            run: RunId::new(read::text_or_empty(value, "run_id")).ok(),
            dataset_name: optional("dataset_name"),
            dataset_digest: optional("dataset_digest"),
        })
    };
    Ok(LoggedModel {
        experiment: read::text(info, "experiment_id")?.parse()?,
        name: read::text_or_empty(info, "name"),
        model_type: read::text_or_empty(info, "model_type"),
        source_run: RunId::new(read::text_or_empty(info, "source_run_id")).ok(),
        status: LoggedModelStatus::ALL.into_iter().find(|known| known.name() == status).unwrap_or_default(),
        created: read::time(info, "creation_timestamp_ms")?.unwrap_or_default(),
        updated: read::time(info, "last_updated_timestamp_ms")?.unwrap_or_default(),
        artifact_uri: read::text_or_empty(info, "artifact_uri"),
        deleted: false,
        params: read::pairs(data, "params")?,
        tags: read::pairs(info, "tags")?,
        metrics: read::list(data, "metrics").map(point).collect::<Result<_>>()?,
        id,
    })
}
