//! Latency and throughput of one stretch of time.

use std::time::Duration;

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::sketch::LatencySketch;
use crate::stats::float;

/// The 97.5 % point of the normal law: intervals hold with 95 %.
const NORMAL_975: f64 = 1.959_963_984_540_054;

/// Settings of a [`LatencyWindow`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencySettings {
    /// Relative error of quantiles, 0.001 to 0.5. Default 0.01.
    pub relative_error: f64,
    /// The service level objective: how long an answer may take. Answers that take longer are counted, exactly. Default
    /// none.
    pub slo: Option<Duration>,
}

impl Default for LatencySettings {
    fn default() -> Self {
        Self { relative_error: 0.01, slo: None }
    }
}

/// Durations observed since a moment. Windows of replicas merge into that of the service.
///
/// Time is what the caller says: the window measures nothing itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct LatencyWindow {
    from: Timestamp,
    slo: Option<Duration>,
    over_slo: u64,
    sketch: LatencySketch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    from: Timestamp,
    slo: Option<Duration>,
    over_slo: u64,
    sketch: LatencySketch,
}

/// Answers that took longer than the objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SloShare {
    /// The objective.
    pub slo: Duration,
    /// How many took longer.
    pub count: u64,
    /// Their share of all.
    pub share: f64,
    /// Lower end of Wilson's 95 % interval of the share.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// A window in numbers. Durations are `None` when nothing was observed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Answers.
    pub count: u64,
    /// Answers per second; `None` when no time has passed.
    pub per_second: Option<f64>,
    /// Sum of durations.
    pub sum: Duration,
    /// Mean duration.
    pub mean: Option<Duration>,
    /// Shortest.
    pub min: Option<Duration>,
    /// Median.
    pub p50: Option<Duration>,
    /// 90 of 100 took no longer.
    pub p90: Option<Duration>,
    /// 99 of 100 took no longer.
    pub p99: Option<Duration>,
    /// 999 of 1000 took no longer.
    pub p999: Option<Duration>,
    /// Longest.
    pub max: Option<Duration>,
    /// Bound of the relative error of the quantiles.
    pub relative_error: f64,
    /// Answers beyond the objective, when there is one and there are answers.
    pub over_slo: Option<SloShare>,
}

impl LatencyWindow {
    /// An empty window that begins at `from`.
    ///
    /// # Errors
    /// `InvalidArgument` when the relative error is out of range.
    pub fn new(from: Timestamp, settings: LatencySettings) -> Result<Self> {
        let LatencySettings { relative_error, slo } = settings;
        Ok(Self { from, slo, over_slo: 0, sketch: LatencySketch::new(relative_error)? })
    }

    /// Counts an answer that took so long.
    pub fn observe(&mut self, duration: Duration) {
        self.sketch.observe(duration);
        if self.slo.is_some_and(|slo| duration > slo) {
            self.over_slo = self.over_slo.saturating_add(1);
        }
    }

    /// Adds the window of another replica; the earlier beginning holds for both.
    ///
    /// # Errors
    /// `InvalidArgument` when relative errors or objectives differ.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.slo != other.slo {
            return Err(Error::invalid_argument(format!(
                "latency windows with objectives {:?} and {:?} cannot be merged",
                self.slo, other.slo
            )));
        }
        self.sketch.merge(&other.sketch)?;
        self.over_slo = self.over_slo.saturating_add(other.over_slo);
        self.from = self.from.min(other.from);
        Ok(())
    }

    /// The numbers of the window as of `to`.
    #[must_use]
    pub fn summary(&self, to: Timestamp) -> LatencySummary {
        let sketch = &self.sketch;
        let (count, seconds) = (sketch.count(), to.duration_since(self.from).as_secs_f64());
        let share = |slo| {
            let (lower, upper) = wilson(self.over_slo, count);
            SloShare { slo, count: self.over_slo, share: float(self.over_slo) / float(count), lower, upper }
        };
        LatencySummary {
            count,
            per_second: (seconds > 0.0).then(|| float(count) / seconds),
            sum: sketch.sum(),
            mean: (count > 0)
                .then(|| Duration::try_from_secs_f64(sketch.sum().as_secs_f64() / float(count)).ok())
                .flatten(),
            min: sketch.min(),
            p50: sketch.quantile(0.5),
            p90: sketch.quantile(0.9),
            p99: sketch.quantile(0.99),
            p999: sketch.quantile(0.999),
            max: sketch.max(),
            relative_error: sketch.relative_error(),
            over_slo: self.slo.filter(|_| count > 0).map(share),
        }
    }

    /// The sketch, for other quantiles.
    #[must_use]
    pub fn sketch(&self) -> &LatencySketch {
        &self.sketch
    }
}

impl TryFrom<Stored> for LatencyWindow {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let Stored { from, slo, over_slo, sketch } = stored;
        if over_slo > sketch.count() || (slo.is_none() && over_slo > 0) {
            return Err(Error::invalid_argument("latency window: more answers are over the objective than there are"));
        }
        Ok(Self { from, slo, over_slo, sketch })
    }
}

/// The 95 % interval of a share (Wilson, JASA 22, 1927); 0 to 1 for nothing.
fn wilson(part: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, share, square) = (float(n), float(part) / float(n), NORMAL_975 * NORMAL_975);
    let center = (share + square / (2.0 * n)) / (1.0 + square / n);
    let half = NORMAL_975 / (1.0 + square / n) * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    ((center - half).max(0.0), (center + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(slo_ms: Option<u64>) -> LatencyWindow {
        let slo = slo_ms.map(Duration::from_millis);
        LatencyWindow::new(Timestamp::from_millis(1_000), LatencySettings { slo, ..LatencySettings::default() })
            .unwrap()
    }

    #[test]
    fn the_interval_is_wilsons() {
        // statsmodels 0.15.0: proportion_confint(10, 1000, method="wilson") and (0, 50).
        let check = |(part, n), (lower, upper): (f64, f64)| {
            let found = wilson(part, n);
            assert!((found.0 - lower).abs() < 1e-12 && (found.1 - upper).abs() < 1e-12, "{found:?}");
        };
        check((10, 1_000), WILSON[0]);
        check((0, 50), WILSON[1]);
    }

    const WILSON: [(f64, f64); 2] =
        [(0.005_440_754_445_529_248, 0.018_309_468_870_314_774), (0.0, 0.071_347_599_133_358_74)];

    #[test]
    fn an_empty_window_and_a_clock_that_jumps_back_have_no_rate() {
        let empty = window(Some(10)).summary(Timestamp::from_millis(500));
        assert_eq!((empty.count, empty.per_second, empty.mean, empty.p99, empty.over_slo), (0, None, None, None, None));
        assert_eq!(window(None).summary(Timestamp::from_millis(3_000)).per_second, Some(0.0));
    }

    #[test]
    fn only_windows_with_one_objective_merge() {
        let mut left = window(Some(10));
        assert!(left.merge(&window(Some(20))).is_err());
        let mut earlier = LatencyWindow::new(
            Timestamp::from_millis(0),
            LatencySettings { slo: Some(Duration::from_millis(10)), ..LatencySettings::default() },
        )
        .unwrap();
        earlier.observe(Duration::from_millis(10));
        earlier.observe(Duration::from_millis(11));
        left.merge(&earlier).unwrap();
        let summary = left.summary(Timestamp::from_millis(4_000));
        // Exactly at the objective is within it.
        assert_eq!((summary.per_second, summary.over_slo.unwrap().count), (Some(0.5), 1));
        let text = serde_json::to_string(&left).unwrap();
        assert_eq!(serde_json::from_str::<LatencyWindow>(&text).unwrap(), left);
        let damaged = text.replace(r#""over_slo":1"#, r#""over_slo":9"#);
        assert!(serde_json::from_str::<LatencyWindow>(&damaged).is_err());
    }
}
