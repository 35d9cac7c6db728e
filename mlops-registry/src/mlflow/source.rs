//! Where a version that a client registers may come from.
//!
//! Invariant: a source never names a place outside what the client may read anyway: a local path lies in the files of
//! the run that is given, and no form of the path climbs.

use mlops_core::{Error, ModelRef, Result, RunId, Selector};
use percent_encoding::percent_decode_str;
use url::Url;

use super::Inner;
use crate::{ModelVersion, VersionSource};

/// How often a source is decoded, and a copy followed to its origin.
const STEPS_MAX: usize = 32;

/// A source that was checked.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) run_id: Option<RunId>,
}

fn refused(uri: &str, why: &str) -> Error {
    Error::invalid_argument(format!("Invalid model version source: '{uri}'. {why}"))
}

impl Source {
    /// Checks the source of a new version; a model URI becomes one with a number, and brings its run.
    pub(super) async fn check(api: &Inner, uri: &str, run_id: Option<RunId>) -> Result<Self> {
        check_climbs(uri)?;
        let scheme = Url::parse(uri).ok().map(|url| url.scheme().to_owned()).filter(|scheme| scheme.len() > 1);
        match scheme.as_deref() {
            None | Some("file") => Self::within_run(api, uri, run_id).await,
            Some("mlflow-artifacts") if run_id.is_some() => Self::within_run(api, uri, run_id).await,
            Some("runs") => {
                let of = uri.strip_prefix("runs:").unwrap_or_default().trim_start_matches('/').split('/').next();
                if run_id.as_ref().is_some_and(|run| Some(run.as_str()) != of) {
                    return Err(refused(uri, "It names another run than run_id"));
                }
                Ok(Self { uri: uri.to_owned(), run_id })
            }
            Some("models") => Self::copy(api, uri, run_id).await,
            Some(_) => Ok(Self { uri: uri.to_owned(), run_id }),
        }
    }

    async fn within_run(api: &Inner, uri: &str, run_id: Option<RunId>) -> Result<Self> {
        let Some(id) = &run_id else {
            return Err(refused(uri, "To use a local path as source, give the run_id whose files it is among"));
        };
        let root = api.tracking.run(id).await?.artifact_uri;
        let plain = |uri: &str| uri.strip_prefix("file://").unwrap_or(uri).trim_end_matches('/').to_owned();
        let (root, path) = (plain(&root), plain(uri));
        if path != root && !path.starts_with(&format!("{root}/")) {
            return Err(refused(uri, "It is not among the files of the run"));
        }
        Ok(Self { uri: uri.to_owned(), run_id })
    }

    async fn copy(api: &Inner, uri: &str, run_id: Option<RunId>) -> Result<Self> {
        let of = referenced(api, uri).await?;
        if of.run_id.is_some() && run_id.is_some() && of.run_id != run_id {
            return Err(refused(uri, "Its run differs from run_id"));
        }
        Ok(Self { uri: format!("models:/{}/{}", of.model, of.version.0), run_id: of.run_id.or(run_id) })
    }

    /// The URI from which a version is downloaded: of a copy the source of its origin.
    pub(super) async fn origin(api: &Inner, version: ModelVersion) -> Result<String> {
        let mut version = version;
        for _ in 0..STEPS_MAX {
            match &version.source {
                VersionSource::Uri(uri) if uri.starts_with("models:/") => version = referenced(api, uri).await?,
                source => return Ok(source.to_uri()),
            }
        }
        Err(Error::failed_precondition("the version is a copy of copies without end; register its origin"))
    }
}

/// The version that `models:/name/version` or `models:/name@alias` means.
async fn referenced(api: &Inner, uri: &str) -> Result<ModelVersion> {
    let reference = uri.strip_prefix("models:").unwrap_or(uri).trim_start_matches('/');
    let parsed: Result<ModelRef> = reference.parse();
    match parsed {
        Ok(ModelRef { name, selector: Selector::Version(version) }) => api.registry.version(&name, version).await,
        Ok(ModelRef { name, selector: Selector::Alias(alias) }) => api.aliased(&name, &alias).await,
        Ok(ModelRef { selector: Selector::Latest, .. }) | Err(_) => {
            Err(refused(uri, "Write models:/<name>/<version> or models:/<name>@<alias>"))
        }
    }
}

/// Refuses a source that climbs or hides something in any of its decoded forms.
fn check_climbs(uri: &str) -> Result<()> {
    let mut text = uri.to_owned();
    for _ in 0..STEPS_MAX {
        if text.contains('\0') || text.split(['/', '\\', '?', '#']).any(|part| part == "..") {
            return Err(refused(uri, "It must not climb with \"..\" or contain NUL"));
        }
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded == text {
            return Ok(());
        }
        text = decoded;
    }
    Err(refused(uri, "It is percent-encoded over and over"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_climb_are_refused_in_every_disguise() {
        for bad in
            ["s3://b/a/../../c", "s3://b/%2e%2e/c", "s3://b/%252e%252e/c", "/a/..", "file:///a\\..\\b", "s3://b/%00"]
        {
            assert!(check_climbs(bad).unwrap_err().message().starts_with("Invalid model version source: '"), "{bad}");
        }
        for good in ["s3://b/a..b", "runs:/r/m", "models:/m@champion", "dbfs:/x%20y"] {
            check_climbs(good).unwrap();
        }
    }
}
