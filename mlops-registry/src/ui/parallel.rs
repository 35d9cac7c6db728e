//! Parallel coordinates (Inselberg, 1985): an axis for everything in which runs differ, a line for each run.
//!
//! Invariant: at most [`AXES_MAX`] axes, params before metrics; a line breaks where a run has no value. Values that are all
//! finite numbers are placed by size, others by rank of their text.

use std::collections::BTreeSet;

use super::{format, html::Html};
use crate::RunRecord;

const AXES_MAX: usize = 10;
/// Names along an axis of texts.
const LEVELS_NAMED: usize = 8;
/// In units of the drawing: between axes, beside them, above them, and their length.
const GAP: f64 = 150.0;
const SIDE: f64 = 90.0;
const TOP: f64 = 40.0;
const LENGTH: f64 = 210.0;
/// Lines are told apart by so many colors.
pub(super) const COLORS: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];

struct Axis<'a> {
    name: &'a str,
    /// From 0 at the bottom to 1 at the top.
    places: Vec<Option<f64>>,
    /// Place and words.
    labels: Vec<(f64, String)>,
}

impl<'a> Axis<'a> {
    /// An axis when at least two runs have different values.
    fn of(name: &'a str, values: &[Option<String>]) -> Option<Self> {
        let present: BTreeSet<&str> = values.iter().flatten().map(String::as_str).collect();
        if present.len() < 2 {
            return None;
        }
        let numbers = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        if present.iter().all(|text| numbers(text).is_some()) {
            let all = present.iter().filter_map(|text| numbers(text));
            let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
            // Halves first, so that the width of an axis is finite.
            let width = high / 2.0 - low / 2.0;
            let place = |text: &String| numbers(text).map(|value| ((value / 2.0 - low / 2.0) / width).clamp(0.0, 1.0));
            if width <= 0.0 {
                return None;
            }
            let places = values.iter().map(|value| value.as_ref().and_then(place)).collect();
            return Some(Self { name, places, labels: vec![(0.0, format::number(low)), (1.0, format::number(high))] });
        }
        let ranks: Vec<&str> = present.into_iter().collect();
        let last = (ranks.len() - 1) as f64;
        let place = |text: &String| ranks.binary_search(&text.as_str()).ok().map(|rank| rank as f64 / last);
        let places = values.iter().map(|value| value.as_ref().and_then(place)).collect();
        let step = ranks.len().div_ceil(LEVELS_NAMED);
        let named = ranks.iter().enumerate().step_by(step);
        let labels = named.map(|(rank, text)| (rank as f64 / last, format::shortened(text, 14))).collect();
        Some(Self { name, places, labels })
    }
}

fn axes(runs: &[RunRecord]) -> Vec<Axis<'_>> {
    let params: BTreeSet<&String> = runs.iter().flat_map(|run| run.params.keys()).collect();
    let metrics: BTreeSet<&String> = runs.iter().flat_map(|run| run.metrics.keys()).collect();
    let of_param = params
        .into_iter()
        .filter_map(|key| Axis::of(key, &runs.iter().map(|run| run.params.get(key).cloned()).collect::<Vec<_>>()));
    let of_metric = metrics.into_iter().filter_map(|key| {
        let value = |run: &RunRecord| run.metrics.get(key).map(|metric| metric.value.to_string());
        Axis::of(key, &runs.iter().map(value).collect::<Vec<_>>())
    });
    let (params, metrics): (Vec<_>, Vec<_>) = (of_param.collect(), of_metric.collect());
    // Half of the room at least is for metrics, where there are as many.
    let room = AXES_MAX - metrics.len().min(AXES_MAX / 2);
    params.into_iter().take(room).chain(metrics).take(AXES_MAX).collect()
}

pub(super) fn write(html: &mut Html, runs: &[RunRecord]) {
    let axes = axes(runs);
    if axes.len() < 2 {
        html.raw("<p class=\"note\">There are fewer than two params or metrics in which these runs differ.</p>");
        return;
    }
    let width = GAP * (axes.len() - 1) as f64 + 2.0 * SIDE;
    html.raw("<div class=\"scroll drawing\" tabindex=\"0\"><svg class=\"parallel\" role=\"img\" aria-label=\"Parallel coordinates of ");
    html.text(format::count(runs.len() as u64, "run"))
        .raw("\" viewBox=\"0 0 ")
        .text(width)
        .raw(" ")
        .text(TOP + LENGTH + 24.0);
    html.raw("\" width=\"").text(width).raw("\" height=\"").text(TOP + LENGTH + 24.0).raw("\">");
    let x = |axis: usize| SIDE + GAP * axis as f64;
    let y = |place: f64| (TOP + LENGTH * (1.0 - place)).round();
    for ((run, place), color) in runs.iter().zip(0..).zip(COLORS.iter().cycle()) {
        html.raw("<path class=\"line ").raw(color).raw("\" d=\"");
        let mut pen = "M";
        for (index, axis) in axes.iter().enumerate() {
            match axis.places.get(place).copied().flatten() {
                Some(at) => {
                    html.raw(pen).text(x(index)).raw(" ").text(y(at));
                    pen = "L";
                }
                None => pen = "M",
            }
        }
        html.raw("\"><title>").text(&run.name).raw("</title></path>");
    }
    for (index, axis) in axes.iter().enumerate() {
        html.raw("<path class=\"axis\" d=\"M")
            .text(x(index))
            .raw(" ")
            .text(TOP)
            .raw("V")
            .text(TOP + LENGTH)
            .raw("\"/>");
        html.raw("<text class=\"m name\" x=\"").text(x(index)).raw("\" y=\"").text(TOP - 20.0).raw("\">");
        html.text(format::shortened(axis.name, 20)).raw("</text>");
        for (at, label) in &axis.labels {
            html.raw("<text class=\"halo\" x=\"").text(x(index) + 6.0).raw("\" y=\"").text(y(*at) + 4.0).raw("\">");
            html.text(label).raw("</text>");
        }
    }
    html.raw("</svg></div><ul class=\"legend\">");
    for (run, color) in runs.iter().zip(COLORS.iter().cycle()) {
        html.raw("<li><i class=\"").raw(color).raw("\"></i>").name(&format::shortened(&run.name, 40)).raw("</li>");
    }
    html.raw("</ul>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_order_numbers_by_size_and_texts_by_rank() {
        let values = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
        let axis = Axis::of("depth", &values(&["10", "9", "11"])).unwrap();
        assert_eq!(axis.places, [Some(0.5), Some(0.0), Some(1.0)]);
        let mut texts = values(&["b", "a"]);
        texts.push(None);
        assert_eq!(Axis::of("kind", &texts).unwrap().places, [Some(1.0), Some(0.0), None]);
        assert!(Axis::of("same", &values(&["1", "1"])).is_none());
        assert!(Axis::of("equal", &values(&["1", "1.0"])).is_none(), "no width to place them on");
        let far = Axis::of("far", &values(&["-1.7e308", "1.7e308"])).unwrap();
        assert_eq!(far.places, [Some(0.0), Some(1.0)]);
    }
}
