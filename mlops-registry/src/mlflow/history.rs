//! `metrics/...`: the points of a metric, of one run whole and of several for a chart.

use axum::{
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use futures::stream;
use mlops_core::{Error, Metric, Result, RunId};

use super::{
    Api, Inner,
    auth::Caller,
    files::Answer,
    json_list::JsonList,
    request::Params,
    run_answer::{self, BulkPoints, SampledPoints},
};
use crate::{PageRequest, search::Page, tracking::sample::HistorySample};

/// Largest page of points.
const PAGE_MAX: usize = 50_000;
/// Most points of one answer for several runs.
const POINTS_MAX: usize = 25_000;
/// Most points of one run in a sampled answer.
const SAMPLE_MAX: usize = 2_500;
/// Most runs in one call.
const RUNS_MAX: usize = 100;

/// A page of points, or all of them for a client that names no size and so follows no token.
pub(super) async fn of_metric(Caller(api): Caller, params: Params) -> Answer<Response> {
    let (id, key) = (params.run_id()?, params.required("metric_key")?.to_owned());
    let request = params.page(PAGE_MAX, PAGE_MAX)?;
    let page = api.tracking.metric_history(&id, &key, &request).await?;
    let paged = params.int("max_results")?.is_some();
    let state = (Some(Points { page, list: JsonList::new("metrics") }), api);
    let pieces = stream::try_unfold(state, move |(points, api)| {
        let (id, key) = (id.clone(), key.clone());
        async move {
            let Some(Points { page, mut list }) = points else { return Ok::<_, Error>(None) };
            let piece = list.piece(page.items.iter().map(|metric| run_answer::point(metric, None)))?;
            let next = match page.next_page_token {
                Some(token) if !paged => {
                    let request = PageRequest { max_results: Some(PAGE_MAX), token: Some(token) };
                    let page = api.tracking.metric_history(&id, &key, &request).await?;
                    return Ok(Some((piece, (Some(Points { page, list }), api))));
                }
                token => list.end(token.as_deref())?,
            };
            Ok(Some((Bytes::from([piece, next].concat()), (None, api))))
        }
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}

/// Points that were read and are not yet written.
struct Points {
    page: Page<Metric>,
    list: JsonList,
}

/// The points of some runs one after another, by time.
pub(super) async fn of_runs(api: Api, params: Params) -> Result<BulkPoints> {
    let mut runs = run_ids(&params, "run_id", "GetMetricHistoryBulk request cannot specify more than")?;
    if runs.is_empty() {
        return Err(Error::invalid_argument("GetMetricHistoryBulk request must specify at least one run_id."));
    }
    let key = params
        .text("metric_key")?
        .ok_or_else(|| Error::invalid_argument("GetMetricHistoryBulk request must specify a metric_key."))?;
    let max = params.page(POINTS_MAX, usize::MAX)?.max_results.unwrap_or(POINTS_MAX).min(POINTS_MAX);
    runs.sort();
    runs.dedup();
    let mut found = Vec::new();
    for run in &runs {
        let points = api.points(run, key, max - found.len()).await?;
        found.extend(points.into_iter().map(|point| (Some(run.clone()), point)));
        if found.len() >= max {
            break;
        }
    }
    Ok(BulkPoints(found))
}

/// A sample of the points of each run, even over their places.
pub(super) async fn sampled(api: Api, params: Params) -> Result<SampledPoints> {
    params.required_list("run_ids")?;
    let (runs, key) = (
        run_ids(&params, "run_ids", "GetMetricHistoryBulkInterval request must specify at most")?,
        params.required("metric_key")?,
    );
    let max = match params.int("max_results")? {
        None => SAMPLE_MAX,
        Some(size) => usize::try_from(size)
            .ok()
            .filter(|size| (1..=SAMPLE_MAX).contains(size))
            .ok_or_else(|| Error::invalid_argument(format!("max_results must be between 1 and {SAMPLE_MAX}.")))?,
    };
    let steps = match (params.int("start_step")?, params.int("end_step")?) {
        (None, None) => None,
        (Some(start), Some(end)) if start <= end => Some((start, end)),
        (Some(start), Some(end)) => {
            return Err(Error::invalid_argument(format!(
                "end_step must be greater than start_step. Found start_step={start} and end_step={end}."
            )));
        }
        _ => {
            return Err(Error::invalid_argument(
                "If either start step or end step are specified, both must be specified.",
            ));
        }
    };
    let mut sample = HistorySample::new(key).with_points_max(max);
    sample.steps = steps;
    let found = api.tracking.metric_history_sampled(&runs, &sample).await?;
    let of_run = |(run, points): (RunId, Vec<Metric>)| points.into_iter().map(move |point| (Some(run.clone()), point));
    Ok(SampledPoints { metrics: found.into_iter().flat_map(of_run).collect() })
}

/// The runs of a call; `bound` is how the refusal of too many begins.
fn run_ids(params: &Params, field: &str, bound: &str) -> Result<Vec<RunId>> {
    let ids = params.texts(field)?;
    if ids.len() > RUNS_MAX {
        return Err(Error::invalid_argument(format!("{bound} {RUNS_MAX} run_ids. Received {} run_ids.", ids.len())));
    }
    ids.iter().map(|id| id.parse()).collect()
}

impl Inner {
    /// The first points of a metric by time, at most `max`.
    async fn points(&self, run: &RunId, key: &str, max: usize) -> Result<Vec<Metric>> {
        let mut request = PageRequest { max_results: Some(max.clamp(1, PAGE_MAX)), token: None };
        let mut found = Vec::new();
        loop {
            let page = self.tracking.metric_history(run, key, &request).await?;
            found.extend(page.items);
            match page.next_page_token {
                Some(token) if found.len() < max => request.token = Some(token),
                _ => break,
            }
        }
        found.truncate(max);
        Ok(found)
    }
}
