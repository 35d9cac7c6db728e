//! Marks and axes of a chart as SVG text. Numbers are finite, text is escaped.

use std::fmt::Write;

/// Size of a chart in pixels, and the room for its labels.
pub(super) const WIDTH: f64 = 460.0;
pub(super) const HEIGHT: f64 = 280.0;
pub(super) const MARGIN: f64 = 48.0;

/// Text that is safe in HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An axis from the least to the largest value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Values from `low` to `high` at pixels `from` to `to`; a single value lies in the middle.
    pub(super) fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high, from, to }
    }

    /// The scale that holds all values.
    pub(super) fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        Self::new(low, high, from, to)
    }

    /// The pixel of a value.
    pub(super) fn at(self, value: f64) -> f64 {
        let share = if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 };
        self.from + (self.to - self.from) * share
    }

    /// Least and largest value.
    pub(super) fn ends(self) -> (f64, f64) {
        (self.low, self.high)
    }
}

/// A chart that grows mark by mark.
#[derive(Debug, Default)]
pub(super) struct Chart {
    marks: String,
}

impl Chart {
    pub(super) fn circle(&mut self, x: f64, y: f64, color: &str, title: &str) {
        // Writing to a string cannot fail.
        let _ = write!(
            self.marks,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\" \
             fill-opacity=\".75\"><title>{}</title></circle>",
            escape(title)
        );
    }

    pub(super) fn line(&mut self, points: &[(f64, f64)], color: &str, opacity: f64) {
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(
            self.marks,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-opacity=\"{opacity}\"/>",
            path.join(" ")
        );
    }

    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, color: &str) {
        let _ = write!(
            self.marks,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
        );
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = write!(self.marks, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
    }

    /// Frame and ends of both axes.
    pub(super) fn axes(&mut self, x: (&str, &str, &str), y: (&str, &str, &str)) {
        let (left, right, top, bottom) = (MARGIN, WIDTH - 8.0, 8.0, HEIGHT - MARGIN);
        self.line(&[(left, top), (left, bottom), (right, bottom)], "#888", 1.0);
        self.text(left, bottom + 14.0, "start", x.0);
        self.text(right, bottom + 14.0, "end", x.1);
        self.text(f64::midpoint(left, right), bottom + 30.0, "middle", x.2);
        self.text(left - 4.0, bottom, "end", y.0);
        self.text(left - 4.0, top + 10.0, "end", y.1);
        self.text(left + 4.0, top + 10.0, "start", y.2);
    }

    pub(super) fn into_svg(self) -> String {
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">{}</svg>", self.marks)
    }
}

/// A number in few digits.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) { format!("{value:.2e}") } else { format!("{value:.4}") }
}

/// A color from dark (0) to light (1).
pub(super) fn shade(share: f64) -> String {
    format!("hsl({:.0} 70% {:.0}%)", 250.0 - 190.0 * share.clamp(0.0, 1.0), 30.0 + 35.0 * share.clamp(0.0, 1.0))
}
