//! Shapes of a chart as inline SVG.
//!
//! Invariant: numbers inside attributes are finite and short, text is escaped, and a chart carries
//! what it shows as a label, so that it can be read aloud.

use std::fmt::{self, Write};

/// A chart being drawn in a view box.
#[derive(Debug)]
pub(crate) struct Svg {
    text: String,
}

/// Text whose markup characters are harmless.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            c if c.is_control() && c != '\n' => f.write_char(' '),
            c => f.write_char(c),
        })
    }
}

/// A number in about four digits.
pub(crate) struct Number(pub(crate) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        match size {
            _ if size == 0.0 => f.write_str("0"),
            _ if !(1e-3..1e6).contains(&size) => write!(f, "{:.2e}", self.0),
            _ => {
                let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
                let text = format!("{:.digits$}", self.0);
                let short = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
                f.write_str(short)
            }
        }
    }
}

/// The beginning of a long name.
pub(crate) fn shortened(name: &str, characters: usize) -> String {
    if name.chars().count() <= characters {
        return name.to_owned();
    }
    name.chars().take(characters.saturating_sub(1)).chain(['\u{2026}']).collect()
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64, label: &str) -> Self {
        let label = Escaped(label);
        Self {
            text: format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\" \
                 font-family=\"sans-serif\" font-size=\"11\" fill=\"#333\"><title>{label}</title>"
            ),
        }
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), anchor: &str, text: &str) {
        self.push(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", Escaped(text)));
    }

    /// A rectangle from `x` to `to`, whichever is more.
    pub(crate) fn bar(&mut self, (x, to): (f64, f64), y: f64, height: f64, color: &str) {
        let (left, width) = (x.min(to), (to - x).abs());
        self.push(format_args!(
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
        ));
    }

    pub(crate) fn line(&mut self, points: impl Iterator<Item = (f64, f64)>, color: &str, width: f64) {
        self.text.push_str("<polyline points=\"");
        points.for_each(|(x, y)| self.push(format_args!("{x:.1},{y:.1} ")));
        self.push(format_args!("\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"/>"));
    }

    pub(crate) fn dot(&mut self, (x, y): (f64, f64), color: &str) {
        self.push(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.8\" fill=\"{color}\" fill-opacity=\"0.7\"/>"
        ));
    }

    /// A larger dot that tells more where it is pointed at.
    pub(crate) fn marker(&mut self, (x, y): (f64, f64), color: &str, title: &str) {
        self.push(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\" fill-opacity=\".75\"><title>{}</title></circle>",
            Escaped(title)
        ));
    }

    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }

    fn push(&mut self, shape: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(shape);
    }
}

/// Maps a range of numbers to a range of places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// From `low` to a higher `high`.
    pub(crate) fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self { low, high, from, to }
    }

    /// Over the finite ones of `values`, widened where they coincide.
    pub(crate) fn over(values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        // Sizes beyond overflow in differences.
        let finite = values.filter(|value| value.abs() < 1e300);
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let margin = if high > low { 0.0 } else { (low.abs() * 1e-6).max(0.5) };
        Self::new((low - margin, high + margin), (from, to))
    }

    /// The place of a value, at an end for one outside.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + (self.to - self.from) * if share.is_nan() { 0.5 } else { share }
    }

    /// Five values from end to end.
    pub(crate) fn ticks(&self) -> impl Iterator<Item = f64> {
        let Self { low, high, .. } = *self;
        (0..5).map(move |tick| low + (high - low) * f64::from(tick) / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (1.0, "1"), (0.5, "0.5"), (12_345.6, "12346"), (1e-7, "1.00e-7"), (-3.25, "-3.25")];
        for (number, expected) in cases {
            assert_eq!(Number(number).to_string(), expected);
        }
    }

    #[test]
    fn a_scale_maps_every_number_to_a_place() {
        let scale = Scale::over([2.0, f64::NAN, 4.0, f64::INFINITY].into_iter(), (0.0, 100.0));
        assert_eq!((scale.place(3.0), scale.place(9.0), scale.place(f64::NAN)), (50.0, 100.0, 50.0));
        assert_eq!(Scale::over([7.0].into_iter(), (0.0, 10.0)).place(7.0), 5.0);
        assert!(Scale::over(std::iter::empty(), (0.0, 10.0)).place(0.3).is_finite());
    }
}
