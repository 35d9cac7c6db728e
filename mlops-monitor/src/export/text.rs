//! Metrics as text: Prometheus' format 0.0.4 and OpenMetrics 1.0.
//!
//! Invariant: one block per family, every label value escaped; OpenMetrics ends with `# EOF` and has no exemplars.

use std::fmt::{self, Write};

use super::{
    families::{DURATION_BOUNDS, Durations, Family, Kind, Point, Value},
    negotiation::TextFormat,
};

pub(super) fn render(families: &[(Family, Vec<Point>)], format: TextFormat) -> String {
    let mut text = String::new();
    for (family, points) in families {
        // Writing into a String cannot fail.
        let _ = write_family(&mut text, family, points, format);
    }
    if format == TextFormat::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(text: &mut String, family: &Family, points: &[Point], format: TextFormat) -> fmt::Result {
    let sample = family.sample_name();
    let open = format == TextFormat::OpenMetrics;
    let name = if open { family.name } else { &sample };
    let kind = match family.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
        Kind::Info if open => "info",
        Kind::Info => "gauge",
    };
    writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help)?;
    if let Some(unit) = family.unit.filter(|_| open) {
        writeln!(text, "# UNIT {name} {unit}")?;
    }
    for point in points {
        match point.value {
            Value::Number(value) => writeln!(text, "{sample}{} {}", Labels(point, None), Float(value))?,
            Value::Count(count) => writeln!(text, "{sample}{} {count}", Labels(point, None))?,
            Value::Histogram(durations) => write_histogram(text, &sample, point, &durations)?,
        }
    }
    Ok(())
}

fn write_histogram(text: &mut String, name: &str, point: &Point, durations: &Durations) -> fmt::Result {
    let mut below = 0_u64;
    for (bound, count) in DURATION_BOUNDS.iter().chain([&f64::INFINITY]).zip(durations.buckets) {
        below = below.saturating_add(count);
        writeln!(text, "{name}_bucket{} {below}", Labels(point, Some(*bound)))?;
    }
    let labels = Labels(point, None);
    writeln!(text, "{name}_sum{labels} {}\n{name}_count{labels} {below}", Float(durations.sum))
}

/// Labels in braces, with the bound of a bucket where there is one.
struct Labels<'a>(&'a Point, Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '{';
        for (name, value) in &self.0.labels {
            write!(f, "{separator}{name}=\"{}\"", Quoted(value))?;
            separator = ',';
        }
        if let Some(bound) = self.1 {
            write!(f, "{separator}le=\"{}\"", Float(bound))?;
            separator = ',';
        }
        if separator == ',' { f.write_char('}') } else { Ok(()) }
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

/// A number as both formats spell it.
struct Float(f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value if value.is_nan() => f.write_str("NaN"),
            value => write!(f, "{value:?}"),
        }
    }
}
