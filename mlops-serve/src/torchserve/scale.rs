//! `PUT /models/MODEL`: how many workers a model is to have.
//!
//! All models share the server's, so that there is one choice: any at all puts the model into service, none takes it
//! out. TorchServe's clients register a model without workers and ask for them here.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse as _};
use mlops_core::Error;
use serde::Deserialize;
use serde_json::json;

use super::manage::{Answer, Asked, check_only};
use crate::{
    protocol::{Failure, Queried, known_model},
    server::Server,
};

/// What else TorchServe takes (GPUs, time-outs) has no meaning here.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    min_worker: Option<String>,
    #[serde(default)]
    max_worker: Option<String>,
    #[serde(default)]
    synchronous: Option<String>,
}

impl Wanted {
    /// Whether the model shall have workers.
    ///
    /// # Errors
    /// 400 for what is no number, and for fewer at most than at least.
    fn any(&self) -> Result<bool, Failure> {
        let (least, most) =
            (number("min_worker", self.min_worker.as_deref())?, number("max_worker", self.max_worker.as_deref())?);
        let least = least.unwrap_or(1);
        let most = most.unwrap_or(least);
        if most < least {
            let text = format!("max_worker is {most}, which is less than min_worker, {least}");
            return Err(Failure::new(StatusCode::BAD_REQUEST, text));
        }
        Ok(most > 0)
    }
}

fn number(name: &str, text: Option<&str>) -> Result<Option<u32>, Failure> {
    let number = text.map(|text| text.parse().map_err(|_| (name, text))).transpose();
    number.map_err(|(name, text)| {
        Failure::new(StatusCode::BAD_REQUEST, format!("{name} must be a whole number from 0, found {text:?}"))
    })
}

pub(super) async fn scale(
    State(server): State<Server>,
    named: Asked,
    wanted: Result<Queried<Wanted>, Failure>,
) -> Answer {
    let (named, Queried(wanted)) = (named?, wanted?);
    let any = wanted.any()?;
    let (name, version) = (known_model(&named.model)?, named.version()?);
    let in_service = {
        let state = server.inner.repository.entry(name.as_str())?.state();
        if let Some(version) = version.filter(|version| !state.versions.contains_key(version)) {
            return Err(Error::not_found(format!("model \"{name}\" has no loaded version {version}")).into());
        }
        state.champion().is_some()
    };
    match (any, in_service) {
        (true, false) => server.repository().load(&name).await?,
        (false, true) => {
            if let Some(version) = version {
                check_only(&server, &name, version)?;
            }
            server.repository().unload(&name)?;
        }
        _ => {}
    }
    let workers = if any { server.inner.settings.workers } else { 0 };
    let text = format!("Workers scaled to {workers} for model: {name}");
    let waited = wanted.synchronous.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    // Done either way; clients that did not wait expect to be told of the acceptance alone.
    let status = if waited { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(json!({ "status": text }))).into_response())
}
