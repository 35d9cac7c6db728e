//! What all pages have around their contents, and how they refuse.
//!
//! Invariant: every answer forbids scripts, styles and connections but its own server's, and being framed by others.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mlops_core::{Digest, Error, ErrorKind};

use super::{ask::Link, html::Html};

pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("app.js");

const POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// Which part of the navigation is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Experiments,
    Models,
}

/// A page on its way out.
#[derive(Debug)]
pub(super) struct Page {
    part: Part,
    title: String,
    trail: Vec<(Link, String)>,
    status: StatusCode,
    body: Html,
}

impl Page {
    pub(super) fn new(part: Part, title: impl Into<String>, body: Html) -> Self {
        Self { part, title: title.into(), trail: Vec::new(), status: StatusCode::OK, body }
    }

    /// The page above this one.
    pub(super) fn below(mut self, link: Link, name: impl Into<String>) -> Self {
        self.trail.push((link, name.into()));
        self
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    fn write(&self) -> String {
        // Addresses that change with the contents, so that browsers may keep the files.
        static VERSION: LazyLock<String> = LazyLock::new(|| {
            Digest::of(format!("{STYLE}{SCRIPT}").as_bytes()).to_string().chars().rev().take(12).collect()
        });
        let (style, script) =
            (Link::to(&["style.css"]).with("v", &*VERSION), Link::to(&["app.js"]).with("v", &*VERSION));
        let mut page = Html::new();
        page.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">")
            .raw("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")
            .raw("<meta name=\"color-scheme\" content=\"light dark\"><title>")
            .text(&self.title)
            .raw("</title><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"")
            .text(style)
            .raw("\"><script src=\"")
            .text(script)
            .raw("\" defer></script></head><body><a class=\"skip\" href=\"#main\">Skip to the contents</a>")
            .raw("<header><nav aria-label=\"Main\">");
        for (part, link, name) in
            [(Part::Experiments, Link::to(&[]), "Experiments"), (Part::Models, Link::to(&["models"]), "Models")]
        {
            page.raw("<a href=\"").text(link).raw("\"");
            page.raw(if part == self.part { " aria-current=\"true\">" } else { ">" }).raw(name).raw("</a>");
        }
        page.raw("</nav></header><main id=\"main\" tabindex=\"-1\">");
        if !self.trail.is_empty() {
            page.raw("<nav class=\"trail\" aria-label=\"Above this page\"><ol>");
            for (link, name) in &self.trail {
                page.raw("<li>").link(link, name).raw("</li>");
            }
            page.raw("</ol></nav>");
        }
        page.raw("<h1><bdi>").text(&self.title).raw("</bdi></h1>").add(&self.body).raw("</main></body></html>\n");
        page.into_string()
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (self.status, headers, self.write()).into_response()
    }
}

/// An error as a page.
#[derive(Debug)]
pub(super) struct Refusal(Error);

pub(super) type Answer<T> = Result<T, Refusal>;

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

pub(super) fn status_of(kind: ErrorKind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = status_of(self.0.kind());
        if status.is_server_error() {
            tracing::error!(error = %self.0.chain(), "a page failed");
        }
        let title = match self.0.kind() {
            ErrorKind::NotFound => "Not found",
            ErrorKind::InvalidArgument => "This address asks for something wrong",
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => "Not allowed",
            _ => "This page cannot be shown",
        };
        let mut body = Html::new();
        body.raw("<p class=\"error\" role=\"alert\">").text(self.0.message()).raw("</p>");
        Page::new(Part::Experiments, title, body).with_status(status).into_response()
    }
}

/// An error on the page whose search caused it: the message, and the place in the text that it is about.
pub(super) fn write_error(html: &mut Html, error: &Error, text: &str) {
    html.raw("<div class=\"error\" role=\"alert\"><p>").text(error.message()).raw("</p>");
    let position = error.context().iter().find(|(key, _)| *key == "position").and_then(|(_, at)| at.parse().ok());
    if let Some((before, after)) = position.and_then(|at| text.split_at_checked(at)) {
        html.raw("<pre>").text(before).raw("<mark>");
        let first = after.chars().next();
        match first {
            Some(first) => html.text(first).raw("</mark>").text(after.get(first.len_utf8()..).unwrap_or_default()),
            None => html.raw("\u{2038}</mark>"),
        };
        html.raw("</pre>");
    }
    html.raw("</div>");
}
