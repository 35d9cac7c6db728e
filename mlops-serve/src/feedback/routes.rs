//! The route.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use mlops_core::{Error, LabelBatch, LabelReceipt, LabelSink, ModelName, Result};
use serde_json::json;

use super::read::{Read, read};
use crate::{
    protocol::{Answer, Incoming, Named, Operation, Routes},
    server::{Inner, Server},
};

pub(crate) fn routes() -> Routes {
    const FEEDBACK: Operation =
        Operation::new("Tells what became of predictions").takes("Feedback").gives("FeedbackReceipt").predicts();
    Routes::new().post("/v2/models/{model}/feedback", FEEDBACK, feedback)
}

async fn feedback(State(server): State<Server>, named: Named, mut incoming: Incoming) -> Answer {
    server.permit(&named.model).await?;
    let inner = &server.inner;
    let model = inner.repository.entry(&named.model)?.config.name.clone();
    let Some(sink) = inner.labels.clone() else {
        return Err(Error::unimplemented("this server takes no feedback").into());
    };
    let (now, labels_max) = (inner.clock.now(), inner.settings.feedback_labels_max);
    let Read { labels, repeated } =
        incoming.body().await?.read(&server, move |body| read(&body, now, labels_max)).await?;
    let batch = LabelBatch { model: model.clone(), at: now, labels };
    let mut receipt = append(&server, sink, batch).await?;
    receipt.duplicates += repeated;
    Ok(told(inner, "mlops_serve_labels_total", &model, receipt))
}

/// Counts what became of labels or outcomes under `counter`, and tells it.
pub(super) fn told(inner: &Inner, counter: &'static str, model: &ModelName, receipt: LabelReceipt) -> Response {
    let LabelReceipt { taken, duplicates, refused } = receipt;
    for (outcome, count) in [("taken", taken), ("duplicate", duplicates), ("refused", refused)] {
        inner.meter.count(counter, &[("model", model.as_str()), ("outcome", outcome)], count);
    }
    let answer = json!({ "model_name": model, "taken": taken, "duplicates": duplicates, "refused": refused });
    Json(answer).into_response()
}

/// Hands the labels over within the time of a request; the sink takes a repetition for what it is.
async fn append(server: &Server, sink: Arc<dyn LabelSink>, batch: LabelBatch) -> Result<LabelReceipt> {
    let limit = Duration::from_millis(server.inner.settings.timeout_ms);
    tokio::time::timeout(limit, sink.append(batch)).await.unwrap_or_else(|_| {
        let limit = limit.as_millis();
        Err(Error::deadline_exceeded(format!("the labels were not taken within {limit} ms; send them again")))
    })
}
