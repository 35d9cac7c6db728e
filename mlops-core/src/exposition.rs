//! The text exposition format of Prometheus, version 0.0.4: families one after another, each with help and type.
//!
//! Invariant: a family is written once and its samples follow it, so the text is what the format allows whatever the
//! label values are.

use std::fmt::{Display, Write as _};

use crate::meter::Labels;

/// What a family of metrics counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Observations by size.
    Histogram,
}

/// Metrics as text, in the making.
///
/// ```
/// use mlops_core::{Exposition, MetricKind};
///
/// let mut page = Exposition::default();
/// page.family("mlops_requests_total", MetricKind::Counter, "Requests.");
/// page.sample(&[("model", "fraud")], 2);
/// assert!(page.finish().ends_with("mlops_requests_total{model=\"fraud\"} 2\n"));
/// ```
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    families: Vec<&'static str>,
}

impl Exposition {
    /// The value of the `content-type` header of a page.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Whether a family was begun.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.families.contains(&name)
    }

    /// Begins a family; its samples follow. No help where `help` is empty.
    pub fn family(&mut self, name: &'static str, kind: MetricKind, help: &str) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        self.families.push(name);
        // Writing to a String cannot fail, here and below.
        if !help.is_empty() {
            let _ = writeln!(self.text, "# HELP {name} {help}");
        }
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
    }

    /// A sample of the last family.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", &label_text(labels), value);
    }

    /// Buckets (upper bound, how many were at most that) and the sum of a histogram; the last bucket has all.
    pub fn histogram(&mut self, labels: Labels<'_>, buckets: &[(f64, u64)], sum: f64) {
        self.buckets(&label_text(labels), buckets, sum);
    }

    /// As [`Exposition::histogram`], with labels that are text already.
    pub(crate) fn buckets(&mut self, labels: &str, buckets: &[(f64, u64)], sum: f64) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, cumulative) in buckets {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            self.line("_bucket", &format!("{labels}{comma}le=\"{bound}\""), cumulative);
        }
        self.line("_sum", labels, sum);
        self.line("_count", labels, buckets.last().map_or(0, |(_, count)| *count));
    }

    /// One line of the last family.
    pub(crate) fn line(&mut self, suffix: &str, labels: &str, value: impl Display) {
        let name = self.families.last().copied().unwrap_or_default();
        let _ = match labels {
            "" => writeln!(self.text, "{name}{suffix} {value}"),
            labels => writeln!(self.text, "{name}{suffix}{{{labels}}} {value}"),
        };
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// Labels as they stand between braces.
pub(crate) fn label_text(labels: Labels<'_>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{name}=\"{escaped}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_kept() {
        let mut page = Exposition::default();
        page.family("a_total", MetricKind::Counter, "First.");
        page.sample(&[("x", "1\"\n\\"), ("y", "")], 2);
        page.family("b_seconds", MetricKind::Histogram, "");
        page.histogram(&[], &[(0.5, 1), (f64::INFINITY, 3)], 1.5);
        page.histogram(&[("m", "f")], &[(f64::INFINITY, 0)], 0.0);
        assert!(page.has("a_total") && !page.has("a"));
        assert_eq!(
            page.finish(),
            "# HELP a_total First.\n# TYPE a_total counter\na_total{x=\"1\\\"\\n\\\\\",y=\"\"} 2\n\
             # TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.5\"} 1\nb_seconds_bucket{le=\"+Inf\"} 3\n\
             b_seconds_sum 1.5\nb_seconds_count 3\nb_seconds_bucket{m=\"f\",le=\"+Inf\"} 0\nb_seconds_sum{m=\"f\"} 0\n\
             b_seconds_count{m=\"f\"} 0\n"
        );
    }
}
