//! `metrics/...`: the points of a metric, of one run whole and of several for a chart.

use std::cmp::Ordering;

use mlops_core::{Error, Metric, Result, RunId};

use super::{
    Api, Inner,
    request::Params,
    run_answer::{BulkPoints, Points},
};
use crate::PageRequest;

/// Largest page of points.
const PAGE_MAX: usize = 50_000;
/// Most points of one answer for several runs.
const POINTS_MAX: usize = 25_000;
/// Most points of one run in a sampled answer.
const SAMPLE_MAX: usize = 2_500;
/// Most runs in one call.
const RUNS_MAX: usize = 100;

pub(super) async fn of_metric(api: Api, params: Params) -> Result<Points> {
    let (id, key) = (params.run_id()?, params.required("metric_key")?);
    if params.int("max_results")?.is_some() {
        let page = params.page(PAGE_MAX, PAGE_MAX)?;
        let page = api.tracking.metric_history(&id, key, &page).await?;
        return Ok(Points { metrics: unnamed(page.items), next_page_token: page.next_page_token });
    }
    // A client that names no size does not follow tokens.
    let token = params.owned("page_token")?;
    let items = api.points(&id, key, token, usize::MAX).await?;
    Ok(Points { metrics: unnamed(items), next_page_token: None })
}

/// The points of the run that was asked for, which need not say whose they are.
fn unnamed(points: Vec<Metric>) -> Vec<(Option<RunId>, Metric)> {
    points.into_iter().map(|point| (None, point)).collect()
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
        let points = api.points(run, key, None, max - found.len()).await?;
        found.extend(points.into_iter().map(|point| (Some(run.clone()), point)));
        if found.len() >= max {
            break;
        }
    }
    Ok(BulkPoints(found))
}

/// A sample of the points of each run, even over their places.
pub(super) async fn sampled(api: Api, params: Params) -> Result<Points> {
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
        (Some(start), Some(end)) if start <= end => Some(start..=end),
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
    let mut found = Vec::new();
    for run in &runs {
        let mut points = api.points(run, key, None, usize::MAX).await?;
        points.retain(|point| steps.as_ref().is_none_or(|steps| steps.contains(&point.step)));
        found.extend(sample(points, max).into_iter().map(|point| (Some(run.clone()), point)));
    }
    Ok(Points { metrics: found, next_page_token: None })
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
    /// The first points of a metric by time, at most `max`, from a token on.
    async fn points(&self, run: &RunId, key: &str, token: Option<String>, max: usize) -> Result<Vec<Metric>> {
        let mut request = PageRequest { max_results: Some(max.clamp(1, PAGE_MAX)), token };
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

/// At most `max` of the points, ordered by (step, time, value): as SQL's NTILE does, the ordered points are dealt to
/// `max` groups whose sizes differ by at most one, larger ones first, and the first of each is taken. The last point
/// of all is always there, instead of the first of the last group when there is no room beside it.
fn sample(mut points: Vec<Metric>, max: usize) -> Vec<Metric> {
    points.sort_by(by_step);
    if points.len() <= max || max == 0 {
        points.truncate(max);
        return points;
    }
    let (size, larger) = (points.len() / max, points.len() % max);
    let begin = |group: usize| group * size + group.min(larger);
    let last = points.last().cloned();
    let mut taken: Vec<Metric> = (0..max).filter_map(|group| points.get(begin(group)).cloned()).collect();
    if let (Some(end), Some(last)) = (taken.last_mut(), last) {
        *end = last;
    }
    taken
}

/// By step, time and value, where NaN counts as zero and follows it.
fn by_step(a: &Metric, b: &Metric) -> Ordering {
    let value = |metric: &Metric| if metric.value.is_nan() { 0.0 } else { metric.value };
    (a.step, a.timestamp)
        .cmp(&(b.step, b.timestamp))
        .then(value(a).total_cmp(&value(b)))
        .then(a.value.is_nan().cmp(&b.value.is_nan()))
}

#[cfg(test)]
mod tests {
    use mlops_core::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn points(steps: impl IntoIterator<Item = i64>) -> Vec<Metric> {
        let point = |step| Metric { key: "m".into(), value: 0.5, timestamp: Timestamp::from_millis(step), step };
        steps.into_iter().map(point).collect()
    }

    fn steps(points: &[Metric]) -> Vec<i64> {
        points.iter().map(|point| point.step).collect()
    }

    // Values of SQLite 3.40: NTILE over 10 rows into 4 groups gives sizes 3, 3, 2, 2.
    #[test]
    fn a_sample_is_even_and_ends_with_the_last_point() {
        assert_eq!(steps(&sample(points((0..10).rev()), 4)), [0, 3, 6, 9]);
        assert_eq!(steps(&sample(points(0..5), 5)), [0, 1, 2, 3, 4]);
        assert_eq!(steps(&sample(points(0..5), 9)), [0, 1, 2, 3, 4]);
        assert_eq!(steps(&sample(points(0..5), 1)), [4]);
        assert_eq!(steps(&sample(points([]), 3)), [0_i64; 0]);
    }

    proptest! {
        #[test]
        fn a_sample_keeps_both_ends_and_the_order(mut given in proptest::collection::vec(-50_i64..50, 1..200), max in 2_usize..40) {
            let taken = steps(&sample(points(given.iter().copied()), max));
            given.sort_unstable();
            prop_assert_eq!(taken.len(), max.min(given.len()));
            prop_assert_eq!((taken.first(), taken.last()), (given.first(), given.last()));
            prop_assert!(taken.is_sorted());
        }
    }
}
