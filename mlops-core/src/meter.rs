//! Measuring without choosing a backend: code counts into a [`Meter`] it was given.
//!
//! Names follow Prometheus: base units, `_total` for counters, and a bounded set of label values
//! (never an entity key or user id).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::exposition::{Exposition, MetricKind, label_text};

/// Label names and values of one series.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// Where counts go. Calls are cheap, never block on I/O and never fail.
pub trait Meter: fmt::Debug + Send + Sync + 'static {
    /// Adds to a monotone counter.
    fn count(&self, name: &'static str, labels: Labels<'_>, by: u64);
    /// Sets a value that goes up and down.
    fn gauge(&self, name: &'static str, labels: Labels<'_>, value: f64);
    /// Records one observation of a distribution, in base units (seconds, bytes).
    fn observe(&self, name: &'static str, labels: Labels<'_>, value: f64);
}

impl<T: Meter + ?Sized> Meter for Arc<T> {
    fn count(&self, name: &'static str, labels: Labels<'_>, by: u64) {
        (**self).count(name, labels, by);
    }
    fn gauge(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        (**self).gauge(name, labels, value);
    }
    fn observe(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        (**self).observe(name, labels, value);
    }
}

/// Measures nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn count(&self, _: &'static str, _: Labels<'_>, _: u64) {}
    fn gauge(&self, _: &'static str, _: Labels<'_>, _: f64) {}
    fn observe(&self, _: &'static str, _: Labels<'_>, _: f64) {}
}

/// Upper bounds of the histogram buckets, in base units; suits seconds from 100 us to 10 s.
const BUCKETS: [f64; 16] =
    [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Clone)]
enum Series {
    Counter(u64),
    Gauge(f64),
    Histogram { buckets: [u64; BUCKETS.len()], count: u64, sum: f64 },
}

/// Keeps series in memory and writes them in the Prometheus text format.
///
/// ```
/// use mlops_core::{Meter, PrometheusMeter};
///
/// let meter = PrometheusMeter::default();
/// meter.count("mlops_requests_total", &[("model", "fraud")], 2);
/// assert!(meter.render().contains("mlops_requests_total{model=\"fraud\"} 2"));
/// ```
#[derive(Debug, Default)]
pub struct PrometheusMeter {
    series: Mutex<BTreeMap<(&'static str, String), Series>>,
}

impl PrometheusMeter {
    fn update(&self, name: &'static str, labels: Labels<'_>, new: Series, change: impl FnOnce(&mut Series)) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        change(series.entry((name, label_text(labels))).or_insert(new));
    }

    /// Every series in the Prometheus text exposition format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Exposition::default();
        self.expose(&mut page);
        page.finish()
    }

    /// Adds every series to a page, but for families that it has already.
    pub fn expose(&self, page: &mut Exposition) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut last, mut skipped) = ("", false);
        for ((name, labels), value) in series.iter() {
            if *name != last {
                (last, skipped) = (name, page.has(name));
                if !skipped {
                    page.family(name, value.kind(), "");
                }
            }
            if !skipped {
                value.expose(labels, page);
            }
        }
    }
}

impl Series {
    fn kind(&self) -> MetricKind {
        match self {
            Self::Counter(_) => MetricKind::Counter,
            Self::Gauge(_) => MetricKind::Gauge,
            Self::Histogram { .. } => MetricKind::Histogram,
        }
    }

    fn expose(&self, labels: &str, page: &mut Exposition) {
        match self {
            Self::Counter(count) => page.line("", labels, count),
            Self::Gauge(value) => page.line("", labels, value),
            Self::Histogram { buckets, count, sum } => {
                let bounded = BUCKETS.into_iter().zip(*buckets);
                page.buckets(labels, &bounded.chain([(f64::INFINITY, *count)]).collect::<Vec<_>>(), *sum);
            }
        }
    }
}

impl Meter for PrometheusMeter {
    fn count(&self, name: &'static str, labels: Labels<'_>, by: u64) {
        self.update(name, labels, Series::Counter(0), |series| {
            if let Series::Counter(count) = series {
                *count = count.saturating_add(by);
            }
        });
    }

    fn gauge(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        self.update(name, labels, Series::Gauge(value), |series| *series = Series::Gauge(value));
    }

    fn observe(&self, name: &'static str, labels: Labels<'_>, value: f64) {
        let empty = Series::Histogram { buckets: [0; BUCKETS.len()], count: 0, sum: 0.0 };
        self.update(name, labels, empty, |series| {
            if let Series::Histogram { buckets, count, sum } = series {
                *count += 1;
                *sum += value;
                for (bound, cumulative) in BUCKETS.iter().zip(buckets) {
                    *cumulative += u64::from(value <= *bound);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_each_kind_once_with_type_and_escapes() {
        let meter = PrometheusMeter::default();
        meter.count("a_total", &[("x", "1\"\n")], 1);
        meter.count("a_total", &[("x", "1\"\n")], 2);
        meter.gauge("b", &[], 2.5);
        meter.observe("c_seconds", &[("m", "f")], 0.003);
        let text = meter.render();
        assert!(text.contains("# TYPE a_total counter\na_total{x=\"1\\\"\\n\"} 3\n"), "{text}");
        assert!(text.contains("# TYPE b gauge\nb 2.5\n"));
        assert!(text.contains("c_seconds_bucket{m=\"f\",le=\"0.0025\"} 0\n"));
        assert!(text.contains("c_seconds_bucket{m=\"f\",le=\"0.005\"} 1\n"));
        assert!(text.contains("c_seconds_count{m=\"f\"} 1\n"));
        let mut page = Exposition::default();
        page.family("b", MetricKind::Gauge, "");
        meter.expose(&mut page);
        let text = page.finish();
        assert!(text.starts_with("# TYPE b gauge\n# TYPE a_total counter\n") && !text.contains("b 2.5"), "{text}");
    }
}
