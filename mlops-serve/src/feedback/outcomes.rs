//! Outcomes over HTTP: figures by which a rollout is judged, such as revenue, and rewards of a bandit.

use axum::extract::State;
use mlops_core::{Error, ErrorKind, LabelReceipt, Result};
use serde::Deserialize;

use super::routes::told;
use crate::{
    protocol::{Answer, Incoming, Named, Operation, Routes},
    server::Server,
};

pub(crate) fn routes() -> Routes {
    const OUTCOMES: Operation =
        Operation::new("Tells what came of answers").takes("Outcomes").gives("FeedbackReceipt").predicts();
    Routes::new().post("/v2/models/{model}/outcomes", OUTCOMES, outcomes)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    id: String,
    kpi: String,
    value: f64,
}

/// Takes each outcome by itself. One that comes again counts once; one of an answer that is not waited for, or of a figure
/// that the rollout does not take, is refused and counted.
async fn outcomes(State(server): State<Server>, named: Named, mut incoming: Incoming) -> Answer {
    server.permit(&named.model).await?;
    let model = server.inner.repository.entry(&named.model)?.config.name.clone();
    let most = server.inner.settings.feedback_labels_max;
    let outcomes = incoming.body().await?.read(&server, move |body| read(&body, most)).await?;
    let mut receipt = LabelReceipt::default();
    for Outcome { id, kpi, value } in outcomes {
        match server.record_outcome(&model, &id, &kpi, value) {
            Ok(true) => receipt.taken += 1,
            Ok(false) => receipt.duplicates += 1,
            Err(error) if server.rollout(&model).is_none() => return Err(error.into()),
            Err(error) if error.kind() == ErrorKind::Internal => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%model, %error, "an outcome was refused");
                receipt.refused += 1;
            }
        }
    }
    Ok(told(&server.inner, "mlops_serve_outcomes_total", &model, receipt))
}

fn read(body: &[u8], most: usize) -> Result<Vec<Outcome>> {
    let Outcomes { outcomes } = serde_json::from_slice(body)
        .map_err(|error| Error::invalid_argument(format!("the request tells no outcomes: {error}")))?;
    if outcomes.is_empty() || outcomes.len() > most {
        let found = outcomes.len();
        return Err(Error::invalid_argument(format!("the request has {found} outcomes; 1 to {most} are allowed")));
    }
    Ok(outcomes)
}
