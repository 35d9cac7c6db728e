//! Where a version that a client registers may come from.
//!
//! Invariant: a source never names a place outside what the client may read anyway: a local path lies in the files of
//! the run that is given, and no form of the path climbs.

use mlops_core::{Error, ErrorKind, ModelRef, Result, RunId, Selector};
use percent_encoding::percent_decode_str;
use url::Url;

use super::{Inner, kept::kept_model_id};
use crate::{LoggedModelId, ModelRegistryExt as _, ModelVersion, VersionSource, View, artifacts::ARTIFACT_ROUTE};

/// How often a source is decoded, and a copy followed to its origin.
const STEPS_MAX: usize = 32;

/// A source that was checked, and what it comes from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) run_id: Option<RunId>,
    pub(super) model_id: Option<LoggedModelId>,
}

fn refused(uri: &str, why: &str) -> Error {
    Error::invalid_argument(format!("Invalid model version source: '{uri}'. {why}"))
}

/// The logged model that `models:/<id>` means: a name without version or alias is an id.
fn logged_model(uri: &str) -> Option<Result<LoggedModelId>> {
    let id = uri.strip_prefix("models:")?.trim_start_matches('/').trim_end_matches('/');
    (!id.is_empty() && !id.contains(['/', '@']))
        .then(|| id.parse().map_err(|error: Error| refused(uri, "It names no logged model").with_source(error)))
}

/// Whether this is a `file:` URI of a machine that is named, and is not this one.
fn is_on_another_host(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("file://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    !(host.is_empty() || host == "." || host.starts_with("localhost") || host.starts_with("127.0.0.1"))
}

/// Whether files at this URI are behind the proxy of an MLflow server.
fn is_proxied(scheme: &str, uri: &str) -> bool {
    scheme == "mlflow-artifacts" || (matches!(scheme, "http" | "https") && uri.contains(ARTIFACT_ROUTE))
}

impl Source {
    /// Refuses what is none of the sources that this server takes.
    pub(super) fn check_pattern(&self, api: &Inner) -> Result<()> {
        match &api.sources {
            Some(pattern) if !pattern.is_match(&self.uri) => {
                Err(refused(&self.uri, &format!("This server takes those that match {pattern}")))
            }
            _ => Ok(()),
        }
    }

    /// Checks the source of a new version; a model URI becomes one with a number, and brings what it comes from.
    pub(super) async fn check(self, api: &Inner) -> Result<Self> {
        let scheme = Url::parse(&self.uri).ok().map(|url| url.scheme().to_owned()).filter(|scheme| scheme.len() > 1);
        let here = matches!(scheme.as_deref(), None | Some("file"));
        if is_on_another_host(&self.uri) {
            // MLflow calls this its own failure, and so do those who ask it.
            return Err(Error::internal(format!(
                "{} is not a valid remote uri; give a URI of a store that both sides reach, such as s3://...",
                self.uri
            )));
        }
        let Self { uri, run_id, model_id } = self;
        let checked = Self { uri: if here { resolved(uri) } else { uri }, run_id, model_id };
        checked.check_resolved(scheme.as_deref(), api).await
    }

    async fn check_resolved(self, scheme: Option<&str>, api: &Inner) -> Result<Self> {
        let uri = self.uri.as_str();
        check_climbs(uri)?;
        match scheme {
            Some("models") => match logged_model(uri).transpose()? {
                Some(id) if Some(&id) == self.model_id.as_ref() => self.of_model(api).await,
                Some(_) => Err(refused(uri, "The model_id request parameter must name the model of the source.")),
                None => self.copy(api).await,
            },
            Some("runs") => {
                self.check_run(api).await?;
                Ok(self)
            }
            None | Some("file") => self.within(api).await,
            Some(scheme) if is_proxied(scheme, uri) => self.within(api).await,
            Some(_) => self.of_model(api).await,
        }
    }

    /// Refuses files of another run of this server than the one that is given. A run that is not here has no files
    /// here.
    async fn check_run(&self, api: &Inner) -> Result<()> {
        let of = self.uri.strip_prefix("runs:").unwrap_or_default().trim_start_matches('/').split('/').next();
        let why = "The run_id request parameter must identify the resource that contains the source.";
        let of: RunId = of.unwrap_or_default().parse().map_err(|_| refused(&self.uri, why))?;
        if self.model_id.is_some() {
            return Err(refused(&self.uri, why));
        }
        if self.run_id.as_ref() == Some(&of) {
            return Ok(());
        }
        match api.tracking.run(&of).await {
            Ok(_) => Err(refused(&self.uri, why)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// With the run that made the logged model, if it is of one.
    async fn of_model(self, api: &Inner) -> Result<Self> {
        let Some(id) = &self.model_id else { return Ok(self) };
        let model = known(&self.uri, api.models()?.logged_model(id, View::ActiveOnly).await, "model_id")?;
        Ok(Self { run_id: self.run_id.or(model.source_run), ..self })
    }

    /// Files that lie below those of the logged model or run they are of.
    async fn within(self, api: &Inner) -> Result<Self> {
        let uri = self.uri.as_str();
        let root = match (&self.model_id, &self.run_id) {
            (Some(id), _) => {
                known(uri, api.models()?.logged_model(id, View::ActiveOnly).await, "model_id")?.artifact_uri
            }
            (None, Some(id)) => known(uri, api.tracking.run(id).await, "run_id")?.artifact_uri,
            (None, None) => return Err(outside(uri)),
        };
        let plain = |uri: &str| uri.strip_prefix("file://").unwrap_or(uri).trim_end_matches('/').to_owned();
        let (root, path) = (plain(&root), plain(uri));
        if path != root && !path.starts_with(&format!("{root}/")) {
            return Err(outside(uri));
        }
        self.of_model(api).await
    }

    async fn copy(self, api: &Inner) -> Result<Self> {
        let of = referenced(api, &self.uri).await?;
        let model_id = kept_model_id(&of);
        if (self.run_id.is_some() && of.run_id != self.run_id) || (self.model_id.is_some() && model_id != self.model_id)
        {
            let why = "The run_id and model_id request parameters must match the referenced model version.";
            return Err(refused(&self.uri, why));
        }
        Ok(Self { uri: format!("models:/{}/{}", of.model, of.version.0), run_id: of.run_id, model_id })
    }

    /// The URI from which a version is downloaded: of a copy the source of its origin, of a logged model its files.
    pub(super) async fn origin(api: &Inner, version: ModelVersion) -> Result<String> {
        let mut version = version;
        for _ in 0..STEPS_MAX {
            match &version.source {
                VersionSource::Uri(uri) if uri.starts_with("models:/") => match logged_model(uri) {
                    Some(id) => return Ok(api.models()?.logged_model(&id?, View::ActiveOnly).await?.artifact_uri),
                    None => version = referenced(api, uri).await?,
                },
                source => return Ok(source.to_uri()),
            }
        }
        Err(Error::failed_precondition("the version is a copy of copies without end; register its origin"))
    }
}

/// A file that is not among those of the run or model that is given.
fn outside(uri: &str) -> Error {
    refused(
        uri,
        "To use a local path as a model version source, or a file of this server, the run_id (or model_id) request \
         parameter has to be specified, and the path has to be among the files of that run (or model)",
    )
}

/// What a request parameter names; an unknown one makes the source wrong, not the call.
fn known<T>(uri: &str, found: Result<T>, parameter: &str) -> Result<T> {
    found.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let why = format!("The {parameter} request parameter must identify the resource that contains the source.");
            refused(uri, &why).with_source(error)
        }
        _ => error,
    })
}

/// The version that `models:/name/version` or `models:/name@alias` means.
async fn referenced(api: &Inner, uri: &str) -> Result<ModelVersion> {
    let reference = uri.strip_prefix("models:").unwrap_or(uri).trim_start_matches('/');
    let parsed: Result<ModelRef> = reference.parse();
    match parsed {
        Ok(ModelRef { name, selector: Selector::Version(version) }) => api.registry.version(&name, version).await,
        Ok(ModelRef { name, selector: Selector::Alias(alias) }) => api.aliased(&name, &alias).await,
        Ok(ModelRef { name, selector: Selector::Latest }) => api.registry.latest_version(&name).await,
        Err(_) => Err(refused(uri, "Write models:/<name>/<version> or models:/<name>@<alias>")),
    }
}

/// A local path without `.` and `..`, as far as it does not leave its root: whether it may be read is decided by where it
/// leads, and that is what is kept.
fn resolved(uri: String) -> String {
    let (scheme, path) = match uri.strip_prefix("file://") {
        Some(path) => ("file://", path),
        None => ("", uri.as_str()),
    };
    if !path.split('/').any(|part| matches!(part, "." | "..")) {
        return uri;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return uri,
            ".." => {}
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{scheme}{root}{}", parts.join("/"))
}

/// Why a source is refused that climbs; clients look for the first words.
const CLIMBS: &str =
    "If supplying a source as an http, https, or other URI, or as a path, it must have no \"..\" and no NUL";

/// Refuses a source that climbs or hides something in any of its decoded forms.
fn check_climbs(uri: &str) -> Result<()> {
    let mut text = uri.to_owned();
    for _ in 0..STEPS_MAX {
        if text.contains('\0') || text.split(['/', '\\', '?', '#']).any(|part| part == "..") {
            return Err(refused(uri, CLIMBS));
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
    fn a_local_path_is_taken_for_where_it_leads() {
        for (path, leads) in [
            ("file:///srv/a/model/..", "file:///srv/a"),
            ("/srv//a/./b/", "/srv/a/b"),
            ("/a/../../b", "/a/../../b"),
            ("file:///srv/..%2fa/../b", "file:///srv/b"),
            ("/srv//a/", "/srv//a/"),
        ] {
            assert_eq!(resolved(path.to_owned()), leads);
        }
        check_climbs(&resolved("/srv/%2e%2e/b/.".to_owned())).unwrap_err();
    }

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
