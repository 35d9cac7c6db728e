//! The routes. A call is `name:verb` in the last segment of its path, which is told apart here.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse as _};
use mlops_core::{Error, Result, Version};
use serde_json::json;

use super::{
    convert, explain,
    wire::{Metadata, ModelSpec, ModelState, SignatureDefs, SignatureMetadata, VersionState},
};
use crate::{
    protocol::{Answer, Envelope, Failure, Incoming, Named, Operation, Routes, Target, parse_version, predict},
    repository::LoadedVersion,
    rollout::Variant,
    server::{Server, TensorReply},
    tensor::Tensor,
};

pub(crate) fn routes() -> Routes {
    const STATE: Operation = Operation::new("State of the versions of a model").gives("Object");
    const METADATA: Operation = Operation::new("What a model takes and gives").gives("Object");
    const VERBS: &[(&str, Operation)] = &[
        ("predict", Operation::new("Predicts rows or columns").takes("Predict").gives("Predictions").predicts()),
        ("classify", Operation::new("Scores the classes of examples").takes("Examples").gives("Result").predicts()),
        ("regress", Operation::new("Predicts a number for examples").takes("Examples").gives("Result").predicts()),
        (
            "explain",
            Operation::new("Says what each input contributed").takes("Predict").gives("Explanations").predicts(),
        ),
    ];
    Routes::new()
        .get("/v1/models", Operation::new("Names of the models").gives("Models"), list)
        .get("/v1/models/{model}", STATE, state)
        .get("/v1/models/{model}/metadata", METADATA, metadata)
        .verbs("/v1/models/{model}", VERBS, call)
        .get("/v1/models/{model}/versions/{version}", STATE, state)
        .get("/v1/models/{model}/versions/{version}/metadata", METADATA, metadata)
        .verbs("/v1/models/{model}/versions/{version}", VERBS, version_call)
        .get("/v1/models/{model}/labels/{label}", STATE, state)
        .get("/v1/models/{model}/labels/{label}/metadata", METADATA, metadata)
        .verbs("/v1/models/{model}/labels/{label}", VERBS, label_call)
}

async fn list(State(server): State<Server>) -> Answer {
    let names: Vec<String> = server.repository().names().iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "models": names })).into_response())
}

/// The part before the verb, and the verb.
fn split(segment: &str) -> Result<(&str, &str), Failure> {
    let unknown = || Failure::new(StatusCode::NOT_FOUND, "calls end in :predict, :classify, :regress or :explain");
    segment.rsplit_once(':').ok_or_else(unknown)
}

async fn call(State(server): State<Server>, named: Named, incoming: Incoming) -> Answer {
    let (model, verb) = split(&named.model)?;
    answer(&server, Target::model(model), verb, incoming).await
}

async fn version_call(State(server): State<Server>, named: Named, incoming: Incoming) -> Answer {
    let (version, verb) = split(named.version.as_deref().unwrap_or_default())?;
    let target = Target { version: Some(parse_version(version)?), ..Target::model(named.model) };
    answer(&server, target, verb, incoming).await
}

async fn label_call(State(server): State<Server>, named: Named, incoming: Incoming) -> Answer {
    let (label, verb) = split(named.label.as_deref().unwrap_or_default())?;
    let variant = Some(labelled(&server, &named.model, label)?.1);
    answer(&server, Target { variant, ..Target::model(named.model) }, verb, incoming).await
}

async fn answer(server: &Server, target: Target, verb: &str, incoming: Incoming) -> Answer {
    match verb {
        "predict" => told(server, target, incoming, convert::read_predict, convert::write_predict).await,
        "classify" => told(server, target, incoming, convert::read_examples, convert::write_classes).await,
        "regress" => told(server, target, incoming, convert::read_examples, convert::write_values).await,
        "explain" => explain::explain(server, target, incoming).await,
        _ => Err(Failure::new(StatusCode::NOT_FOUND, format!("there is no call {verb:?}"))),
    }
}

/// What a body asks of a version: its inputs, and how the answer is to be written.
type Read<W> = fn(&[u8], &LoadedVersion) -> Result<(Vec<Tensor>, W)>;

/// The answer to a call, in an event where it came in one.
async fn told<W: Send + 'static>(
    server: &Server,
    target: Target,
    incoming: Incoming,
    read: Read<W>,
    write: fn(&TensorReply, W, bool) -> Result<Vec<u8>>,
) -> Answer {
    let envelope = Envelope::of(&incoming.headers)?;
    let answered = envelope.answer(server, &target.model);
    let label = answered.clone();
    let read = move |body: &[u8], version: &LoadedVersion| read(&envelope.data(body)?, version);
    let tokens = answered.takes_tokens();
    let write = move |reply: &TensorReply, wish| write(reply, wish, tokens).map(|body| answered.wrap(body));
    Ok(label.label(predict(server, target, incoming, read, write).await?))
}

/// The version and the side of a rollout that a label means.
fn labelled(server: &Server, model: &str, label: &str) -> Result<(Version, Variant)> {
    let state = server.inner.repository.entry(model)?.state();
    let candidate = state.rollout.as_ref().filter(|active| active.rollout.is_active());
    let found = match label {
        "stable" => state.default.map(|version| (version, Variant::Champion)),
        "canary" => candidate.map(|active| (active.rollout.leading(), active.rollout.variant(1))),
        _ => None,
    };
    found.ok_or_else(|| {
        Error::not_found(format!(
            "model {model:?} has no label {label:?} now; stable is the version in service, canary that of a rollout"
        ))
    })
}

/// The version that the path means, by its number or by a label.
fn meant(server: &Server, named: &Named) -> Result<Option<Version>> {
    match &named.label {
        Some(label) => Ok(Some(labelled(server, &named.model, label)?.0)),
        None => named.version(),
    }
}

async fn state(State(server): State<Server>, named: Named) -> Answer {
    if let Some(version) = meant(&server, &named)? {
        return one_state(&server, &named.model, version);
    }
    let model = named.model;
    let ready = server.inner.repository.entry(&model)?.state().champion().is_some();
    let model_version_status = states(&server, &model, None);
    Ok(Json(ModelState { name: Some(model), ready: Some(ready), model_version_status }).into_response())
}

fn one_state(server: &Server, model: &str, version: Version) -> Answer {
    let model_version_status = states(server, model, Some(version));
    if model_version_status.is_empty() {
        return Err(Error::not_found(format!("model {model:?} has no version {version}")).into());
    }
    Ok(Json(ModelState { name: None, ready: None, model_version_status }).into_response())
}

fn states(server: &Server, model: &str, version: Option<Version>) -> Vec<VersionState> {
    let lines = server.repository().index();
    let wanted = lines.iter().filter(|line| line.name.as_str() == model);
    wanted.filter(|line| version.is_none() || line.version == version).filter_map(convert::version_state).collect()
}

async fn metadata(State(server): State<Server>, named: Named) -> Answer {
    let version = meant(&server, &named)?;
    let model = named.model;
    let wanted = server.inner.wanted(&model, version)?;
    let described = &wanted.described_by;
    let signature_def = [(convert::SIGNATURE, convert::signature(described))].into();
    let metadata = Metadata {
        model_spec: ModelSpec { name: model, signature_name: "", version: described.version.to_string() },
        metadata: SignatureMetadata { signature_def: SignatureDefs { signature_def } },
    };
    Ok(Json(metadata).into_response())
}
