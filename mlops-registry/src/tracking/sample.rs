//! A bounded number of points of long histories.
//!
//! Two ways: [`HistorySample`] evenly over the points of each run, as MLflow's `metrics/get-history-bulk-interval` does on
//! its database; and a chart of one run by [`super::downsample`].
//!
//! Invariant: what is held in memory does not grow with the history. Beyond a million points the even choice is made
//! among every second, fourth and so on of them; the first and the last are always there, the last alone where one point is
//! asked for.

use std::cmp::Ordering;

use async_trait::async_trait;
use mlops_core::{Error, Metric, Result, RunId};

use super::{
    TrackingStore,
    downsample::{MinMaxThinner, largest_triangle_three_buckets},
    segment::{Point, total_order},
};
use crate::search::{PageRequest, RESULTS_MAX};

/// Most points that are held at once.
const HELD_MAX: usize = 1 << 20;
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
    /// How many points of each run at most, from 1 to [`SAMPLE_MAX`]. Default 2,500.
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

    /// Takes at most so many points of each run.
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
    let mut found = Vec::with_capacity(runs.len());
    for run in runs {
        let mut picker = PointPicker::new(sample);
        source.visit(run, &sample.key, &mut |points| picker.add(points)).await?;
        found.push((run.clone(), picker.finish()));
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

/// Gathers the points of one run, in whatever order they come.
#[derive(Debug)]
struct PointPicker<'a> {
    sample: &'a HistorySample,
    held: Vec<Point>,
    /// Every how many points one is held.
    stride: usize,
    passed: usize,
    ends: Option<(Point, Point)>,
}

impl<'a> PointPicker<'a> {
    fn new(sample: &'a HistorySample) -> Self {
        Self { sample, held: Vec::new(), stride: 1, passed: 0, ends: None }
    }

    fn add(&mut self, points: &[Point]) {
        for point in points.iter().filter(|point| self.sample.holds(point.step)) {
            let (first, last) = self.ends.unwrap_or((*point, *point));
            let first = if by_step(point, &first).is_lt() { *point } else { first };
            let last = if by_step(point, &last).is_ge() { *point } else { last };
            self.ends = Some((first, last));
            self.passed += 1;
            if self.passed >= self.stride {
                self.passed = 0;
                self.hold(*point);
            }
        }
    }

    fn hold(&mut self, point: Point) {
        if self.held.len() >= HELD_MAX {
            let mut index = 0;
            self.held.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
        self.held.push(point);
    }

    /// As SQL's `NTILE` does, the ordered points are dealt to as many groups as points are wanted, whose sizes differ by
    /// at most one, larger ones first, and the first of each is taken. The last point of all is always there, instead of
    /// the first of the last group when there is no room beside it.
    fn finish(self) -> Vec<Metric> {
        let Self { sample, mut held, stride, ends, .. } = self;
        if let Some((first, last)) = ends.filter(|_| stride > 1) {
            held.extend([first, last].into_iter().filter(|end| !held.contains(end)).collect::<Vec<_>>());
        }
        held.sort_unstable_by(by_step);
        let (count, groups) = (held.len(), sample.points_max.min(held.len()));
        let (size, larger) = (count.checked_div(groups).unwrap_or(0), count.checked_rem(groups).unwrap_or(0));
        let begin = |group: usize| {
            if group + 1 == groups { count - 1 } else { group * size + group.min(larger) }
        };
        let taken = (0..groups).filter_map(|group| held.get(begin(group)));
        taken.map(|point| point.metric(&sample.key)).collect()
    }
}

/// By step, time and value, where NaN counts as zero and follows it.
fn by_step(a: &Point, b: &Point) -> Ordering {
    let key = |point: &Point| {
        let nan = point.value().is_nan();
        (point.step, point.at, total_order(if nan { 0 } else { point.bits }), nan)
    };
    key(a).cmp(&key(b))
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
        // The first and the last are kept at least, also where a single point is asked for.
        let over = kept.len().saturating_sub(self.sample.points_max);
        kept.into_iter().skip(over).filter_map(|i| Some(points.get(i)?.metric(&self.sample.key))).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picked(max: usize, points: impl IntoIterator<Item = Point>) -> Vec<i64> {
        let sample = HistorySample::new("m").with_points_max(max);
        let mut picker = PointPicker::new(&sample);
        points.into_iter().for_each(|point| picker.add(&[point]));
        assert!(picker.held.len() <= HELD_MAX);
        picker.finish().iter().map(|metric| metric.step).collect()
    }

    fn at(step: i64) -> Point {
        Point { at: step, step, bits: 0.5_f64.to_bits() }
    }

    // Values of SQLite 3.40: NTILE over 10 rows into 4 groups gives sizes 3, 3, 2, 2.
    #[test]
    fn a_sample_is_even_and_ends_with_the_last_point() {
        assert_eq!(picked(4, (0..10).rev().map(at)), [0, 3, 6, 9]);
        assert_eq!(picked(5, (0..5).map(at)), [0, 1, 2, 3, 4]);
        assert_eq!(picked(9, (0..5).map(at)), [0, 1, 2, 3, 4]);
        assert_eq!(picked(1, (0..5).map(at)), [4]);
        assert_eq!(picked(3, []), [0_i64; 0]);
        let part = HistorySample::new("m").with_points_max(2).with_steps(3, 7);
        let mut picker = PointPicker::new(&part);
        picker.add(&(0..10).map(at).collect::<Vec<_>>());
        assert_eq!(picker.finish().iter().map(|metric| metric.step).collect::<Vec<_>>(), [3, 7]);
    }

    #[test]
    fn what_is_held_does_not_grow_and_both_ends_are_kept() {
        let count = 5 * HELD_MAX as i64 + 3;
        let taken = picked(100, (0..count).rev().map(at));
        assert_eq!((taken.len(), taken.first(), taken.last()), (100, Some(&0), Some(&(count - 1))));
        let widest = taken.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        // The last point stands for the first of the last group.
        assert!(widest <= 2 * (count / 100) + 64, "{widest}");
    }

    #[test]
    fn a_chart_has_at_most_so_many_points() {
        for max in 1..6 {
            let sample = HistorySample::new("m").with_points_max(max);
            let mut chart = ChartMaker::new(&sample);
            chart.add(&(0..100).map(at).collect::<Vec<_>>());
            let steps: Vec<i64> = chart.finish().iter().map(|metric| metric.step).collect();
            assert_eq!((steps.len(), steps.last()), (max, Some(&99)), "{steps:?}");
        }
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        assert!(HistorySample::new("m").with_points_max(0).check(1).is_err());
        assert!(HistorySample::new("m").with_steps(2, 1).check(1).is_err());
        assert!(HistorySample::new("m").check(SAMPLED_RUNS_MAX + 1).is_err());
    }

    proptest! {
        #[test]
        fn a_sample_keeps_both_ends_and_the_order(mut given in proptest::collection::vec(-50_i64..50, 1..200), max in 2_usize..40) {
            let taken = picked(max, given.iter().copied().map(at));
            given.sort_unstable();
            prop_assert_eq!(taken.len(), max.min(given.len()));
            prop_assert_eq!((taken.first(), taken.last()), (given.first(), given.last()));
            prop_assert!(taken.is_sorted());
        }
    }
}
