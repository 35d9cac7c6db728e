//! Several runs side by side: what they were given, what they reached, and their curves.

use std::collections::BTreeMap;

use axum::response::IntoResponse;
use mlops_core::{Error, RunId};

use super::{
    UiStores,
    ask::{Asked, Link},
    chart::{self, RUNS_MAX},
    experiments, format,
    html::Html,
    page::{Answer, Page, Part},
    parallel,
};
use crate::RunRecord;

/// Params or metrics in a table.
const ROWS_SHOWN: usize = 500;
/// Curves that are drawn first.
const CHARTS_FIRST: usize = 6;

pub(super) async fn page(stores: UiStores, asked: Asked) -> Answer<impl IntoResponse> {
    let mut runs: Vec<RunRecord> = Vec::new();
    for text in asked.all("run") {
        let id: RunId = text.parse()?;
        if runs.iter().all(|run| run.id != id) {
            if runs.len() == RUNS_MAX {
                return Err(
                    Error::invalid_argument(format!("at most {RUNS_MAX} runs can be compared; select fewer")).into()
                );
            }
            runs.push(stores.tracking.run(&id).await?);
        }
    }
    let Some(first) = runs.first() else {
        return Err(Error::invalid_argument("select the runs to compare in the table of an experiment").into());
    };
    let experiment = stores.tracking.experiment(first.experiment).await?;
    let mut html = Html::new();
    write_page(&mut html, &runs, asked.one("only").is_some());
    let title = format!("Comparison of {}", format::count(runs.len() as u64, "run"));
    let page = Page::new(Part::Experiments, title, html).below(Link::to(&[]), "Experiments");
    Ok(page.below(experiments::of(experiment.id), experiment.name))
}

fn write_page(html: &mut Html, runs: &[RunRecord], only_different: bool) {
    let params = rows(runs, |run| run.params.iter().map(|(key, value)| (key.as_str(), value.clone())).collect());
    let metrics = rows(runs, |run| {
        run.metrics.iter().map(|(key, metric)| (key.as_str(), format::number(metric.value))).collect()
    });
    let this = runs.iter().fold(Link::to(&["compare"]), |link, run| link.with("run", &run.id));
    html.raw("<p>");
    if only_different {
        html.link(&this, "Show all rows");
    } else {
        html.link(&this.with("only", 1), "Show only what differs");
    }
    html.raw("</p>");
    html.section("Metrics", |html| write_table(html, "Metrics", runs, &metrics, only_different));
    html.section("Params", |html| write_table(html, "Params", runs, &params, only_different));
    html.section("Parallel coordinates", |html| parallel::write(html, runs));
    html.section("Curves", |html| {
        let ids: Vec<&RunId> = runs.iter().map(|run| &run.id).collect();
        chart::write_controls(html);
        let keys: Vec<String> = metrics.keys().map(|key| (*key).to_owned()).collect();
        chart::write_charts(html, keys.iter().take(CHARTS_FIRST), &ids);
    });
}

/// What each run has under each key that one of them has.
fn rows<'a>(
    runs: &'a [RunRecord],
    of: impl Fn(&'a RunRecord) -> BTreeMap<&'a str, String>,
) -> BTreeMap<&'a str, Vec<Option<String>>> {
    let mut found: BTreeMap<&str, Vec<Option<String>>> = BTreeMap::new();
    for (place, run) in runs.iter().enumerate() {
        for (key, value) in of(run) {
            let row = found.entry(key).or_insert_with(|| vec![None; runs.len()]);
            if let Some(cell) = row.get_mut(place) {
                *cell = Some(value);
            }
        }
    }
    found
}

fn differs(row: &[Option<String>]) -> bool {
    row.windows(2).any(|pair| matches!(pair, [a, b] if a != b))
}

fn write_table(
    html: &mut Html,
    caption: &'static str,
    runs: &[RunRecord],
    rows: &BTreeMap<&str, Vec<Option<String>>>,
    only_different: bool,
) {
    let shown: Vec<_> = rows.iter().filter(|(_, row)| !only_different || differs(row)).collect();
    if shown.is_empty() {
        html.raw("<p class=\"note\">").raw(if only_different { "No difference." } else { "None." }).raw("</p>");
        return;
    }
    html.raw("<div class=\"scroll\" tabindex=\"0\"><table class=\"compared\"><caption class=\"sr\">").raw(caption);
    html.raw("</caption><thead><tr><th scope=\"col\">Name</th>");
    for run in runs {
        html.raw("<th scope=\"col\"><bdi>")
            .link(&super::run::of(&run.id), format::shortened(&run.name, 30))
            .raw("</bdi></th>");
    }
    html.raw("</tr></thead><tbody>");
    for (key, row) in shown.iter().take(ROWS_SHOWN) {
        let different = differs(row) && runs.len() > 1;
        html.raw(if different { "<tr class=\"differs\">" } else { "<tr>" }).raw("<th scope=\"row\"><bdi>").text(key);
        html.raw("</bdi>").raw(if different { " <span class=\"mark\" title=\"differs\">\u{2260}</span>" } else { "" });
        html.raw("</th>");
        for cell in *row {
            let text = cell.as_deref().map_or_else(|| "\u{2013}".to_owned(), |text| format::shortened(text, 120));
            html.raw("<td><bdi>").text(text).raw("</bdi></td>");
        }
        html.raw("</tr>");
    }
    html.end_table();
    if shown.len() > ROWS_SHOWN {
        html.raw("<p class=\"note\">")
            .text(format::count((shown.len() - ROWS_SHOWN) as u64, "more row"))
            .raw(" not shown.</p>");
    }
}
