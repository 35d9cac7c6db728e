//! Measuring without choosing a backend: code counts into a [`Meter`] it was given.
//!
//! Names follow Prometheus: base units, `_total` for counters, and a bounded set of label values
//! (never an entity key or user id).

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

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

fn label_text(labels: Labels<'_>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}=\"{escaped}\"");
    }
    text
}

impl PrometheusMeter {
    fn update(&self, name: &'static str, labels: Labels<'_>, new: Series, change: impl FnOnce(&mut Series)) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        change(series.entry((name, label_text(labels))).or_insert(new));
    }

    /// Every series in the Prometheus text exposition format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        let mut last = "";
        for ((name, labels), value) in series.iter() {
            if *name != last {
                let kind = match value {
                    Series::Counter(_) => "counter",
                    Series::Gauge(_) => "gauge",
                    Series::Histogram { .. } => "histogram",
                };
                let _ = writeln!(text, "# TYPE {name} {kind}");
                last = name;
            }
            render_series(&mut text, name, labels, value);
        }
        text
    }
}

fn render_series(text: &mut String, name: &str, labels: &str, value: &Series) {
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    // Writing to a String cannot fail, so results are dropped here.
    match value {
        Series::Counter(count) => {
            let _ = writeln!(text, "{name}{braces} {count}");
        }
        Series::Gauge(value) => {
            let _ = writeln!(text, "{name}{braces} {value}");
        }
        Series::Histogram { buckets, count, sum } => {
            let comma = if labels.is_empty() { "" } else { "," };
            for (bound, cumulative) in BUCKETS.iter().zip(buckets) {
                let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {cumulative}");
            }
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "{name}_sum{braces} {sum}\n{name}_count{braces} {count}");
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
    }
}
