//! Level, trend and season, smoothed exponentially (Holt, ONR memorandum 52, 1957; Winters, Management Science 6, 1960),
//! additive.
//!
//! Forecast l + b + s; with its error e: l' = l + b + alpha e, b' = b + beta alpha e, s' = s + gamma e. This is the form
//! of statsmodels' `ExponentialSmoothing` and of Deequ's `HoltWinters`, from Deequ's initial values: level the mean of the
//! first season, trend the step to the mean of the second, season what is left of the first.

use std::collections::VecDeque;

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    series::MetricHistory,
    verdict::{AnomalyVerdict, Expected},
};
use crate::stats::{count_of, float};

/// Most places on the time grid that are looked at.
const PLACES_MAX: usize = 20_000;
/// Longest season.
const SEASON_MAX: usize = 2_000;
/// Where the search for the smoothing begins, Deequ's among them.
const STARTS: [[f64; 3]; 3] = [[0.3, 0.1, 0.1], [0.7, 0.05, 0.3], [0.1, 0.01, 0.5]];
/// First and last step of the search.
const STEPS: (f64, f64) = (0.25, 1e-3);
/// Most rounds of one search.
const ROUNDS_MAX: usize = 100;

/// How fast the parts follow the data, each 0 (never) to 1 (at once).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smoothing {
    /// Of the level.
    pub alpha: f64,
    /// Of the trend.
    pub beta: f64,
    /// Of the season.
    pub gamma: f64,
}

/// Settings of [`super::Strategy::HoltWinters`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HoltWinters {
    /// Values that make a season, 2 to 2000. Default 7, a week of days.
    pub season_length: usize,
    /// Seconds from one value to the next, above 0. Given, missing values are bridged by their forecasts, and a gap of
    /// more than a season begins the history anew; else values are taken as evenly spaced. Default none.
    pub step_seconds: Option<f64>,
    /// Half width of the range in standard deviations of the one-step errors, above 0. Default 3. (Deequ takes 1.96
    /// deviations of the absolute errors, about 1.2 of these.)
    pub deviations: f64,
    /// Fixed smoothing; by default that with the least sum of squared one-step errors after the first season.
    pub smoothing: Option<Smoothing>,
}

impl Default for HoltWinters {
    fn default() -> Self {
        Self { season_length: 7, step_seconds: None, deviations: 3.0, smoothing: None }
    }
}

impl HoltWinters {
    pub(super) fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        if !(2..=SEASON_MAX).contains(&self.season_length) {
            faults.push(format!("season_length must be 2 to {SEASON_MAX}, found {}", self.season_length));
        }
        if let Some(step) = self.step_seconds.filter(|step| !(*step > 0.0 && step.is_finite())) {
            faults.push(format!("step_seconds must be finite and above 0, found {step}"));
        }
        if !(self.deviations > 0.0 && self.deviations.is_finite()) {
            faults.push(format!("deviations must be finite and above 0, found {}", self.deviations));
        }
        let rates = self.smoothing.map_or([0.0; 3], |Smoothing { alpha, beta, gamma }| [alpha, beta, gamma]);
        if !rates.iter().all(|rate| (0.0..=1.0).contains(rate)) {
            faults.push(format!("alpha, beta and gamma must be 0 to 1, found {rates:?}"));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("holt-winters: {}", faults.join("; "))))
    }

    /// Values that are needed: two seasons for the initial values, and a third, or eight values, for the errors.
    fn values_min(&self) -> usize {
        (3 * self.season_length).max(2 * self.season_length + 8)
    }

    pub(super) fn check(&self, history: &MetricHistory, time: Timestamp, value: f64) -> AnomalyVerdict {
        let (places, ahead) = self.places(history, time);
        let n = places.iter().flatten().count();
        if n < self.values_min() {
            return AnomalyVerdict::Insufficient { n: count_of(n), min_n: count_of(self.values_min()) };
        }
        let initial = State::initial(&places, self.season_length);
        let rates = self.smoothing.map_or_else(|| fit(&initial, &places), |s| [s.alpha, s.beta, s.gamma]);
        let run = initial.run(&places, rates, |_, _| {});
        let forecast = run.state.forecast(ahead);
        // Three numbers were fitted to the errors.
        let variance = run.squares / (float(run.errors) - 3.0).max(1.0) * growth(rates, self.season_length, ahead);
        let deviation = variance.sqrt();
        if !(forecast.is_finite() && deviation.is_finite()) {
            return AnomalyVerdict::Insufficient { n: 0, min_n: count_of(self.values_min()) };
        }
        Expected::around(forecast, deviation, Some(self.deviations), Some(self.deviations)).judge(value)
    }

    /// The history on an even grid, `None` where a value is missing, and how many places ahead `time` is.
    fn places(&self, history: &MetricHistory, time: Timestamp) -> (Vec<Option<f64>>, usize) {
        let Some(step) = self.step_seconds else {
            let skip = history.len().saturating_sub(PLACES_MAX);
            return (history.iter().skip(skip).map(|(_, value)| Some(value)).collect(), 1);
        };
        let mut places: VecDeque<Option<f64>> = VecDeque::new();
        let mut before: Option<Timestamp> = None;
        for (at, value) in history.iter() {
            match before.map(|before| steps(before, at, step)) {
                // Two values nearer than half a step share a place.
                Some(0) => {
                    places.pop_back();
                }
                Some(gap) if gap > self.season_length => places.clear(),
                Some(gap) => places.extend(std::iter::repeat_n(None, gap - 1)),
                None => {}
            }
            places.push_back(Some(value));
            while places.len() > PLACES_MAX {
                places.pop_front();
            }
            before = Some(at);
        }
        let ahead = before.map_or(1, |before| steps(before, time, step).max(1));
        if ahead > self.season_length {
            places.clear();
        }
        // The initial values want to begin with one.
        while places.front().is_some_and(Option::is_none) {
            places.pop_front();
        }
        (places.into(), ahead)
    }
}

/// Whole steps between two times.
fn steps(from: Timestamp, to: Timestamp, step: f64) -> usize {
    let steps = (to.duration_since(from).as_secs_f64() / step).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and `as` saturates")]
    {
        steps as usize
    }
}

/// Variance of the error so many steps ahead over that of one step (Hyndman, Koehler, Ord, Snyder, Forecasting with
/// Exponential Smoothing, 2008, section 6.3): 1 + sum of c_j^2, c_j = alpha (1 + j beta) + gamma [season divides j].
fn growth([alpha, beta, gamma]: [f64; 3], season: usize, ahead: usize) -> f64 {
    let terms = (1..ahead).map(|j| {
        let seasonal = if j.is_multiple_of(season) { gamma } else { 0.0 };
        (alpha * (1.0 + float(count_of(j)) * beta) + seasonal).powi(2)
    });
    1.0 + terms.sum::<f64>()
}

#[derive(Debug, Clone, PartialEq)]
struct State {
    level: f64,
    trend: f64,
    // From the season of the next value on.
    season: VecDeque<f64>,
}

struct Run {
    state: State,
    squares: f64,
    errors: u64,
}

impl State {
    fn initial(places: &[Option<f64>], season: usize) -> Self {
        let mean = |values: &[Option<f64>]| {
            let n = values.iter().flatten().count();
            (n > 0).then(|| values.iter().flatten().sum::<f64>() / float(count_of(n)))
        };
        let first = places.get(..season).unwrap_or_default();
        let second = places.get(season..2 * season).unwrap_or_default();
        let level = mean(first).unwrap_or(0.0);
        let later = mean(second).unwrap_or(level);
        let of_second = |i: usize| second.get(i).copied().flatten().map(|value| value - later);
        let part = |(i, value): (usize, &Option<f64>)| value.map(|value| value - level).or(of_second(i)).unwrap_or(0.0);
        let season_parts = first.iter().enumerate().map(part).collect();
        Self { level, trend: (later - level) / float(count_of(season)), season: season_parts }
    }

    fn forecast(&self, ahead: usize) -> f64 {
        let place = ahead.saturating_sub(1) % self.season.len().max(1);
        self.level + float(count_of(ahead)) * self.trend + self.season.get(place).copied().unwrap_or(0.0)
    }

    /// Follows the places; `each` sees forecast and value. Errors are summed from the second season on, since the first
    /// is part of the initial values.
    fn run(&self, places: &[Option<f64>], rates: [f64; 3], mut each: impl FnMut(f64, Option<f64>)) -> Run {
        let [alpha, beta, gamma] = rates;
        let length = self.season.len();
        let mut run = Run { state: self.clone(), squares: 0.0, errors: 0 };
        for (place, value) in places.iter().enumerate() {
            let state = &mut run.state;
            let forecast = state.forecast(1);
            each(forecast, *value);
            // A missing value is taken as forecast.
            let error = value.map_or(0.0, |value| value - forecast);
            state.level += state.trend + alpha * error;
            state.trend += beta * alpha * error;
            if let Some(part) = state.season.pop_front() {
                state.season.push_back(part + gamma * error);
            }
            if place >= length && value.is_some() {
                run.squares += error * error;
                run.errors += 1;
            }
        }
        run
    }
}

/// The smoothing with the least sum of squares, by compass search in the unit cube (Kolda, Lewis, Torczon, SIAM Review
/// 45, 2003) from several starts.
fn fit(initial: &State, places: &[Option<f64>]) -> [f64; 3] {
    let squares = |rates: [f64; 3]| {
        let found = initial.run(places, rates, |_, _| {}).squares;
        if found.is_finite() { found } else { f64::INFINITY }
    };
    let mut best = (f64::INFINITY, STARTS[0]);
    for start in STARTS {
        let mut here = (squares(start), start);
        let mut step = STEPS.0;
        for _ in 0..ROUNDS_MAX {
            let neighbors = (0..6).map(|side| {
                let mut rates = here.1;
                if let Some(rate) = rates.get_mut(side / 2) {
                    *rate = (*rate + if side % 2 == 0 { step } else { -step }).clamp(0.0, 1.0);
                }
                (squares(rates), rates)
            });
            let found = neighbors.min_by(|left, right| left.0.total_cmp(&right.0)).filter(|found| found.0 < here.0);
            match found {
                Some(found) => here = found,
                None if step <= STEPS.1 => break,
                None => step /= 2.0,
            }
        }
        if here.0 < best.0 {
            best = here;
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four weeks of days with trend, season and noise.
    const VALUES: [f64; 28] = [
        103.8, 99.883, 101.689, 103.848, 98.388, 103.897, 98.0, 108.464, 104.918, 104.693, 104.877, 100.602, 110.2,
        104.483, 109.456, 105.018, 109.159, 111.529, 104.743, 111.447, 106.858, 113.081, 109.611, 114.671, 114.481,
        105.308, 113.832, 113.581,
    ];

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() <= 1e-10 * right.abs(), "{left} != {right}");
    }

    /// statsmodels 0.15.0: `ExponentialSmoothing(y, trend="add", seasonal="add", seasonal_periods=7,
    /// initialization_method="known", ...)`, `fit(smoothing_level=..., optimized=False)`: sum of squared errors, fitted
    /// values 0, 10 and 27, and three forecasts.
    #[test]
    fn forecasts_and_errors_are_those_of_statsmodels() {
        let cases = [
            (
                [0.3, 0.1, 0.1],
                109.365_251_914_420_85,
                [104.386_367_346_938_77, 107.922_057_916_259_82, 109.076_503_028_891_27],
                [116.903_391_758_350_76, 113.306_925_460_552_99, 115.823_635_763_465_18],
            ),
            (
                [0.6, 0.2, 0.3],
                146.853_305_580_087_27,
                [104.386_367_346_938_77, 108.371_317_869_451_79, 108.336_170_118_626_34],
                [117.966_109_278_594_89, 114.361_496_489_702_52, 117.573_741_518_072_47],
            ),
            (
                [0.0, 0.0, 0.0],
                357.839_960_772_584_8,
                [104.386_367_346_938_77, 110.298_040_816_326_49, 114.418_285_714_285_62],
                [120.804_653_061_224_39, 117.474_020_408_163_17, 119.866_387_755_101_94],
            ),
        ];
        let places: Vec<Option<f64>> = VALUES.iter().copied().map(Some).collect();
        for (rates, squares, fitted, ahead) in cases {
            let mut forecasts = Vec::new();
            let mut all = 0.0;
            let run = State::initial(&places, 7).run(&places, rates, |forecast, value| {
                forecasts.push(forecast);
                all += (value.unwrap() - forecast).powi(2);
            });
            close(all, squares);
            [0, 10, 27].into_iter().zip(fitted).for_each(|(i, expected)| close(forecasts[i], expected));
            (1..).zip(ahead).for_each(|(i, expected)| close(run.state.forecast(i), expected));
        }
    }

    /// The minimum over the unit cube by scipy 1.17.1's `differential_evolution(seed=1, tol=1e-10)`.
    #[test]
    fn fitted_smoothing_is_near_the_best_there_is() {
        let places: Vec<Option<f64>> = VALUES.iter().copied().map(Some).collect();
        let initial = State::initial(&places, 7);
        let found = initial.run(&places, fit(&initial, &places), |_, _| {}).squares;
        assert!(found <= BEST * 1.001, "{found}");
    }

    const BEST: f64 = 70.289_242_688_281_62;

    #[test]
    fn gaps_are_bridged_and_long_ones_begin_anew() {
        let settings = HoltWinters { step_seconds: Some(3_600.0), season_length: 4, ..HoltWinters::default() };
        let hour = |i: i64| Timestamp::from_millis(i * 3_600_000);
        let wave = |i: i64| [10.0, 20.0, 30.0, 20.0][usize::try_from(i % 4).unwrap()] + 0.01 * (i % 3) as f64;
        let mut history = MetricHistory::new(1_000);
        for i in (0..60).filter(|i| i % 11 != 5) {
            let _ = history.record(hour(i), wave(i));
        }
        // Two hours ahead of the last value, in the right season.
        assert!(matches!(settings.check(&history, hour(61), wave(61)), AnomalyVerdict::Ok { .. }));
        assert!(settings.check(&history, hour(61), wave(60)).is_anomaly());
        assert_eq!(settings.check(&history, hour(70), 0.0), AnomalyVerdict::Insufficient { n: 0, min_n: 16 });
        let _ = history.record(hour(100), 1.0);
        assert_eq!(settings.check(&history, hour(101), 0.0), AnomalyVerdict::Insufficient { n: 1, min_n: 16 });
    }
}
