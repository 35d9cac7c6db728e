//! A small time chart as inline SVG: lines, bars, vertical markers.

use std::fmt::Write as _;

const WIDTH: f64 = 1040.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 24.0;

/// One line; a missing value interrupts it.
pub struct Line {
    pub class: &'static str,
    pub values: Vec<Option<f64>>,
}

/// Values over equally spaced periods.
pub struct Chart {
    pub labels: Vec<String>,
    pub lines: Vec<Line>,
    /// Height of each bar and whether it is highlighted.
    pub bars: Vec<(f64, bool)>,
    /// Period and text of vertical markers.
    pub markers: Vec<(usize, String)>,
}

impl Chart {
    /// The drawing.
    pub fn svg(&self) -> String {
        let (low, high) = self.range();
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        self.draw_axes(&mut svg, low, high);
        for (index, (value, highlighted)) in self.bars.iter().enumerate() {
            let (class, top) = (if *highlighted { "drifted" } else { "calm" }, y(*value, low, high));
            let width = (self.step() * 0.7).max(1.0);
            let (left, height) = (self.x(index) - width / 2.0, (HEIGHT - BOTTOM - top).max(0.5));
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{}: {value:.3}</title></rect>",
                self.labels[index]
            );
        }
        for (index, text) in &self.markers {
            let x = self.x(*index);
            let _ = write!(
                svg,
                "<line class=\"move\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/><text x=\"{x:.1}\" y=\"12\" text-anchor=\"middle\">{text}</text>",
                HEIGHT - BOTTOM
            );
        }
        for line in &self.lines {
            let _ = write!(
                svg,
                "<path class=\"{}\" fill=\"none\" stroke-width=\"2\" d=\"{}\"/>",
                line.class,
                self.path(line, low, high)
            );
        }
        svg + "</svg>"
    }

    fn range(&self) -> (f64, f64) {
        let lines = self.lines.iter().flat_map(|line| line.values.iter().flatten().copied());
        let values: Vec<f64> =
            lines.chain(self.bars.iter().map(|bar| bar.0)).filter(|value| value.is_finite()).collect();
        let high = values.iter().copied().fold(f64::MIN, f64::max);
        let low = if self.bars.is_empty() { values.iter().copied().fold(f64::MAX, f64::min) } else { 0.0 };
        if values.is_empty() || high <= low {
            (0.0, high.max(1.0))
        } else {
            (low - 0.05 * (high - low) * f64::from(u8::from(self.bars.is_empty())), high)
        }
    }

    fn step(&self) -> f64 {
        (WIDTH - LEFT - RIGHT) / self.labels.len().max(1) as f64
    }

    fn x(&self, index: usize) -> f64 {
        LEFT + (index as f64 + 0.5) * self.step()
    }

    fn draw_axes(&self, svg: &mut String, low: f64, high: f64) {
        for tick in 0..=4 {
            let value = low + (high - low) * f64::from(tick) / 4.0;
            let y = y(value, low, high);
            let _ = write!(
                svg,
                "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0
            );
        }
        let every = self.labels.len().div_ceil(10).max(1);
        for (index, label) in self.labels.iter().enumerate().step_by(every) {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                self.x(index),
                HEIGHT - 6.0
            );
        }
    }

    fn path(&self, line: &Line, low: f64, high: f64) -> String {
        let mut path = String::new();
        let mut pen_down = false;
        for (index, value) in line.values.iter().enumerate() {
            match value {
                Some(value) => {
                    let command = if pen_down { 'L' } else { 'M' };
                    let _ = write!(path, "{command}{:.1} {:.1} ", self.x(index), y(*value, low, high));
                    pen_down = true;
                }
                None => pen_down = false,
            }
        }
        path
    }
}

fn y(value: f64, low: f64, high: f64) -> f64 {
    HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
}
