//! What handlers take from a request beside its body.
//!
//! Invariant: what cannot be taken is a [`Failure`], which each protocol tells in its own form; axum's own extractors
//! would answer in plain text.

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use mlops_core::{Result, Version};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Failure, Target, target::parse_version};

/// The model that a path names, with the other words of the path as they are.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) label: Option<String>,
}

impl Named {
    /// Of a path that names nothing else.
    pub(crate) fn model(model: &str) -> Self {
        Self { model: model.to_owned(), version: None, label: None }
    }

    /// The version, where the path has one.
    ///
    /// # Errors
    /// `NotFound` when the word is no version.
    pub(crate) fn version(&self) -> Result<Option<Version>> {
        self.version.as_deref().map(parse_version).transpose()
    }

    /// Whom the request is for.
    ///
    /// # Errors
    /// As [`Named::version`].
    pub(crate) fn target(self) -> Result<Target> {
        Ok(Target { version: self.version()?, ..Target::model(self.model) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<Self>::from_request_parts(parts, state).await {
            Ok(Path(named)) => Ok(named),
            Err(rejection) => Err(Failure::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// What the query says.
#[derive(Debug)]
pub(crate) struct Queried<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Queried<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(said)) => Ok(Self(said)),
            Err(rejection) => Err(Failure::new(rejection.status(), rejection.body_text())),
        }
    }
}
