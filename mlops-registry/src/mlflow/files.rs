//! `artifacts/list` and the proxy under `mlflow-artifacts/`.
//!
//! Invariant: a file is never shown as a page of this server: it is an attachment, and a browser that opens it all the
//! same puts it into a sandbox.

use std::time::Duration;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{FromRequest, Path, Query, Request},
    http::{
        HeaderMap, StatusCode,
        header::{
            ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
            RANGE,
        },
    },
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt as _};
use mlops_core::{Action, Error, ErrorKind, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Api, Inner, answer, auth::Caller, failure::Failure, file_type::file_type, request::Params};
use crate::{ArtifactEntry, ArtifactRange, ArtifactStore, SignedPart, artifacts::check_path};

/// How long a URL to read a file from the store itself is valid.
const SIGNED_DOWNLOAD: Duration = Duration::from_secs(3_600);
/// How long the URLs of the parts of an upload are valid.
const SIGNED_PARTS: Duration = Duration::from_secs(6 * 3_600);

pub(super) type Answer<T> = std::result::Result<T, Failure>;

/// `artifacts/list`: the names in a directory of a run, as paths from its root.
pub(super) async fn list_of_run(api: Api, params: Params) -> Result<Value> {
    let run = api.tracking.run(&params.run_id()?).await?;
    list_below(&api, &run.artifact_uri, params.text("path")?.unwrap_or_default()).await
}

/// The names in a directory below a root, as paths from the root.
pub(super) async fn list_below(api: &Inner, root_uri: &str, directory: &str) -> Result<Value> {
    let directory = directory.trim_end_matches('/');
    if !directory.is_empty() {
        check_relative(directory)?;
    }
    let (store, at) = api.artifacts.below(root_uri, directory, Action::Read).await?;
    let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let entries = store.entries(&at).await?;
    Ok(answer::object([("root_uri", root_uri.into()), ("files", files(&entries, &prefix))]))
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
pub(super) async fn list(Caller(api): Caller, Query(directory): Query<Directory>) -> Answer<Json<Value>> {
    let entries = match directory.path.trim_end_matches('/') {
        "" => api.artifacts.roots().await?,
        path => api.artifacts.at(path, Action::Read).await?.entries(path).await?,
    };
    Ok(Json(answer::object([("files", files(&entries, ""))])))
}

pub(super) async fn upload(Caller(api): Caller, Path(path): Path<String>, request: Request) -> Answer<Response> {
    let files = api.artifacts.at(&path, Action::Write).await?;
    let silence = Duration::from_secs(api.limits.silence_seconds);
    match files.put_pieces(&path, pieces(request.into_body(), silence)).await {
        // MLflow's clients would repeat a 429; a disk does not empty itself in between.
        Err(error) if error.kind() == ErrorKind::ResourceExhausted => {
            let mut response = Failure(error).into_response();
            *response.status_mut() = StatusCode::INSUFFICIENT_STORAGE;
            Ok(response)
        }
        written => Ok(written.map(|_| StatusCode::OK.into_response())?),
    }
}

/// The pieces of a body, until it ends, breaks off or falls silent.
fn pieces(body: Body, silence: Duration) -> impl Stream<Item = Result<Bytes>> + Send {
    let broken = |error| Error::cancelled("the upload broke off; send it again").with_source(error);
    futures::stream::unfold(Some(body.into_data_stream()), move |pieces| async move {
        let mut pieces = pieces?;
        match timeout(silence, pieces.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(pieces))),
            Ok(Some(Err(error))) => Some((Err(broken(error)), None)),
            Err(_) => {
                let seconds = silence.as_secs();
                Some((Err(Error::deadline_exceeded(format!("nothing came for {seconds} s; send it again"))), None))
            }
        }
    })
}

pub(super) async fn delete(Caller(api): Caller, Path(path): Path<String>) -> Answer<Json<Value>> {
    api.artifacts.at(&path, Action::Delete).await?.delete(&path).await?;
    Ok(Json(json!({})))
}

pub(super) async fn download(Caller(api): Caller, Path(path): Path<String>, headers: HeaderMap) -> Answer<Response> {
    send(api.artifacts.at(&path, Action::Read).await?, &path, &headers).await
}

/// A file of a store, or the range of it that the headers ask for.
pub(super) async fn send(files: &ArtifactStore, path: &str, headers: &HeaderMap) -> Answer<Response> {
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
    let ranged = range.is_some();
    let reader = match files.open(path, range).await {
        // The path was checked before, so only the range can be at fault here.
        Err(error) if ranged && error.kind() == ErrorKind::InvalidArgument && check_path("path", path).is_ok() => {
            return Ok(StatusCode::RANGE_NOT_SATISFIABLE.into_response());
        }
        opened => opened?,
    };
    let (start, end) = (reader.range.start, reader.range.end);
    let mut answer = Response::builder()
        .header(CONTENT_TYPE, file_type(path))
        .header(CONTENT_LENGTH, end - start)
        .header(CONTENT_DISPOSITION, disposition(path))
        .header(CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'")
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
    // A token of HTTP needs no quotes, and MLflow writes none.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    if !name.is_empty() && name.bytes().all(plain) {
        return format!("attachment; filename={name}");
    }
    let quoted = name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\'));
    let quoted = if quoted { format!("; filename=\"{name}\"") } else { String::new() };
    // Whoever knows both reads the second, in which nothing can be mistaken for a code.
    format!("attachment{quoted}; filename*=UTF-8''{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

/// What a client says of an upload in parts. It has to say it in time; the store may then take as long as it does.
#[derive(Debug)]
pub(super) struct Said(Params);

impl FromRequest<Api> for Said {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> std::result::Result<Self, Failure> {
        match timeout(Duration::from_secs(api.limits.answer_seconds), Params::from_request(request, api)).await {
            Ok(params) => params.map(Self),
            Err(_) => Err(Error::deadline_exceeded("the body came too slowly; send it again").into()),
        }
    }
}

/// The file that is uploaded in parts: the directory of the route and the name that the client's own path ends in.
fn target(directory: &str, params: &Params) -> Result<String> {
    let local = params.required("path")?;
    let name = local.rsplit(['/', '\\']).next().unwrap_or(local);
    let path = format!("{}/{name}", directory.trim_matches('/'));
    check_path("artifact path", &path)?;
    Ok(path)
}

pub(super) async fn begin_parts(
    Caller(api): Caller,
    Path(directory): Path<String>,
    Said(params): Said,
) -> Answer<Json<Value>> {
    let path = target(&directory, &params)?;
    let files = api.artifacts.at(&path, Action::Write).await?;
    let parts = u16::try_from(params.int("num_parts")?.unwrap_or(1)).unwrap_or(u16::MAX);
    let upload = files.begin_upload(&path, parts, SIGNED_PARTS).await?;
    let part = |part: &SignedPart| json!({ "url": part.url, "part_number": part.number, "headers": {} });
    let parts: Vec<Value> = upload.parts.iter().map(part).collect();
    Ok(Json(json!({ "upload_id": upload.id, "credentials": parts })))
}

pub(super) async fn complete_parts(
    Caller(api): Caller,
    Path(directory): Path<String>,
    Said(params): Said,
) -> Answer<Json<Value>> {
    let path = target(&directory, &params)?;
    let files = api.artifacts.at(&path, Action::Write).await?;
    let part = |part: &Params| Ok((part.required_int("part_number")?, part.required("etag")?.to_owned()));
    let mut parts = params.objects("parts")?.iter().map(part).collect::<Result<Vec<_>>>()?;
    parts.sort_unstable();
    if (1..).zip(&parts).any(|(expected, (number, _))| *number != expected) {
        let message = "parts count from 1 without gaps; send the missing ones first";
        return Err(Error::invalid_argument(message).into());
    }
    let tags = parts.into_iter().map(|(_, tag)| tag).collect();
    files.complete_upload(&path, params.required("upload_id")?, tags).await?;
    Ok(Json(json!({})))
}

pub(super) async fn abort_parts(
    Caller(api): Caller,
    Path(directory): Path<String>,
    Said(params): Said,
) -> Answer<Json<Value>> {
    let path = target(&directory, &params)?;
    let files = api.artifacts.at(&path, Action::Write).await?;
    files.abort_upload(&path, params.required("upload_id")?).await?;
    Ok(Json(json!({})))
}

/// A URL by which the client reads the file from the store itself.
pub(super) async fn signed_download(Caller(api): Caller, Path(path): Path<String>) -> Answer<Json<Value>> {
    let signed = api.artifacts.at(&path, Action::Read).await?.sign_download(&path, SIGNED_DOWNLOAD).await?;
    Ok(Json(json!({ "url": signed.url, "headers": {}, "file_size": signed.size })))
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
        assert_eq!(disposition("a/b/c.txt"), "attachment; filename=c.txt");
        let both = "attachment; filename=\"a%20 b\"; filename*=UTF-8''a%2520%20b";
        assert_eq!(disposition("a%20 b"), both);
        assert_eq!(disposition("a/ü\".txt"), "attachment; filename*=UTF-8''%C3%BC%22%2Etxt");
    }
}
