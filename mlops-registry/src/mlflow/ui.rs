//! Where the pages get their stores from.
//!
//! Invariant: this is the only place, so what is admitted here is all that they can show.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{Api, auth::Caller};
use crate::ui::UiStores;

impl FromRequestParts<Api> for UiStores {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let Caller(api) = Caller::from_request_parts(parts, api).await?;
        Ok(Self {
            tracking: Arc::clone(&api.tracking),
            registry: Arc::clone(&api.registry),
            artifacts: api.artifacts.clone(),
            logged_models: api.logged_models.clone(),
            packages: api.packages.clone(),
        })
    }
}
