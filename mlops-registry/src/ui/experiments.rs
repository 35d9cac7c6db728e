//! The list of experiments.

use axum::{http::StatusCode, response::IntoResponse};

use super::{
    UiStores,
    ask::{Asked, Link},
    format,
    html::Html,
    page::{Answer, Page, Part, write_error},
};
use crate::{PageRequest, Search, View};

/// Experiments on a page.
const EXPERIMENTS_SHOWN: usize = 50;

/// A filter for names that contain a text; the grammar has no escapes, so a text with both quotes cannot be asked for.
pub(super) fn name_filter(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text if text.contains('\'') => format!("name ILIKE \"%{text}%\""),
        text => format!("name ILIKE '%{text}%'"),
    }
}

/// The box that finds by name.
pub(super) fn write_find(html: &mut Html, action: &Link, label: &'static str, text: &str) {
    html.raw("<form class=\"tools\" role=\"search\" action=\"")
        .text(action)
        .raw("\"><label class=\"find\"><span class=\"sr\">");
    html.raw(label).raw("</span><input type=\"search\" name=\"q\" placeholder=\"").raw(label).raw("\" value=\"");
    html.text(text).raw("\" autocomplete=\"off\" spellcheck=\"false\"></label><button>Find</button></form>");
}

/// Where to go on, when there is more.
pub(super) fn write_pages(html: &mut Html, first: Option<Link>, next: Option<Link>) {
    if first.is_none() && next.is_none() {
        return;
    }
    html.raw("<nav class=\"pages\" aria-label=\"Pages\">");
    if let Some(first) = first {
        html.link(&first, "\u{21e4} First page");
    }
    if let Some(next) = next {
        html.link(&next, "Next page \u{2192}");
    }
    html.raw("</nav>");
}

pub(super) async fn list(stores: UiStores, asked: Asked) -> Answer<impl IntoResponse> {
    let text = asked.one("q").unwrap_or_default();
    let page = PageRequest { max_results: Some(EXPERIMENTS_SHOWN), token: asked.one("token").map(str::to_owned) };
    let search = Search { filter: name_filter(text), page, ..Search::new() };
    let mut html = Html::new();
    write_find(&mut html, &Link::to(&[]), "Find experiments by name", text);
    let found = match stores.tracking.search_experiments(&search).await {
        Err(error) if error.kind() == mlops_core::ErrorKind::InvalidArgument => {
            write_error(&mut html, &error, &search.filter);
            return Ok(Page::new(Part::Experiments, "Experiments", html).with_status(StatusCode::BAD_REQUEST));
        }
        found => found?,
    };
    if found.items.is_empty() {
        html.raw("<p class=\"note\">No experiment matches.</p>");
        return Ok(Page::new(Part::Experiments, "Experiments", html));
    }
    html.table(
        "Experiments",
        &[("Name", ""), ("Id", "n"), ("Runs", "n"), ("Created", ""), ("Last changed", ""), ("Tags", "w2")],
    );
    for experiment in &found.items {
        let runs = stores.tracking.count_runs(&[experiment.id], &Search::new().with_view(View::ActiveOnly)).await?;
        html.raw("<tr><th scope=\"row\"><bdi>")
            .link(&of(experiment.id), &experiment.name)
            .raw("</bdi></th><td class=\"n\">");
        html.text(experiment.id).raw("</td><td class=\"n\">").text(format::count(runs, "run")).raw("</td><td>");
        html.time(experiment.created).raw("</td><td>").time(experiment.updated).raw("</td><td class=\"w2\">");
        write_tags(&mut html, &experiment.tags);
        html.raw("</td></tr>");
    }
    html.end_table();
    let next = found.next_page_token.map(|token| Link::to(&[]).with("q", text).with("token", token));
    let first = asked.one("token").map(|_| Link::to(&[]).with("q", text));
    write_pages(&mut html, first, next);
    Ok(Page::new(Part::Experiments, "Experiments", html))
}

/// The page of an experiment.
pub(super) fn of(id: crate::ExperimentId) -> Link {
    Link::to(&["experiments", &id.to_string()])
}

/// The first few tags that people set.
pub(super) fn write_tags(html: &mut Html, tags: &std::collections::BTreeMap<String, String>) {
    for (key, value) in tags.iter().filter(|(key, _)| !is_internal(key)).take(4) {
        html.raw("<span class=\"tag\"><bdi>").text(format::shortened(key, 30)).raw("</bdi> <bdi>");
        html.text(format::shortened(value, 40)).raw("</bdi></span> ");
    }
}

/// Whether a tag is kept by programs for themselves.
pub(super) fn is_internal(key: &str) -> bool {
    key.starts_with("mlflow.") || key.starts_with("mlops.")
}
