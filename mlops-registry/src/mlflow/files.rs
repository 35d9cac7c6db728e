//! `artifacts/list` and the proxy under `mlflow-artifacts/`.

use axum::{
    body::Body,
    extract::{Path, Query, Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{
            ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use futures::TryStreamExt as _;
use mlops_core::{Error, ErrorKind, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Inner, answer, failure::Failure, request::Params};
use crate::{ArtifactEntry, ArtifactRange, ArtifactStore, artifacts::check_path};

pub(super) type Answer<T> = std::result::Result<T, Failure>;

/// `artifacts/list`: the names in a directory of a run, as paths from its root.
pub(super) async fn list_of_run(api: Api, params: Params) -> Result<Value> {
    let run = api.tracking.run(&params.run_id()?).await?;
    list_below(&api, &run.artifact_uri, params.text("path")?.unwrap_or_default()).await
}

/// The names in a directory below a root, as paths from the root.
pub(super) async fn list_below(api: &Inner, root_uri: &str, directory: &str) -> Result<Value> {
    let root = ArtifactStore::path_of(root_uri)?;
    let directory = directory.trim_end_matches('/');
    let (at, prefix) = match directory {
        "" => (root.to_owned(), String::new()),
        _ => (join(root, directory)?, format!("{directory}/")),
    };
    let entries = api.artifacts.entries(&at).await?;
    Ok(answer::object([("root_uri", root_uri.into()), ("files", files(&entries, &prefix))]))
}

/// A path below a root of the store, which it does not leave.
pub(super) fn join(root: &str, path: &str) -> Result<String> {
    check_relative(path)?;
    Ok(format!("{root}/{path}"))
}

/// Refuses a path that leaves its root, in the words that clients look for.
pub(super) fn check_relative(path: &str) -> Result<()> {
    check_path("path", path).map_err(|error| Error::invalid_argument("Invalid path").with_source(error))
}

fn files(entries: &[ArtifactEntry], prefix: &str) -> Value {
    let file = |entry: &ArtifactEntry| {
        answer::object([
            ("path", format!("{prefix}{}", entry.name).into()),
            ("is_dir", entry.size.is_none().into()),
            ("file_size", entry.size.into()),
        ])
    };
    entries.iter().map(file).collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Directory {
    path: String,
}

/// The names in a directory of the store.
pub(super) async fn list(State(api): State<Api>, Query(directory): Query<Directory>) -> Answer<Response> {
    let entries = api.artifacts.entries(directory.path.trim_end_matches('/')).await?;
    Ok(axum::Json(answer::object([("files", files(&entries, ""))])).into_response())
}

pub(super) async fn upload(State(api): State<Api>, Path(path): Path<String>, request: Request) -> Answer<()> {
    let pieces = request.into_body().into_data_stream();
    let pieces = pieces.map_err(|error| Error::cancelled("the upload broke off; send it again").with_source(error));
    api.artifacts.put_pieces(&path, pieces).await?;
    Ok(())
}

pub(super) async fn delete(State(api): State<Api>, Path(path): Path<String>) -> Answer<axum::Json<Value>> {
    api.artifacts.delete(&path).await?;
    Ok(axum::Json(json!({})))
}

pub(super) async fn download(State(api): State<Api>, Path(path): Path<String>, headers: HeaderMap) -> Answer<Response> {
    send(&api, &path, &headers).await
}

/// A file of the store, or the range of it that the headers ask for.
pub(super) async fn send(api: &Inner, path: &str, headers: &HeaderMap) -> Answer<Response> {
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
    let ranged = range.is_some();
    let reader = match api.artifacts.open(path, range).await {
        // The path is checked before the range, so only the range can be at fault here.
        Err(error) if ranged && error.kind() == ErrorKind::InvalidArgument && check_path("path", path).is_ok() => {
            return Ok(StatusCode::RANGE_NOT_SATISFIABLE.into_response());
        }
        opened => opened?,
    };
    let (start, end) = (reader.range.start, reader.range.end);
    let mut answer = Response::builder()
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, end - start)
        .header(CONTENT_DISPOSITION, disposition(path))
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(ACCEPT_RANGES, "bytes");
    if ranged {
        let range = format!("bytes {start}-{}/{}", end.saturating_sub(1), reader.size);
        answer = answer.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range);
    }
    let answer = answer.body(Body::from_stream(reader.pieces));
    Ok(answer.map_err(|error| Error::internal("the answer has a header that is none").with_source(error))?)
}

/// One range of bytes (RFC 9110, section 14.1.2); another unit or several ranges: none, and the whole file is sent.
fn parse_range(header: &str) -> Option<ArtifactRange> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => last.parse().ok().map(ArtifactRange::Last),
        (first, "") => first.parse().ok().map(ArtifactRange::From),
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then(|| ArtifactRange::Bounded(first..last.saturating_add(1)))
        }
    }
}

/// An attachment under the name of the file (RFC 6266).
pub(crate) fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
        return format!("attachment; filename=\"{name}\"");
    }
    format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

/// Uploads in parts and signed URLs, which this server says it does not offer.
pub(super) async fn not_offered() -> Failure {
    Error::unimplemented("this server takes and gives files through its own address only").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        assert_eq!(parse_range("bytes=0-4"), Some(ArtifactRange::Bounded(0..5)));
        assert_eq!(parse_range("bytes=7-"), Some(ArtifactRange::From(7)));
        assert_eq!(parse_range("bytes=-3"), Some(ArtifactRange::Last(3)));
        for other in ["bytes=4-1", "bytes=0-1,4-5", "lines=1-2", "bytes=x-", "bytes=-"] {
            assert_eq!(parse_range(other), None, "{other}");
        }
    }

    #[test]
    fn names_beyond_ascii_are_encoded() {
        assert_eq!(disposition("a/b/c.txt"), "attachment; filename=\"c.txt\"");
        assert_eq!(disposition("a/ü\".txt"), "attachment; filename*=UTF-8''%C3%BC%22%2Etxt");
    }
}
