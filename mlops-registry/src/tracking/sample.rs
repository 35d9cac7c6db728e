//! A bounded number of points of long histories.
//!
//! Two ways: [`HistorySample`] by steps, as MLflow's `metrics/get-history-bulk-interval` does, so that several runs are seen
//! at the same steps; and a chart of one run by [`super::downsample`].
//!
//! Invariant: what is held in memory does not grow with the history. Beyond a million steps or points the even choice is
//! made among every second, fourth and so on of them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mlops_core::{Error, Metric, Result, RunId};

use super::{
    TrackingStore,
    downsample::{MinMaxThinner, largest_triangle_three_buckets},
    segment::Point,
};
use crate::search::{PageRequest, RESULTS_MAX};

/// So many steps or points are told apart exactly.
const EXACT_MAX: usize = 1 << 20;
/// Most points that can be asked for, of each run.
pub const SAMPLE_MAX: usize = 25_000;
/// Most runs in one sample.
pub const SAMPLED_RUNS_MAX: usize = 100;

/// Which points of a metric to give of each of several runs.
///
/// ```
/// use mlops_registry::tracking::sample::HistorySample;
///
/// let sample = HistorySample::new("loss").with_points_max(320).with_steps(1_000, 2_000);
/// assert_eq!(sample.steps, Some((1_000, 2_000)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistorySample {
    /// The key of the metric.
    pub key: String,
    /// First and last step; absent: all.
    pub steps: Option<(i64, i64)>,
    /// About how many points of each run, from 1 to [`SAMPLE_MAX`]. Default 2,500.
    pub points_max: usize,
}

impl HistorySample {
    /// 2,500 points of a metric over all steps.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), steps: None, points_max: 2_500 }
    }

    /// Takes steps from `first` to `last`, both included.
    #[must_use]
    pub fn with_steps(mut self, first: i64, last: i64) -> Self {
        self.steps = Some((first, last));
        self
    }

    /// Takes about so many points of each run.
    #[must_use]
    pub fn with_points_max(mut self, max: usize) -> Self {
        self.points_max = max;
        self
    }

    pub(crate) fn check(&self, runs: usize) -> Result<()> {
        if !(1..=SAMPLE_MAX).contains(&self.points_max) {
            return Err(Error::invalid_argument(format!(
                "max_results is {}; it must be a positive integer of at most {SAMPLE_MAX}",
                self.points_max
            )));
        }
        if let Some((first, last)) = self.steps.filter(|(first, last)| first > last) {
            return Err(Error::invalid_argument(format!(
                "end_step must be greater than start_step. Found start_step={first} and end_step={last}."
            )));
        }
        if runs > SAMPLED_RUNS_MAX {
            return Err(Error::invalid_argument(format!(
                "a sample can be of at most {SAMPLED_RUNS_MAX} runs, found {runs}"
            )));
        }
        Ok(())
    }

    fn holds(&self, step: i64) -> bool {
        self.steps.is_none_or(|(first, last)| (first..=last).contains(&step))
    }
}

/// Takes points piece by piece.
pub(crate) type Take<'a> = dyn FnMut(&[Point]) + Send + 'a;

/// Where the points of a series come from, in their order and in pieces.
#[async_trait]
pub(crate) trait PointSource: Send + Sync {
    async fn visit(&self, run: &RunId, key: &str, take: &mut Take<'_>) -> Result<()>;
}

/// The pages of any store.
pub(crate) struct Paged<'a, S: ?Sized>(pub(crate) &'a S);

#[async_trait]
impl<S: TrackingStore + ?Sized> PointSource for Paged<'_, S> {
    async fn visit(&self, run: &RunId, key: &str, take: &mut Take<'_>) -> Result<()> {
        let mut request = PageRequest { max_results: Some(RESULTS_MAX), token: None };
        loop {
            let page = self.0.metric_history(run, key, &request).await?;
            take(&page.items.iter().map(Point::from).collect::<Vec<_>>());
            request.token = page.next_page_token;
            if request.token.is_none() {
                return Ok(());
            }
        }
    }
}

/// See [`TrackingStore::metric_history_sampled`].
pub(crate) async fn sampled(
    source: &dyn PointSource,
    runs: &[RunId],
    sample: &HistorySample,
) -> Result<Vec<(RunId, Vec<Metric>)>> {
    sample.check(runs.len())?;
    let mut picker = StepPicker::new(sample);
    for run in runs {
        source.visit(run, &sample.key, &mut |points| picker.add(points)).await?;
        picker.end_run();
    }
    let (steps, mut found) = (picker.steps(), Vec::with_capacity(runs.len()));
    for run in runs {
        let mut picker = PointPicker::new(&steps);
        source.visit(run, &sample.key, &mut |points| picker.add(points)).await?;
        found.push((run.clone(), picker.finish(sample)));
    }
    Ok(found)
}

/// See [`TrackingStore::metric_chart`].
pub(crate) async fn chart(source: &dyn PointSource, run: &RunId, sample: &HistorySample) -> Result<Vec<Metric>> {
    sample.check(1)?;
    let mut maker = ChartMaker::new(sample);
    source.visit(run, &sample.key, &mut |points| maker.add(points)).await?;
    Ok(maker.finish())
}

/// Gathers which steps there are, in the first of two passes.
#[derive(Debug)]
pub(crate) struct StepPicker<'a> {
    sample: &'a HistorySample,
    steps: Thinned<i64>,
    ends: BTreeSet<i64>,
    of_run: Option<(i64, i64)>,
}

impl<'a> StepPicker<'a> {
    pub(crate) fn new(sample: &'a HistorySample) -> Self {
        Self { sample, steps: Thinned::new(), ends: BTreeSet::new(), of_run: None }
    }

    pub(crate) fn add(&mut self, points: &[Point]) {
        for point in points {
            let (low, high) = self.of_run.unwrap_or((point.step, point.step));
            self.of_run = Some((low.min(point.step), high.max(point.step)));
            if self.sample.holds(point.step) {
                self.steps.push(
                    point.step,
                    Some(|steps| {
                        steps.sort_unstable();
                        steps.dedup();
                    }),
                );
            }
        }
    }

    pub(crate) fn end_run(&mut self) {
        if let Some((low, high)) = self.of_run.take() {
            self.ends.extend([low, high].into_iter().filter(|step| self.sample.holds(*step)));
        }
    }

    /// Steps at equal distances in the list of all, the last one, and the first and last of each run.
    pub(crate) fn steps(self) -> BTreeSet<i64> {
        let (mut all, wanted) = (self.steps.kept, self.sample.points_max);
        all.sort_unstable();
        all.dedup();
        let mut steps = self.ends;
        if all.len() <= wanted {
            steps.extend(all);
            return steps;
        }
        // In doubles, because MLflow rounds as they do.
        let distance = all.len() as f64 / wanted as f64;
        steps.extend((0..wanted).filter_map(|i| all.get((i as f64 * distance) as usize)));
        steps.extend(all.last());
        steps
    }
}

/// Gathers the points at chosen steps of one run, in the second pass.
#[derive(Debug)]
pub(crate) struct PointPicker<'a> {
    steps: &'a BTreeSet<i64>,
    points: Thinned<Point>,
}

impl<'a> PointPicker<'a> {
    pub(crate) fn new(steps: &'a BTreeSet<i64>) -> Self {
        Self { steps, points: Thinned::new() }
    }

    pub(crate) fn add(&mut self, points: &[Point]) {
        for point in points.iter().filter(|point| self.steps.contains(&point.step)) {
            self.points.push(*point, None);
        }
    }

    /// The points by (step, timestamp, value); when there are several at many steps, evenly chosen among them.
    pub(crate) fn finish(self, sample: &HistorySample) -> Vec<Metric> {
        let (mut points, most) = (self.points.kept, sample.points_max.max(self.steps.len()));
        points.sort_by_key(|point| (point.step, point.order()));
        let count = points.len();
        let chosen = (0..count.min(most)).map(|i| if count <= most { i } else { evenly(i, count, most) });
        chosen.filter_map(|i| Some(points.get(i)?.metric(&sample.key))).collect()
    }
}

/// The `i`-th of `most` indices below `count` at equal distances, from the first to the last.
fn evenly(i: usize, count: usize, most: usize) -> usize {
    if most <= 1 { count - 1 } else { (i as f64 * ((count - 1) as f64 / (most - 1) as f64)).round_ties_even() as usize }
}

/// Keeps all of what comes, or else every second, fourth, eighth...
#[derive(Debug)]
struct Thinned<T> {
    kept: Vec<T>,
    stride: usize,
    skipped: usize,
}

impl<T> Thinned<T> {
    fn new() -> Self {
        Self { kept: Vec::new(), stride: 1, skipped: 0 }
    }

    /// Takes one more; `compact` may make room without losing anything.
    fn push(&mut self, item: T, compact: Option<fn(&mut Vec<T>)>) {
        self.skipped += 1;
        if self.skipped < self.stride {
            return;
        }
        self.skipped = 0;
        if self.kept.len() >= 2 * EXACT_MAX {
            if let Some(compact) = compact {
                compact(&mut self.kept);
            }
            if self.kept.len() > EXACT_MAX {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
        }
        self.kept.push(item);
    }
}

/// Gathers one run for a chart.
#[derive(Debug)]
pub(crate) struct ChartMaker<'a> {
    sample: &'a HistorySample,
    thinner: MinMaxThinner,
}

impl<'a> ChartMaker<'a> {
    pub(crate) fn new(sample: &'a HistorySample) -> Self {
        // Four times as many candidates as points, as the authors of MinMaxLTTB advise.
        Self { sample, thinner: MinMaxThinner::new(4 * sample.points_max) }
    }

    pub(crate) fn add(&mut self, points: &[Point]) {
        for point in points.iter().filter(|point| self.sample.holds(point.step)) {
            self.thinner.push(*point);
        }
    }

    pub(crate) fn finish(self) -> Vec<Metric> {
        let points = self.thinner.finish();
        let places: Vec<(f64, f64)> = points.iter().map(|point| (point.step as f64, point.value())).collect();
        let kept = largest_triangle_three_buckets(&places, self.sample.points_max);
        kept.into_iter().filter_map(|i| Some(points.get(i)?.metric(&self.sample.key))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(steps: impl IntoIterator<Item = i64>, at: i64) -> Vec<Point> {
        steps.into_iter().map(|step| Point { at, step, bits: 1.0_f64.to_bits() }).collect()
    }

    fn picked(sample: &HistorySample, runs: &[Vec<Point>]) -> Vec<Vec<i64>> {
        let mut picker = StepPicker::new(sample);
        for run in runs {
            picker.add(run);
            picker.end_run();
        }
        let steps = picker.steps();
        let of = |run: &Vec<Point>| {
            let mut picker = PointPicker::new(&steps);
            picker.add(run);
            picker.finish(sample).iter().map(|metric| metric.step).collect()
        };
        runs.iter().map(of).collect()
    }

    /// The steps were derived from the rules of mlflow 3.17.2 (`AbstractStore.get_metric_history_bulk_interval`) for these histories.
    #[test]
    fn steps_are_sampled_as_mlflow_does() {
        let five = HistorySample::new("m").with_points_max(5);
        assert_eq!(picked(&five, &[run(0..10, 1)]), [[0, 2, 4, 6, 8, 9]]);
        assert_eq!(picked(&five, &[run(0..5, 1)]), [[0, 1, 2, 3, 4]]);
        let both = picked(&five, &[run(0..10, 1), run(0..20, 1)]);
        assert_eq!(both, [vec![0, 4, 8, 9], vec![0, 4, 8, 9, 12, 16, 19]]);
        let part = five.clone().with_steps(0, 4);
        assert_eq!(picked(&part, &[run(0..10, 1), run(0..20, 1)]), [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]);
        assert_eq!(picked(&five, &[run([], 1)]), [Vec::<i64>::new()]);
    }

    #[test]
    fn many_points_at_one_step_stay_bounded() {
        let sample = HistorySample::new("m").with_points_max(3);
        let points: Vec<Point> = (0..100).map(|at| Point { at, step: 0, bits: 0 }).collect();
        let steps = BTreeSet::from([0]);
        let mut picker = PointPicker::new(&steps);
        picker.add(&points);
        let times: Vec<i64> = picker.finish(&sample).iter().map(|metric| metric.timestamp.as_micros()).collect();
        assert_eq!(times, [0, 50, 99]);
    }

    #[test]
    fn what_is_kept_does_not_grow() {
        let mut thinned = Thinned::new();
        (0..5 * EXACT_MAX).for_each(|i| thinned.push(i, None));
        assert!(thinned.kept.len() <= 2 * EXACT_MAX && thinned.kept.is_sorted());
        assert!(HistorySample::new("m").with_points_max(0).check(1).is_err());
        assert!(HistorySample::new("m").with_steps(2, 1).check(1).is_err());
        assert!(HistorySample::new("m").check(SAMPLED_RUNS_MAX + 1).is_err());
    }
}
