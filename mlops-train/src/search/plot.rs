//! Charts of a study as one HTML page that needs nothing else: history, importance, slices, contour, parallel
//! coordinates.
//!
//! Everything is drawn here as SVG; the page runs no script and loads nothing.

use super::{
    importance,
    space::ParamSpace,
    study::Study,
    trial::{Trial, TrialState},
};
use crate::svg::{Escaped, Number, Scale, Svg, shortened};

/// Size of a chart, and the room for its labels.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 280.0;
const MARGIN: f64 = 48.0;
/// Where axes go from left to right and from bottom to top.
const ACROSS: (f64, f64) = (MARGIN, WIDTH - 8.0);
const UP: (f64, f64) = (HEIGHT - MARGIN, 8.0);

/// Characters of a name that a chart shows.
const NAME: usize = 24;

const BLUE: &str = "#4a7fd4";
const RED: &str = "#d4574a";
const GRAY: &str = "#888";

/// Trials that charts show, the latest ones.
const SHOWN_MAX: usize = 2_000;

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:24px;color:#222}h2{font-size:16px;margin:24px 0 8px}\
    svg{width:460px;margin:0 12px 12px 0}svg text{fill:#555}";

/// The page of a study. With several objectives the charts are of the first.
#[must_use]
pub fn html(study: &Study) -> String {
    let complete: Vec<&Trial> = study.trials().iter().filter(|trial| trial.state == TrialState::Complete).collect();
    let shown = complete.get(complete.len().saturating_sub(SHOWN_MAX)..).unwrap_or_default();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head>\
         <body><h1>{0}</h1><p>{1} trials, {2} complete</p>",
        Escaped(study.name()),
        study.trials().len(),
        complete.len()
    );
    if shown.is_empty() {
        page.push_str("<p>No trial is complete yet.</p>");
    } else {
        let shares = importance(study, 0).unwrap_or_default();
        let mut ranked: Vec<(&str, f64)> = shares.iter().map(|(name, share)| (name.as_str(), *share)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        section(&mut page, "History", &[history(study, shown)]);
        if !ranked.is_empty() {
            section(&mut page, "Importance", &[importances(&ranked)]);
        }
        let slices: Vec<String> = study.space().iter().map(|(name, space)| slice(name, space, shown)).collect();
        section(&mut page, "Slices", &slices);
        if let (Some(first), Some(second)) = (ranked.first(), ranked.get(1)) {
            section(&mut page, "Contour", &[contour(study, first.0, second.0, shown)]);
        }
        section(&mut page, "Parallel coordinates", &[parallel(study, shown)]);
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, title: &str, charts: &[String]) {
    page.push_str(&format!("<h2>{title}</h2>"));
    charts.iter().for_each(|chart| page.push_str(chart));
}

fn value(trial: &Trial) -> f64 {
    trial.value().unwrap_or(0.0)
}

fn title(trial: &Trial) -> String {
    let params: Vec<String> = trial.params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    format!("trial {}: {}\n{}", trial.number, Number(value(trial)), params.join("\n"))
}

/// The scale of values upwards, and labels of its ends.
fn value_axis(trials: &[&Trial]) -> (Scale, [String; 2]) {
    let (low, high) = trials
        .iter()
        .map(|trial| value(trial))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    (Scale::over([low, high].into_iter(), UP), [low, high].map(|end| Number(end).to_string()))
}

/// Frame, ends and names of both axes.
fn axes(chart: &mut Svg, (x, across): (&str, [String; 2]), (y, up): (&str, [String; 2])) {
    let ((left, right), (bottom, top)) = (ACROSS, UP);
    chart.line([(left, top), (left, bottom), (right, bottom)].into_iter(), GRAY, 1.0);
    chart.text((left, bottom + 14.0), "start", &across[0]);
    chart.text((right, bottom + 14.0), "end", &across[1]);
    chart.text((f64::midpoint(left, right), bottom + 30.0), "middle", &shortened(x, NAME));
    chart.text((left - 4.0, bottom), "end", &up[0]);
    chart.text((left - 4.0, top + 10.0), "end", &up[1]);
    chart.text((left + 4.0, top + 10.0), "start", &shortened(y, NAME));
}

/// A color from dark (0) to light (1).
fn shade(share: f64, opacity: f64) -> String {
    let share = share.clamp(0.0, 1.0);
    format!("hsl({:.0} 70% {:.0}% / {opacity})", 250.0 - 190.0 * share, 30.0 + 35.0 * share)
}

/// Value by number, and the best so far.
fn history(study: &Study, trials: &[&Trial]) -> String {
    let mut chart = Svg::new(WIDTH, HEIGHT, "value by trial, and the best so far");
    let numbers = || trials.iter().map(|trial| trial.number as f64);
    let (x, (y, ends)) = (Scale::over(numbers(), ACROSS), value_axis(trials));
    let mut best: Option<f64> = None;
    let mut line = Vec::new();
    for trial in trials {
        let (at, value) = (x.place(trial.number as f64), value(trial));
        chart.marker((at, y.place(value)), BLUE, &title(trial));
        if trial.is_feasible() && best.is_none_or(|best| study.direction().is_better(value, best)) {
            best = Some(value);
        }
        line.extend(best.map(|best| (at, y.place(best))));
    }
    chart.line(line.into_iter(), RED, 1.0);
    let range = [trials.first(), trials.last()].map(|trial| trial.map_or(0, |trial| trial.number).to_string());
    axes(&mut chart, ("trial", range), ("value", ends));
    chart.finish()
}

/// A bar for each parameter.
fn importances(ranked: &[(&str, f64)]) -> String {
    const LEFT: f64 = 150.0;
    let mut chart = Svg::new(WIDTH, HEIGHT, "importance of parameters");
    let room = HEIGHT - 16.0;
    let height = (room / ranked.len() as f64).min(28.0);
    for (row, (name, share)) in ranked.iter().take((room / height) as usize).enumerate() {
        let y = 8.0 + height * row as f64;
        let right = LEFT + (WIDTH - 220.0) * share;
        chart.bar((LEFT, right), y, height * 0.7, BLUE);
        chart.text((LEFT - 6.0, y + height * 0.55), "end", &shortened(name, NAME));
        chart.text((right + 6.0, y + height * 0.55), "start", &Number(*share).to_string());
    }
    chart.finish()
}

/// Where a trial's value of a parameter lies.
fn place(trial: &Trial, name: &str, space: &ParamSpace) -> Option<f64> {
    Some(space.unit(space.point(trial.params.get(name)?)?))
}

fn end_labels(space: &ParamSpace) -> [String; 2] {
    match space.range() {
        Some(range) => [range.low, range.high].map(|end| Number(end).to_string()),
        None => [0.0, 1.0].map(|end| shortened(&space.at_unit(end).to_string(), NAME)),
    }
}

/// Value by one parameter, later trials lighter.
fn slice(name: &str, space: &ParamSpace, trials: &[&Trial]) -> String {
    let mut chart = Svg::new(WIDTH, HEIGHT, &format!("value by {name}"));
    let (x, (y, ends)) = (Scale::new((0.0, 1.0), ACROSS), value_axis(trials));
    for (index, trial) in trials.iter().enumerate() {
        if let Some(at) = place(trial, name, space) {
            let color = shade(index as f64 / trials.len() as f64, 1.0);
            chart.marker((x.place(at), y.place(value(trial))), &color, &title(trial));
        }
    }
    axes(&mut chart, (name, end_labels(space)), ("value", ends));
    chart.finish()
}

/// Value over two parameters: cells by inverse distance from the trials, and the trials.
fn contour(study: &Study, first: &str, second: &str, trials: &[&Trial]) -> String {
    const CELLS: usize = 30;
    let mut chart = Svg::new(WIDTH, HEIGHT, &format!("value by {first} and {second}"));
    let (Some(space_x), Some(space_y)) = (study.space().get(first), study.space().get(second)) else {
        return String::new();
    };
    let points: Vec<(f64, f64, &Trial)> = trials
        .iter()
        .filter_map(|trial| Some((place(trial, first, space_x)?, place(trial, second, space_y)?, *trial)))
        .collect();
    let (x, y) = (Scale::new((0.0, 1.0), ACROSS), Scale::new((0.0, 1.0), UP));
    // Ranks rather than values: one bad trial must not make all others alike.
    let mut sorted: Vec<f64> = points.iter().map(|(_, _, trial)| study.direction().loss(value(trial))).collect();
    sorted.sort_by(f64::total_cmp);
    let rank = |trial: &Trial| {
        let below = sorted.partition_point(|&other| other < study.direction().loss(value(trial)));
        below as f64 / sorted.len() as f64
    };
    let ranks: Vec<f64> = points.iter().map(|(_, _, trial)| rank(trial)).collect();
    let (width, height) = ((ACROSS.1 - ACROSS.0) / CELLS as f64, (UP.0 - UP.1) / CELLS as f64);
    for cell in 0..CELLS * CELLS {
        let (column, row) = (cell % CELLS, cell / CELLS);
        let center = ((column as f64 + 0.5) / CELLS as f64, (row as f64 + 0.5) / CELLS as f64);
        let weighted = points.iter().zip(&ranks).map(|((px, py, _), rank)| {
            let weight = 1.0 / ((px - center.0).powi(2) + (py - center.1).powi(2) + 1e-4).powi(2);
            (weight, weight * rank)
        });
        let (weight, sum) = weighted.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        let (left, top) = (x.place(column as f64 / CELLS as f64), y.place((row + 1) as f64 / CELLS as f64));
        chart.bar((left, left + width + 0.5), top, height + 0.5, &shade(sum / weight, 1.0));
    }
    for (px, py, trial) in &points {
        chart.marker((x.place(*px), y.place(*py)), "#222", &title(trial));
    }
    axes(&mut chart, (first, end_labels(space_x)), (second, end_labels(space_y)));
    chart.finish()
}

/// A line for each trial through all parameters, the better the darker.
fn parallel(study: &Study, trials: &[&Trial]) -> String {
    let mut chart = Svg::new(WIDTH, HEIGHT, "value and parameters of each trial");
    let names: Vec<(&str, &ParamSpace)> = study.space().iter().collect();
    let x = Scale::new((0.0, names.len() as f64), (MARGIN, WIDTH - 30.0));
    let y = Scale::new((0.0, 1.0), (UP.0, 20.0));
    let losses = Scale::over(trials.iter().map(|trial| study.direction().loss(value(trial))), (0.0, 1.0));
    let mut worst_first: Vec<&&Trial> = trials.iter().collect();
    worst_first.sort_by(|a, b| study.direction().loss(value(b)).total_cmp(&study.direction().loss(value(a))));
    for trial in worst_first {
        let share = losses.place(study.direction().loss(value(trial)));
        let mut line = vec![(x.place(0.0), y.place(share))];
        for (column, (name, space)) in names.iter().enumerate() {
            line.extend(place(trial, name, space).map(|at| (x.place(column as f64 + 1.0), y.place(at))));
        }
        chart.line(line.into_iter(), &shade(share, 0.5), 1.0);
    }
    for (column, name) in std::iter::once("value").chain(names.iter().map(|(name, _)| *name)).enumerate() {
        let at = x.place(column as f64);
        chart.line([(at, 20.0), (at, UP.0)].into_iter(), GRAY, 1.0);
        let below = UP.0 + if column % 2 == 0 { 14.0 } else { 30.0 };
        chart.text((at, below), "middle", &shortened(name, NAME));
    }
    chart.finish()
}

#[cfg(test)]
mod tests {
    use mlops_metrics::Direction;

    use super::*;
    use crate::search::SearchSpace;

    #[test]
    fn a_page_is_whole_and_escaped() {
        let space = SearchSpace::new()
            .with_float("<x>", 0.0, 1.0)
            .with_categorical("c", ["a", "b"])
            .with_int("n", 1, 1)
            .with_condition("n", "c", ["a"]);
        let mut study = Study::builder(space, Direction::Maximize).with_name("a & b").build().unwrap();
        assert!(html(&study).contains("No trial is complete"));
        study.optimize(30, |trial| trial.params.number("<x>"), |_, _| ()).unwrap();
        let page = html(&study);
        for title in ["History", "Importance", "Slices", "Contour", "Parallel coordinates", "a &amp; b", "&lt;x&gt;"] {
            assert!(page.contains(title), "{title}");
        }
        assert!(!page.contains("<x>") && !page.contains("NaN") && !page.contains("<script"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
