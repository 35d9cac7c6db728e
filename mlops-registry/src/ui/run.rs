//! The page of a run.

use axum::{extract::Path, response::IntoResponse};
use mlops_core::{Result, RunId};

use super::{
    UiStores,
    ask::{Asked, Link},
    chart::{self, CHARTS_SHOWN},
    experiments::{self, is_internal},
    files, format,
    html::Html,
    page::{Answer, Page, Part},
};
use crate::{
    LoggedModel, RunRecord, View,
    linked::linked,
    tracking::{DATASET_CONTEXT_TAG, PARENT_RUN_TAG},
};

/// Logged models on a page.
const MODELS_SHOWN: usize = 20;
/// Metrics, params or tags on a page, of each.
const ROWS_SHOWN: usize = 1_000;

/// The page of a run.
pub(super) fn of(id: &RunId) -> Link {
    Link::to(&["runs", id.as_str()])
}

pub(super) async fn page(stores: UiStores, Path(id): Path<String>, asked: Asked) -> Answer<impl IntoResponse> {
    let run = stores.tracking.run(&id.parse()?).await?;
    let experiment = stores.tracking.experiment(run.experiment).await?;
    let models = models(&stores, &run).await?;
    let browsed = files::browse(&stores, &run, asked.one("path").unwrap_or_default()).await?;
    let mut html = Html::new();
    write_facts(&mut html, &run);
    if !run.metrics.is_empty() {
        html.section("Charts", |html| {
            chart::write_controls(html);
            chart::write_charts(html, run.metrics.keys(), &[&run.id]);
            if run.metrics.len() > CHARTS_SHOWN {
                let more = format::count((run.metrics.len() - CHARTS_SHOWN) as u64, "more metric");
                html.raw("<p class=\"note\">").text(more).raw(", without a chart here.</p>");
            }
        });
    }
    html.raw("<div class=\"two\">");
    html.section("Metrics", |html| write_metrics(html, &run));
    html.section("Params", |html| {
        html.pairs("Params", &[("Param", ""), ("Value", "")], run.params.iter().take(ROWS_SHOWN), "any");
    });
    html.section("Tags", |html| {
        let tags = run.tags.iter().filter(|(key, _)| !is_internal(key)).take(ROWS_SHOWN);
        html.pairs("Tags", &[("Tag", ""), ("Value", "")], tags, "any");
    });
    html.section("Datasets", |html| write_datasets(html, &run));
    html.raw("</div>");
    html.section("Files", |html| files::write(html, &run, &browsed));
    if !models.is_empty() {
        html.section("Logged models", |html| write_models(html, &models));
    }
    let title = if run.name.trim().is_empty() { run.id.to_string() } else { run.name.clone() };
    let page = Page::new(Part::Experiments, title, html).below(Link::to(&[]), "Experiments");
    Ok(page.below(experiments::of(experiment.id), experiment.name))
}

async fn models(stores: &UiStores, run: &RunRecord) -> Result<Vec<(&'static str, LoggedModel)>> {
    let Some(store) = &stores.logged_models else { return Ok(Vec::new()) };
    let of_run = store.models_of_runs(std::slice::from_ref(&run.id)).await?.into_iter().next().unwrap_or_default();
    let made = of_run.outputs.into_iter().map(|output| ("made", output.model));
    let mut found = Vec::new();
    for (role, id) in made.chain(of_run.inputs.into_iter().map(|id| ("read", id))).take(MODELS_SHOWN) {
        found.extend(linked(store.logged_model(&id, View::All).await)?.map(|model| (role, model)));
    }
    Ok(found)
}

fn write_facts(html: &mut Html, run: &RunRecord) {
    let (kind, word) = format::status(run.status);
    html.raw("<dl class=\"facts\"><dt>Status</dt><dd>").chip(kind, word);
    if run.deleted {
        html.raw(" ").chip("bad", "deleted");
    }
    html.raw("</dd><dt>Run id</dt><dd><code>").text(&run.id).raw("</code></dd><dt>Started</dt><dd>").time(run.started);
    html.raw("</dd><dt>Took</dt><dd>").text(format::duration(run).as_deref().unwrap_or("still open")).raw("</dd>");
    if !run.user.is_empty() {
        html.raw("<dt>User</dt><dd>").name(&run.user).raw("</dd>");
    }
    if let Some(parent) = run.tags.get(PARENT_RUN_TAG) {
        html.raw("<dt>Part of</dt><dd>").link(&Link::to(&["runs", parent]), parent).raw("</dd>");
    }
    if let Some(note) = run.tags.get("mlflow.note.content") {
        html.raw("<dt>Note</dt><dd class=\"prose\">").text(note).raw("</dd>");
    }
    html.raw("</dl>");
}

fn write_metrics(html: &mut Html, run: &RunRecord) {
    if run.metrics.is_empty() {
        html.raw("<p class=\"note\">None.</p>");
        return;
    }
    html.table("Latest values of metrics", &[("Metric", ""), ("Latest", "n"), ("Step", "n")]);
    for metric in run.metrics.values().take(ROWS_SHOWN) {
        html.raw("<tr><th scope=\"row\"><bdi>").text(&metric.key).raw("</bdi></th><td class=\"n\">");
        html.text(format::number(metric.value)).raw("</td><td class=\"n\">").text(metric.step).raw("</td></tr>");
    }
    html.end_table();
}

fn write_datasets(html: &mut Html, run: &RunRecord) {
    if run.datasets.is_empty() {
        html.raw("<p class=\"note\">None.</p>");
        return;
    }
    html.table("Datasets", &[("Dataset", ""), ("Digest", ""), ("Used for", ""), ("Source", "w2")]);
    for input in run.datasets.iter().take(ROWS_SHOWN) {
        html.raw("<tr><th scope=\"row\">").name(&input.dataset.name).raw("</th><td><code>").text(&input.dataset.digest);
        html.raw("</code></td><td>").name(input.tags.get(DATASET_CONTEXT_TAG).map_or("", String::as_str));
        html.raw("</td><td class=\"w2\">").name(&format::shortened(&input.dataset.source_type, 40)).raw("</td></tr>");
    }
    html.end_table();
}

fn write_models(html: &mut Html, models: &[(&'static str, LoggedModel)]) {
    html.table(
        "Logged models",
        &[("Model", ""), ("Id", ""), ("Kind", ""), ("This run", ""), ("Status", ""), ("Created", "")],
    );
    for (role, model) in models {
        html.raw("<tr><th scope=\"row\">")
            .name(&model.name)
            .raw("</th><td><code>")
            .text(&model.id)
            .raw("</code></td><td>");
        html.name(&model.model_type)
            .raw("</td><td>")
            .text(role)
            .raw(" it</td><td>")
            .text(model.status.name().to_lowercase());
        html.raw("</td><td>").time(model.created).raw("</td></tr>");
    }
    html.end_table();
}
