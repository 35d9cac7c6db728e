//! Bars of importance, swarms of contributions, the way to one score.

use super::{HIGH, LOW, PALE, Plot};
use crate::{
    explain::{attribution::Attribution, summary::Summary},
    preprocess::Matrix,
    svg::{Number, Scale, Svg, shortened},
};

/// Features that are shown; the rest counts as one, or not at all.
const FEATURES_MAX: usize = 20;
/// Points of a feature that are drawn, evenly from all.
const POINTS_MAX: usize = 500;

const WIDTH: f64 = 640.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 570.0;
const ROW: f64 = 22.0;

/// Importance by feature as bars, the most important first.
#[must_use]
pub fn importance(summary: &Summary) -> Plot {
    let ranked = summary.ranked();
    let shown = ranked.get(..FEATURES_MAX).unwrap_or(&ranked);
    let label =
        shown.first().map_or_else(String::new, |(name, value)| format!("most important: {name}, {}", Number(*value)));
    let mut svg = Svg::new(WIDTH, ROW * shown.len() as f64 + 8.0, &label);
    let scale = Scale::over(shown.iter().map(|(_, value)| *value).chain([0.0]), (LEFT, RIGHT));
    for (place, (name, value)) in shown.iter().enumerate() {
        let y = ROW * place as f64 + 4.0;
        svg.text((LEFT - 8.0, y + 13.0), "end", &shortened(name, 26));
        svg.bar((scale.place(0.0), scale.place(*value)), y + 3.0, ROW - 8.0, LOW);
        svg.text((scale.place(*value) + 5.0, y + 13.0), "start", &Number(*value).to_string());
    }
    Plot { title: format!("Importance: {}", summary.method), svg: svg.finish() }
}

/// Contributions of all rows by feature, a point each, colored by how large the feature's value is
/// among its own (`values`, with the columns of the features) where it is given.
#[must_use]
pub fn beeswarm(attribution: &Attribution, values: Option<&Matrix>) -> Plot {
    let order = by_size(attribution);
    let shown = order.get(..FEATURES_MAX).unwrap_or(&order);
    let label = format!("contributions to the score of {} rows by feature", attribution.rows());
    let height = ROW * shown.len() as f64 + 30.0;
    let mut svg = Svg::new(WIDTH, height, &label);
    let all = shown.iter().flat_map(|&feature| column(attribution, feature));
    let scale = Scale::over(all.chain([0.0]), (LEFT, RIGHT));
    svg.line([(scale.place(0.0), 0.0), (scale.place(0.0), height - 24.0)].into_iter(), PALE, 1.0);
    let step = attribution.rows().div_ceil(POINTS_MAX).max(1);
    for (place, &feature) in shown.iter().enumerate() {
        let middle = ROW * (place as f64 + 0.5);
        let name = attribution.features.get(feature).map_or("", String::as_str);
        svg.text((LEFT - 8.0, middle + 4.0), "end", &shortened(name, 26));
        let own = values.map(|values| values.column(feature).collect::<Vec<f64>>());
        let range = own.as_ref().map(|own| Scale::over(own.iter().copied(), (0.0, 1.0)));
        let mut crowd = Crowd::default();
        for (row, value) in column(attribution, feature).enumerate().step_by(step) {
            let share = own.as_ref().and_then(|own| own.get(row)).zip(range).map(|(value, range)| range.place(*value));
            let x = scale.place(value);
            svg.dot((x, middle + crowd.offset(x)), &share.map_or_else(|| LOW.to_owned(), blended));
        }
    }
    for tick in scale.ticks() {
        svg.text((scale.place(tick), height - 8.0), "middle", &Number(tick).to_string());
    }
    Plot { title: "Contributions by feature".to_owned(), svg: svg.finish() }
}

/// How one row's score comes about from the base value, the largest contributions first; none for
/// a row that is not there.
#[must_use]
pub fn waterfall(attribution: &Attribution, row: usize) -> Option<Plot> {
    let (gains, prediction) = (attribution.row(row)?, attribution.predictions.get(row)?);
    let mut named: Vec<(&str, f64)> =
        attribution.features.iter().map(String::as_str).zip(gains.iter().copied()).collect();
    named.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    if named.len() > FEATURES_MAX {
        let rest: f64 = named.drain(FEATURES_MAX..).map(|(_, gain)| gain).sum();
        named.push(("all others", rest));
    }
    let base = attribution.base_value;
    let steps: Vec<f64> = std::iter::once(base)
        .chain(named.iter().scan(base, |at, (_, gain)| {
            *at += gain;
            Some(*at)
        }))
        .collect();
    let label = format!("from the base value {} to the score {}", Number(base), Number(*prediction));
    let mut svg = Svg::new(WIDTH, ROW * named.len() as f64 + 26.0, &label);
    let scale = Scale::over(steps.iter().copied(), (LEFT, RIGHT));
    for (place, ((name, gain), ends)) in named.iter().zip(steps.windows(2)).enumerate() {
        let &[from, to] = ends else { continue };
        let y = ROW * place as f64;
        svg.text((LEFT - 8.0, y + 15.0), "end", &shortened(name, 26));
        svg.bar((scale.place(from), scale.place(to)), y + 4.0, ROW - 8.0, if *gain >= 0.0 { HIGH } else { LOW });
        let sign = if *gain >= 0.0 { "+" } else { "" };
        svg.text((scale.place(from.max(to)) + 5.0, y + 15.0), "start", &format!("{sign}{}", Number(*gain)));
    }
    svg.text((LEFT, ROW * named.len() as f64 + 18.0), "start", &label);
    Some(Plot { title: format!("Score of row {row}"), svg: svg.finish() })
}

/// Features from the largest mean absolute contribution on.
fn by_size(attribution: &Attribution) -> Vec<usize> {
    let size = |feature: usize| column(attribution, feature).map(f64::abs).sum::<f64>();
    let mut sized: Vec<(usize, f64)> =
        (0..attribution.features.len()).map(|feature| (feature, size(feature))).collect();
    sized.sort_by(|a, b| b.1.total_cmp(&a.1));
    sized.into_iter().map(|(feature, _)| feature).collect()
}

fn column(attribution: &Attribution, feature: usize) -> impl Iterator<Item = f64> {
    attribution.iter().filter_map(move |row| row.get(feature).copied())
}

/// Moves points out of each other's way, up and down in turn.
#[derive(Debug, Default)]
struct Crowd(std::collections::BTreeMap<i64, u32>);

impl Crowd {
    fn offset(&mut self, x: f64) -> f64 {
        let there = self.0.entry((x / 3.0) as i64).or_default();
        *there += 1;
        let step = f64::from(there.div_ceil(2) % 6) * 1.5;
        if there.is_multiple_of(2) { step } else { -step }
    }
}

/// From the color of low values to that of high ones.
fn blended(share: f64) -> String {
    let mix = |low: f64, high: f64| (low + (high - low) * share).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(36.0, 192.0), mix(113.0, 57.0), mix(163.0, 43.0))
}
