//! Charts as inline SVG: distributions as steps or bars, lines with a band.
//!
//! Invariant: numbers inside attributes are finite and short; what a chart shows is also said in its label, so that
//! it can be read aloud.

use std::fmt::{self, Write};

use super::super::{
    Histogram,
    format::{Escaped, Number, Percent, shortened},
};

/// The area of a chart inside its margins, in units of its view box of [`WIDTH`] by [`HEIGHT`].
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 392.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 136.0;

/// Most levels that are drawn as bars, where they start, and the height of each.
const BARS_MAX: usize = 12;
const BARS_LEFT: f64 = 132.0;
const ROW: f64 = 17.0;

#[allow(clippy::cast_precision_loss, reason = "a place on a chart")]
fn float(index: usize) -> f64 {
    index as f64
}

fn highest(histogram: &Histogram) -> f64 {
    histogram.reference.iter().chain(&histogram.current).fold(f64::MIN_POSITIVE, |high, share| high.max(*share))
}

/// Where the top of each share lies, counted downwards from `bottom`.
fn heights(shares: &[f64], (bottom, unit): (f64, f64)) -> Vec<f64> {
    shares.iter().map(|share| (bottom - unit * share).round()).collect()
}

/// Both distributions without axes, for a row of the table.
pub(super) fn write_spark(page: &mut String, histogram: &Histogram) -> fmt::Result {
    let top = highest(histogram);
    let bins = histogram.labels.len();
    write!(
        page,
        "<svg class=\"spark\" viewBox=\"0 0 {} 40\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        bins * 6,
        Escaped(&in_words(histogram))
    )?;
    for (class, shares) in [("r", &histogram.reference), ("c", &histogram.current)] {
        write!(page, "<path class=\"{class}\" d=\"M0 40")?;
        write_steps(page, &heights(shares, (40.0, 38.0 / top)), (0.0, 6.0))?;
        page.push_str("V40\"/>");
    }
    page.push_str("</svg>");
    Ok(())
}

/// The fullest bin of each side.
fn in_words(histogram: &Histogram) -> String {
    let fullest = |shares: &[f64]| {
        let best = shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or_else(String::new, |(index, share)| {
            format!("{} ({})", histogram.labels.get(index).map_or("", String::as_str), Percent(*share))
        })
    };
    format!("most frequent: reference {}, window {}", fullest(&histogram.reference), fullest(&histogram.current))
}

fn write_text(page: &mut String, (x, y): (f64, f64), class: &str, text: &dyn fmt::Display) -> fmt::Result {
    write!(page, "<text x=\"{x:.0}\" y=\"{y:.0}\"")?;
    if !class.is_empty() {
        write!(page, " class=\"{class}\"")?;
    }
    write!(page, ">{text}</text>")
}

/// The reference as an area and the window as a line over the same bins of numbers.
pub(super) fn write_histogram(page: &mut String, histogram: &Histogram) -> fmt::Result {
    let top = highest(histogram);
    let width = (RIGHT - LEFT) / float(histogram.labels.len()).max(1.0);
    write!(page, "<svg class=\"chart hover\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"")?;
    write!(page, "{}\" data-x=\"", Escaped(&in_words(histogram)))?;
    write_labels(page, &histogram.labels)?;
    page.push_str("\" data-v=\"");
    for (name, shares) in [("reference", &histogram.reference), ("\nwindow", &histogram.current)] {
        page.push_str(name);
        shares.iter().try_for_each(|share| write!(page, ";{}", Percent(*share)))?;
    }
    page.push_str("\">");
    write_frame(page, ("0", &Percent(top / 2.0), &Percent(top)))?;
    for (class, shares) in [("r", &histogram.reference), ("c", &histogram.current)] {
        write!(page, "<path class=\"{class}\" d=\"M{LEFT} {BOTTOM}")?;
        write_steps(page, &heights(shares, (BOTTOM, (BOTTOM - TOP) / top)), (LEFT, width))?;
        write!(page, "V{BOTTOM}\"/>")?;
    }
    write_edges(page, &histogram.edges, width)?;
    write_text(page, ((LEFT + RIGHT) / 2.0, HEIGHT - 4.0), "m", &"value")?;
    page.push_str("</svg>");
    Ok(())
}

/// Steps of one width at these heights from `left` on; equal neighbors share a step.
fn write_steps(page: &mut String, heights: &[f64], (left, width): (f64, f64)) -> fmt::Result {
    for (index, height) in heights.iter().enumerate() {
        let next = heights.get(index + 1);
        if index.checked_sub(1).and_then(|before| heights.get(before)) != Some(height) {
            write!(page, "V{height}")?;
        }
        if next != Some(height) {
            write!(page, "H{}", (left + width * float(index + 1)).round())?;
        }
    }
    Ok(())
}

/// Ticks at about five of the edges between bins.
fn write_edges(page: &mut String, edges: &[f64], width: f64) -> fmt::Result {
    let step = edges.len().div_ceil(5).max(1);
    let ticks = || edges.iter().enumerate().skip(step / 2).step_by(step);
    let x = |index: usize| (LEFT + width * float(index + 1)).round();
    page.push_str("<path class=\"axis\" d=\"");
    ticks().try_for_each(|(index, _)| write!(page, "M{} {BOTTOM}v4", x(index)))?;
    page.push_str("\"/>");
    ticks().try_for_each(|(index, edge)| write_text(page, (x(index), BOTTOM + 16.0), "m", &Number(*edge)))
}

/// Axis lines and three labels on the vertical axis: bottom, middle, top.
fn write_frame(page: &mut String, (low, middle, high): (&str, &dyn fmt::Display, &dyn fmt::Display)) -> fmt::Result {
    let center = f64::midpoint(TOP, BOTTOM);
    write!(
        page,
        "<path class=\"gridline\" d=\"M{LEFT} {TOP}H{RIGHT}M{LEFT} {center}H{RIGHT}\"/><path class=\"axis\" d=\"M{LEFT} {BOTTOM}H{RIGHT}\"/>"
    )?;
    write_text(page, (LEFT - 5.0, BOTTOM + 3.0), "e", &low)?;
    write_text(page, (LEFT - 5.0, center + 3.0), "e", middle)?;
    write_text(page, (LEFT - 5.0, TOP + 4.0), "e", high)
}

/// Levels as pairs of bars, the most frequent ones: the reference thick, the window thin within it.
pub(super) fn write_bars(page: &mut String, histogram: &Histogram) -> fmt::Result {
    let top = highest(histogram);
    let shown = histogram.labels.get(..BARS_MAX).unwrap_or(&histogram.labels);
    let height = ROW * float(shown.len()) + 4.0;
    let label = in_words(histogram);
    write!(
        page,
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        Escaped(&label)
    )?;
    for (place, index) in reading_order(shown).into_iter().enumerate() {
        let share = |shares: &[f64]| shares.get(index).copied().unwrap_or(0.0);
        let (reference, current) = (share(&histogram.reference), share(&histogram.current));
        let y = ROW * float(place);
        let length = |share: f64| ((RIGHT - 84.0 - BARS_LEFT) * share / top).round();
        let (before, after) = (length(reference), length(current));
        write!(page, "<path class=\"r\" d=\"M{BARS_LEFT} {}h{before}v13h-{before}z\"/>", y + 2.0)?;
        write!(page, "<path class=\"cb\" d=\"M{BARS_LEFT} {}h{after}v5h-{after}z\"/>", y + 6.0)?;
        let label = shown.get(index).map_or("", String::as_str);
        write_text(page, (BARS_LEFT - 6.0, y + 12.0), "e", &Escaped(&shortened(label, 20)))?;
        let shares = format!("{} \u{2192} {}", Percent(reference), Percent(current));
        write_text(page, (BARS_LEFT + before.max(after) + 5.0, y + 12.0), "", &shares)?;
    }
    page.push_str("</svg>");
    Ok(())
}

/// Levels that are all numbers in their order, others as they are.
fn reading_order(labels: &[String]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let numbers: Option<Vec<f64>> = labels.iter().map(|label| label.parse().ok()).collect();
    if let Some(numbers) = numbers {
        let number = |index: &usize| numbers.get(*index).copied().unwrap_or(f64::NAN);
        order.sort_by(|a, b| number(a).total_cmp(&number(b)));
    }
    order
}

/// What a line chart shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a> {
    /// What the vertical axis shows.
    pub(super) title: &'a str,
    /// What the horizontal axis shows.
    pub(super) axis: &'a str,
    /// Where points lie, in words.
    pub(super) labels: &'a [String],
    /// Where points lie, from 0 to 1; evenly without.
    pub(super) positions: Option<&'a [f64]>,
    /// Names and values.
    pub(super) lines: &'a [(&'a str, &'a [f64])],
    /// Mean and half width of a band that is the same everywhere.
    pub(super) constant: Option<(f64, f64)>,
    /// Lower and upper ends of a band that is not.
    pub(super) band: Option<(&'a [f64], &'a [f64])>,
    /// Whether the chart brings its labels for the script, or takes those of its table.
    pub(super) own_labels: bool,
}

/// Escaped labels, one a line, for an attribute.
pub(super) fn write_labels(page: &mut String, labels: &[String]) -> fmt::Result {
    for (index, label) in labels.iter().enumerate() {
        write!(page, "{}{}", if index == 0 { "" } else { "\n" }, Escaped(&shortened(label, 30)))?;
    }
    Ok(())
}

impl Lines<'_> {
    /// Lowest and highest of everything finite, widened where they coincide.
    fn range(&self) -> (f64, f64) {
        let constant = self.constant.map(|(mean, std)| [mean - std, mean + std]);
        let band = self.band.map(|(low, high)| low.iter().chain(high));
        let values = self.lines.iter().flat_map(|(_, values)| values.iter());
        let all = values.chain(band.into_iter().flatten()).copied().chain(constant.into_iter().flatten());
        let finite = all.filter(|value| value.abs() < 1e300);
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return (0.0, 1.0);
        }
        let margin = ((high - low) * 0.06).max(low.abs().max(high.abs()) * 1e-6).max(1e-12);
        (low - margin, high + margin)
    }

    fn x(&self, index: usize) -> f64 {
        let even = float(index) / float(self.labels.len().saturating_sub(1)).max(1.0);
        let position = self.positions.map_or(Some(&even), |positions| positions.get(index)).copied().unwrap_or(even);
        LEFT + (RIGHT - LEFT) * position.clamp(0.0, 1.0)
    }
}

/// Lines over an ordered axis.
pub(super) fn write_lines(page: &mut String, chart: &Lines<'_>) -> fmt::Result {
    let (low, high) = chart.range();
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * ((value - low) / (high - low)).clamp(0.0, 1.0);
    write_lines_opening(page, chart, (low, high))?;
    write_frame(
        page,
        (
            &Number(tidy(low, high - low)).to_string(),
            &Number(tidy(f64::midpoint(low, high), high - low)),
            &Number(tidy(high, high - low)),
        ),
    )?;
    if let Some((mean, std)) = chart.constant {
        let (top, bottom, middle) = (y(mean + std), y(mean - std), y(mean));
        let height = (bottom - top).max(1.0);
        write!(page, "<path class=\"band\" d=\"M{LEFT} {top:.1}H{RIGHT}v{height:.1}H{LEFT}z\"/>")?;
        write!(page, "<path class=\"mid\" d=\"M{LEFT} {middle:.1}H{RIGHT}\"/>")?;
    }
    if let Some((lows, highs)) = chart.band {
        write_band(page, chart, (lows, highs), y)?;
    }
    for (number, (_, values)) in chart.lines.iter().enumerate() {
        write!(page, "<path class=\"l l{number}\" d=\"")?;
        let mut pen_up = true;
        for (index, value) in values.iter().enumerate().take(chart.labels.len()) {
            if value.abs() < 1e300 {
                write!(page, "{}{:.0} {:.1}", if pen_up { "M" } else { "L" }, chart.x(index), y(*value))?;
                pen_up = false;
            } else {
                pen_up = true;
            }
        }
        page.push_str("\"/>");
    }
    write_line_labels(page, chart)?;
    page.push_str("</svg>");
    Ok(())
}

/// A value rounded to a thousandth of the range, so that axis labels stay short.
fn tidy(value: f64, range: f64) -> f64 {
    let unit = 10_f64.powf((range / 100.0).log10().floor());
    if unit > 0.0 && (value / unit).abs() < 1e15 { (value / unit).round() * unit } else { value }
}

fn write_lines_opening(page: &mut String, chart: &Lines<'_>, (low, high): (f64, f64)) -> fmt::Result {
    write!(page, "<svg class=\"chart hover\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"")?;
    let ends = (chart.labels.first().map_or("", String::as_str), chart.labels.last().map_or("", String::as_str));
    write!(page, "{} from {} to {}, ", Escaped(chart.title), Escaped(ends.0), Escaped(ends.1))?;
    write!(page, "between {} and {}\" data-v=\"", Number(low), Number(high))?;
    for (number, (name, values)) in chart.lines.iter().enumerate() {
        write!(page, "{}{}", if number == 0 { "" } else { "\n" }, Escaped(name))?;
        for value in values.iter().take(chart.labels.len()) {
            write!(page, ";{}", Number(*value))?;
        }
    }
    if chart.own_labels {
        page.push_str("\" data-x=\"");
        write_labels(page, chart.labels)?;
    }
    page.push_str("\">");
    Ok(())
}

fn write_band(
    page: &mut String,
    chart: &Lines<'_>,
    (lows, highs): (&[f64], &[f64]),
    y: impl Fn(f64) -> f64,
) -> fmt::Result {
    let known = |(_, (low, high)): &(usize, (&f64, &f64))| low.is_finite() && high.is_finite();
    let points: Vec<(usize, (&f64, &f64))> =
        lows.iter().zip(highs).take(chart.labels.len()).enumerate().filter(known).collect();
    page.push_str("<path class=\"band\" d=\"");
    for (place, (index, (_, high))) in points.iter().enumerate() {
        write!(page, "{}{:.0} {:.1}", if place == 0 { "M" } else { "L" }, chart.x(*index), y(**high))?;
    }
    for (index, (low, _)) in points.iter().rev() {
        write!(page, "L{:.0} {:.1}", chart.x(*index), y(**low))?;
    }
    page.push_str("\"/>");
    Ok(())
}

/// First, middle and last label, and what the axis is.
fn write_line_labels(page: &mut String, chart: &Lines<'_>) -> fmt::Result {
    let last = chart.labels.len().saturating_sub(1);
    for (index, class) in [(0, "s"), (last / 2, "m"), (last, "e")] {
        if (index == 0 && class != "s") || (class == "m" && last < 4) {
            continue;
        }
        if let Some(label) = chart.labels.get(index) {
            write_text(page, (chart.x(index), BOTTOM + 16.0), class, &Escaped(&shortened(label, 18)))?;
        }
    }
    write_text(page, (f64::midpoint(LEFT, RIGHT), HEIGHT - 4.0), "m", &Escaped(&shortened(chart.axis, 40)))
}
