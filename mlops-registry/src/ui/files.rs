//! Files of a run: one directory of them, a look into one, and its bytes.
//!
//! Invariant: bytes go out as an attachment, except images and HTML that are asked for inline; those come with a policy
//! that lets them run nothing and read nothing, so that a file is never a page of this server.

use axum::{
    body::Body,
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use futures::TryStreamExt as _;
use mlops_core::{Action, Error, ErrorKind, Result};

use super::{
    UiStores,
    ask::{Asked, Link},
    format,
    html::Html,
    page::Answer,
};
use crate::{ArtifactEntry, RunRecord, mlflow::disposition};

/// Bytes of a file that a page shows.
const PREVIEW_BYTES: usize = 64 << 10;
/// Rows and columns of a CSV file that a page shows.
const CSV_ROWS: usize = 30;
const CSV_COLUMNS: usize = 30;
/// Names of a directory that a page shows.
const ENTRIES_SHOWN: usize = 500;
/// Nothing runs in the file, and it belongs to no origin.
const FILE_POLICY: &str =
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'";

/// How a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image(&'static str),
    Html,
    Json,
    Csv(char),
    Text,
    Other,
}

impl Kind {
    fn of(path: &str) -> Self {
        let end = path.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
        match end.as_str() {
            "png" => Self::Image("image/png"),
            "jpg" | "jpeg" => Self::Image("image/jpeg"),
            "gif" => Self::Image("image/gif"),
            "webp" => Self::Image("image/webp"),
            "svg" => Self::Image("image/svg+xml"),
            "html" | "htm" => Self::Html,
            "json" => Self::Json,
            "csv" => Self::Csv(','),
            "tsv" => Self::Csv('\t'),
            "txt" | "md" | "log" | "yaml" | "yml" | "toml" | "py" | "rs" | "sql" | "xml" | "jsonl" | "ini" | "cfg" => {
                Self::Text
            }
            _ => Self::Other,
        }
    }

    /// The media type under which a browser may show it.
    fn shown_as(self) -> Option<&'static str> {
        match self {
            Self::Image(kind) => Some(kind),
            Self::Html => Some("text/html; charset=utf-8"),
            _ => None,
        }
    }
}

/// A directory, and the file in it that is looked at.
#[derive(Debug)]
pub(super) enum Browsed {
    /// The files are not in this server's store.
    Elsewhere(String),
    /// One directory.
    Directory { path: String, entries: Vec<ArtifactEntry> },
    /// One file and its beginning.
    File { path: String, size: u64, start: Vec<u8> },
}

pub(super) async fn browse(stores: &UiStores, run: &RunRecord, path: &str) -> Result<Browsed> {
    let path = path.trim_matches('/');
    let (store, at) = match stores.artifacts.below(&run.artifact_uri, path, Action::Read).await {
        Err(error) if error.kind() == ErrorKind::FailedPrecondition => {
            return Ok(Browsed::Elsewhere(run.artifact_uri.clone()));
        }
        found => found?,
    };
    let entries = store.entries(&at).await?;
    if !entries.is_empty() || path.is_empty() {
        return Ok(Browsed::Directory { path: path.to_owned(), entries });
    }
    let mut reader = store.open(&at, None).await?;
    let mut start = Vec::new();
    if !matches!(Kind::of(path), Kind::Image(_) | Kind::Html) {
        while let Some(piece) = reader.pieces.try_next().await? {
            start.extend_from_slice(piece.get(..piece.len().min(PREVIEW_BYTES - start.len())).unwrap_or_default());
            if start.len() >= PREVIEW_BYTES {
                break;
            }
        }
    }
    Ok(Browsed::File { path: path.to_owned(), size: reader.size, start })
}

fn link(run: &RunRecord, path: &str) -> Link {
    super::run::of(&run.id).with("path", path)
}

fn bytes_link(run: &RunRecord, path: &str) -> Link {
    Link::to(&["runs", run.id.as_str(), "file"]).with("path", path)
}

pub(super) fn write(html: &mut Html, run: &RunRecord, browsed: &Browsed) {
    match browsed {
        Browsed::Elsewhere(uri) => {
            html.raw("<p class=\"note\">Its files are kept elsewhere: <code>").text(uri).raw("</code></p>");
        }
        Browsed::Directory { path, entries } => write_directory(html, run, path, entries),
        Browsed::File { path, size, start } => write_file(html, run, path, (*size, start)),
    }
}

/// The directories above, each a link.
fn write_trail(html: &mut Html, run: &RunRecord, path: &str) {
    html.raw("<p class=\"path\" id=\"files\">").link(&super::run::of(&run.id), "files");
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]).filter(|(end, _)| *end > 0) {
        let above = path.get(..end).unwrap_or_default();
        let name = above.rsplit('/').next().unwrap_or(above);
        html.raw(" / ").link(&link(run, above), name);
    }
    html.raw("</p>");
}

fn write_directory(html: &mut Html, run: &RunRecord, path: &str, entries: &[ArtifactEntry]) {
    if entries.is_empty() {
        html.raw("<p class=\"note\">None.</p>");
        return;
    }
    write_trail(html, run, path);
    html.table("Files", &[("Name", ""), ("Size", "n")]);
    for entry in entries.iter().take(ENTRIES_SHOWN) {
        let whole = if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
        html.raw("<tr><th scope=\"row\"><bdi>").link(&link(run, &whole), &entry.name);
        html.raw(if entry.size.is_none() { "/" } else { "" }).raw("</bdi></th><td class=\"n\">");
        html.text(entry.size.map_or_else(|| "\u{2013}".to_owned(), format::bytes)).raw("</td></tr>");
    }
    html.end_table();
    if entries.len() > ENTRIES_SHOWN {
        let more = format::count((entries.len() - ENTRIES_SHOWN) as u64, "more name");
        html.raw("<p class=\"note\">").text(more).raw(" not shown.</p>");
    }
}

fn write_file(html: &mut Html, run: &RunRecord, path: &str, (size, start): (u64, &[u8])) {
    write_trail(html, run, path);
    html.raw("<p>").text(format::bytes(size)).raw(" \u{b7} ").link(&bytes_link(run, path), "Download").raw("</p>");
    let inline = bytes_link(run, path).with("inline", 1);
    let text = std::str::from_utf8(start).or_else(|error| {
        // A letter that the cut went through is left out.
        std::str::from_utf8(start.get(..error.valid_up_to()).filter(|_| error.error_len().is_none()).unwrap_or(&[0xff]))
    });
    match (Kind::of(path), text) {
        (Kind::Image(_), _) => {
            html.raw("<img class=\"preview\" alt=\"").text(path).raw("\" src=\"").text(inline).raw("\">");
        }
        (Kind::Html, _) => {
            html.raw("<iframe class=\"preview\" sandbox=\"\" title=\"")
                .text(path)
                .raw("\" src=\"")
                .text(inline)
                .raw("\"></iframe>");
        }
        (Kind::Csv(separator), Ok(text)) => write_csv(html, text, separator),
        (kind, Ok(text)) if kind != Kind::Other || !text.contains('\0') => {
            let pretty = match kind {
                Kind::Json => serde_json::from_str::<serde_json::Value>(text).ok(),
                _ => None,
            };
            let pretty = pretty.and_then(|value| serde_json::to_string_pretty(&value).ok());
            html.raw("<pre class=\"preview\" tabindex=\"0\">").text(pretty.as_deref().unwrap_or(text)).raw("</pre>");
        }
        _ => {
            html.raw("<p class=\"note\">Not shown: it is no text or image.</p>");
        }
    }
    if start.len() >= PREVIEW_BYTES && (start.len() as u64) < size {
        html.raw("<p class=\"note\">Only the beginning is shown.</p>");
    }
}

fn write_csv(html: &mut Html, text: &str, separator: char) {
    let mut rows = csv_rows(text, separator).into_iter();
    html.raw("<div class=\"scroll\" tabindex=\"0\"><table><caption class=\"sr\">First rows</caption><thead><tr>");
    for cell in rows.next().unwrap_or_default() {
        html.raw("<th scope=\"col\"><bdi>").text(format::shortened(&cell, 60)).raw("</bdi></th>");
    }
    html.raw("</tr></thead><tbody>");
    for row in rows {
        html.raw("<tr>");
        for cell in row {
            html.raw("<td><bdi>").text(format::shortened(&cell, 60)).raw("</bdi></td>");
        }
        html.raw("</tr>");
    }
    html.end_table();
}

/// The first rows of comma separated values (RFC 4180), as far as they are shown.
fn csv_rows(text: &str, separator: char) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
            '"' => quoted = !quoted,
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
                if rows.len() > CSV_ROWS {
                    return rows;
                }
            }
            other if other == separator && !quoted => row.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
        row.truncate(CSV_COLUMNS);
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

/// The bytes of a file.
pub(super) async fn file(stores: UiStores, Path(id): Path<String>, asked: Asked) -> Answer<Response> {
    let run = stores.tracking.run(&id.parse()?).await?;
    let path = asked.one("path").ok_or_else(|| Error::invalid_argument("name the file by path=..."))?;
    let (store, at) = stores.artifacts.below(&run.artifact_uri, path, Action::Read).await?;
    let reader = store.open(&at, None).await?;
    let shown = Kind::of(path).shown_as().filter(|_| asked.one("inline").is_some());
    let disposition = if shown.is_some() { "inline".to_owned() } else { disposition(path) };
    let headers = [
        (header::CONTENT_TYPE, shown.unwrap_or("application/octet-stream").to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_LENGTH, reader.size.to_string()),
        (header::CONTENT_SECURITY_POLICY, FILE_POLICY.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(reader.pieces)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_read_as_the_standard_says() {
        let rows = csv_rows("a,b\r\n\"x, \"\"y\"\"\",\"two\nlines\"\nlast", ',');
        assert_eq!(rows, [vec!["a", "b"], vec!["x, \"y\"", "two\nlines"], vec!["last"]]);
        assert_eq!(csv_rows(&"1\n".repeat(1_000), ',').len(), CSV_ROWS + 1);
        assert!(csv_rows(&",".repeat(10_000), ',').iter().all(|row| row.len() <= CSV_COLUMNS + 1));
    }
}
