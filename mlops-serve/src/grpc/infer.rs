//! `ModelInfer` and `ModelStreamInfer`.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, future, stream};
use mlops_core::{Error, Result};
use tonic::Status;

use super::{
    call::{Ambient, Messages, Opening, status},
    convert,
    messages::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse},
};
use crate::{
    observe,
    protocol::{Question, bytes_of, finish, offload, parse_version},
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
    let model = std::mem::take(&mut request.model_name);
    let mut asked = server.permit(&model).await?.asked(&server, version).await?;
    let (described_by, bytes) = (Arc::clone(&asked.wanted.described_by), convert::data_bytes(&request));
    let check = move || convert::check(request, &described_by);
    let Question { tensors, options, wish } = offload(&server, bytes, check).await?;
    let options =
        InferOptions { version, timeout: [options.timeout, ambient.timeout].into_iter().flatten().min(), ..options };
    let options = asked.complete(options, &ambient.headers)?;
    let reply = server.answer(server.prepare(asked, tensors, options, started)?).await?;
    let bytes = bytes_of(&reply.outputs);
    finish(&server, bytes, move || convert::respond(model, &reply, wish)).await
}

/// Answers in the order of the requests, up to [`STREAM_IN_FLIGHT_MAX`] at a time. Each is admitted as if it had come by
/// itself. A request that fails, or finds no place, is answered by its error and its id, and the stream goes on; a shutdown ends it behind the last request it read.
pub(super) fn stream(
    server: Server,
    requests: Messages<ModelInferRequest>,
    Opening { headers, tenant }: Opening,
) -> impl Stream<Item = Result<ModelStreamInferResponse, Status>> {
    let draining = server.clone();
    let requests = requests.take_until(async move { draining.inner.until_draining().await });
    let (ended, notes) = (server.clone(), observe::current());
    let answers = requests.map(move |request| {
        let (server, notes, tenant) = (server.clone(), notes.clone(), tenant.clone());
        let ambient = Ambient { timeout: None, headers: Arc::clone(&headers) };
        async move {
            let request = request?;
            let id = request.id.clone();
            let answer = match server.admit_message(&tenant) {
                Ok(_place) => Box::pin(observe::carry(notes, infer(server, request, ambient))).await,
                Err(error) => Err(error),
            };
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
