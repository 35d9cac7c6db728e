//! The routes of inference.

use axum::{extract::State, response::Response};
use mlops_core::Error;

use super::failure::Told;
use crate::{
    protocol::{Failure, Form, Incoming, Layout, Named, Operation, Routes},
    server::Server,
};

/// Rows in an array, one row as an object, or KServe's two envelopes; answered by the bare value.
static FORM: Form =
    Form { keys: &[("instances", Layout::Rows), ("inputs", Layout::Columns)], bare: true, answer: None };

pub(crate) fn routes() -> Routes {
    const PREDICT: Operation = Operation::new("Predicts rows").takes("Anything").gives("Anything").predicts();
    const EXPLAIN: Operation = Operation::new("Not offered: answers 501").takes("Anything").predicts();
    Routes::new()
        .post("/predictions/{model}", PREDICT, predictions)
        .post("/predictions/{model}/{version}", PREDICT, predictions)
        .post("/explanations/{model}", EXPLAIN, explanations)
        .post("/explanations/{model}/{version}", EXPLAIN, explanations)
}

async fn predictions(
    State(server): State<Server>,
    named: Result<Named, Failure>,
    incoming: Incoming,
) -> Result<Response, Told> {
    Ok(FORM.predict(&server, named?.target()?, incoming).await?)
}

async fn explanations() -> Told {
    Error::unimplemented("this server does not explain predictions").into()
}
