//! Curves of metrics: places on pages where the script draws them, and the points it asks for.
//!
//! Invariant: an answer has at most [`POINTS_MAX`] points for each of [`RUNS_MAX`] runs, however long the histories are;
//! they are chosen by [`crate::TrackingStore::metric_chart`].

use axum::{
    Json,
    http::{HeaderName, StatusCode, header},
    response::IntoResponse,
};
use mlops_core::{Error, Result, RunId};
use serde_json::{Value, json};

use super::{UiStores, ask::Asked, html::Html, page::status_of};
use crate::tracking::sample::HistorySample;

/// Runs in one chart.
pub(super) const RUNS_MAX: usize = 20;
/// Points of each run in one chart.
const POINTS_MAX: usize = 5_000;
const POINTS_FIRST: usize = 1_000;
/// Charts that a page draws.
pub(super) const CHARTS_SHOWN: usize = 24;

type Refused = (StatusCode, [(HeaderName, &'static str); 1], Json<Value>);

/// The points of a metric of several runs: `?key=auc&run=ID&run=ID`, and optionally `first` and `last` step and `points`.
pub(super) async fn points(stores: UiStores, asked: Asked) -> std::result::Result<impl IntoResponse, Refused> {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    match gather(&stores, &asked).await {
        Ok(found) => Ok((headers, Json(found))),
        Err(error) => {
            let body = json!({ "error": error.message() });
            Err((status_of(error.kind()), headers, Json(body)))
        }
    }
}

async fn gather(stores: &UiStores, asked: &Asked) -> Result<Value> {
    let key = asked.one("key").ok_or_else(|| Error::invalid_argument("name the metric by key=..."))?;
    let points = asked.number("points").unwrap_or(POINTS_FIRST).clamp(2, POINTS_MAX);
    let mut sample = HistorySample::new(key).with_points_max(points);
    if let (Some(first), Some(last)) = (asked.number("first"), asked.number("last")) {
        sample = sample.with_steps(first, last);
    }
    let mut runs = Vec::new();
    for text in asked.all("run").take(RUNS_MAX) {
        let run = stores.tracking.run(&text.parse()?).await?;
        let points = stores.tracking.metric_chart(&run.id, &sample).await?;
        let points = points.iter().map(|point| json!([point.step, point.timestamp.as_millis(), point.value]));
        runs.push(json!({ "id": run.id.as_str(), "name": run.name, "points": points.collect::<Value>() }));
    }
    Ok(json!({ "key": key, "runs": runs }))
}

/// What all charts of a page obey.
pub(super) fn write_controls(html: &mut Html) {
    html.raw("<div class=\"tools charttools\" hidden><label>X axis <select id=\"chart-x\"><option value=\"step\">step</option>")
        .raw("<option value=\"time\">time</option></select></label>")
        .raw("<label class=\"check\"><input type=\"checkbox\" id=\"chart-log\"> logarithmic</label>")
        .raw("<span class=\"note\">Drag over a chart to zoom; double-click to see all.</span></div>");
}

/// Places for charts, one for each metric.
pub(super) fn write_charts<'a>(html: &mut Html, keys: impl Iterator<Item = &'a String>, runs: &[&RunId]) {
    html.raw("<div class=\"charts\">");
    for key in keys.take(CHARTS_SHOWN) {
        html.raw("<figure class=\"chart\" data-key=\"").text(key).raw("\" data-runs=\"");
        for (place, run) in runs.iter().take(RUNS_MAX).enumerate() {
            html.raw(if place == 0 { "" } else { " " }).text(run);
        }
        html.raw("\"><figcaption><bdi>")
            .text(key)
            .raw("</bdi></figcaption><noscript>Charts are drawn by a script.</noscript></figure>");
    }
    html.raw("</div>");
}
