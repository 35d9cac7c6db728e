//! The text exposition format of Prometheus, version 0.0.4: families one after another, each with help and type.
//!
//! Invariant: a family is written once and its samples follow it, so the text is what the format allows whatever the
//! label values are.

use std::fmt::Write as _;

/// Text in the making.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
    families: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

pub(crate) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.families.push(name);
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn name(&self) -> &'static str {
        self.families.last().copied().unwrap_or_default()
    }

    /// A sample of the last family.
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: f64) {
        let name = self.name();
        self.line(name, "", labels, value);
    }

    /// Buckets (upper bound, how many were at most that) and the sum of a histogram.
    pub(crate) fn histogram(&mut self, labels: Labels<'_>, buckets: &[(f64, u64)], sum: f64) {
        let name = self.name();
        let mut count = 0;
        for (bound, cumulative) in buckets {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let all: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.line(name, "_bucket", &all, *cumulative as f64);
            count = *cumulative;
        }
        self.line(name, "_sum", labels, sum);
        self.line(name, "_count", labels, count as f64);
    }

    fn line(&mut self, name: &str, suffix: &str, labels: Labels<'_>, value: f64) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // Writing to a String cannot fail.
            let _ = write!(self.text, "{}{label}=\"{escaped}\"", if index == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, " {value}");
    }

    /// The text, with what `other` wrote of families that are not here yet.
    pub(crate) fn finish(mut self, other: &str) -> String {
        let mut known = false;
        for line in other.lines() {
            if let Some(header) = line.strip_prefix("# TYPE ") {
                let name = header.split(' ').next().unwrap_or_default();
                known = self.families.contains(&name);
            }
            if !known {
                self.text.push_str(line);
                self.text.push('\n');
            }
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_kept_and_nothing_is_told_twice() {
        let mut text = Exposition::default();
        text.family("a_total", Kind::Counter, "First.");
        text.sample(&[("x", "1\"\n\\"), ("y", "")], 2.0);
        text.family("b_seconds", Kind::Histogram, "Second.");
        text.histogram(&[], &[(0.5, 1), (f64::INFINITY, 3)], 1.5);
        let other = "# TYPE a_total counter\na_total 9\n# TYPE c gauge\nc 1\n";
        assert_eq!(
            text.finish(other),
            "# HELP a_total First.\n# TYPE a_total counter\na_total{x=\"1\\\"\\n\\\\\",y=\"\"} 2\n\
             # HELP b_seconds Second.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.5\"} 1\n\
             b_seconds_bucket{le=\"+Inf\"} 3\nb_seconds_sum 1.5\nb_seconds_count 3\n# TYPE c gauge\nc 1\n"
        );
    }
}
