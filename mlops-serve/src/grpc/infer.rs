//! `ModelInfer` and `ModelStreamInfer`.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, future, stream};
use mlops_core::{Error, Result};
use tonic::{Status, Streaming};

use super::{
    call::{Ambient, status},
    convert,
    messages::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse},
};
use crate::{
    observe,
    protocol::{bytes_of, offload, parse_version},
    server::{InferOptions, Server},
};

/// Requests of one stream that are worked on at a time; more are not read until one is answered.
const STREAM_IN_FLIGHT_MAX: usize = 32;

pub(super) async fn infer(
    server: Server,
    mut request: ModelInferRequest,
    ambient: Ambient,
) -> Result<ModelInferResponse> {
    let started = server.inner.clock.monotonic();
    let version = match request.model_version.as_str() {
        "" => None,
        text => Some(parse_version(text)?),
    };
    let wanted = server.inner.awake(&request.model_name, version).await?;
    let (model, id) = (std::mem::take(&mut request.model_name), std::mem::take(&mut request.id));
    let (described_by, bytes) = (Arc::clone(&wanted.described_by), convert::data_bytes(&request));
    let checked = offload(&server, bytes, move || convert::check(&request, &described_by)).await?;
    let options = InferOptions {
        request_id: Some(id.clone()).filter(|id| !id.is_empty()),
        version,
        routing_key: checked.routing_key,
        priority: checked.priority,
        timeout: [checked.timeout, ambient.timeout].into_iter().flatten().min(),
        ..InferOptions::default()
    };
    let reply = server.infer_tensors(wanted, checked.tensors, options, started).await?;
    let bytes = bytes_of(&reply.outputs);
    let (outputs, mark_final) = (checked.outputs, checked.mark_final);
    let encode = move || convert::respond(model, id, &reply, &outputs, mark_final);
    if bytes > server.inner.settings.offload_bytes {
        return server.inner.executor.finish(encode).await;
    }
    encode()
}

/// Answers in the order of the requests, up to [`STREAM_IN_FLIGHT_MAX`] at a time. A request that fails is answered by
/// its error and its id, and the stream goes on; a shutdown ends it behind the last request it read.
pub(super) fn stream(
    server: Server,
    requests: Streaming<ModelInferRequest>,
) -> impl Stream<Item = Result<ModelStreamInferResponse, Status>> {
    let draining = server.clone();
    let requests = requests.take_until(async move { draining.inner.until_draining().await });
    let (ended, notes) = (server.clone(), observe::current());
    let answers = requests.map(move |request| {
        let (server, notes) = (server.clone(), notes.clone());
        async move {
            let request = request?;
            let id = request.id.clone();
            let answer = observe::carry(notes, infer(server, request, Ambient::default())).await;
            Ok(answer.map_or_else(|error| failed(&error, id), answered))
        }
    });
    let goodbye = stream::once(async move {
        ended.inner.is_draining().then(|| Err(status(&Error::unavailable("the server is shutting down"))))
    });
    answers.buffered(STREAM_IN_FLIGHT_MAX).chain(goodbye.filter_map(future::ready))
}

fn answered(response: ModelInferResponse) -> ModelStreamInferResponse {
    ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) }
}

/// Clients find the request by the id, so it is told even where nothing else is.
fn failed(error: &Error, id: String) -> ModelStreamInferResponse {
    let message = status(error).message().to_owned();
    let response = ModelInferResponse { id, ..ModelInferResponse::default() };
    ModelStreamInferResponse { error_message: message, infer_response: Some(response) }
}
