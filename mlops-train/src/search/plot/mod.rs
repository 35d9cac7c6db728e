//! Charts of a study as one HTML page that needs nothing else: history, importance, slices, contour, parallel
//! coordinates.
//!
//! Everything is drawn here as SVG; the page runs no script and loads nothing.

mod svg;

use self::svg::{Chart, HEIGHT, MARGIN, Scale, WIDTH, escape, shade, short};
use super::{
    importance,
    space::ParamSpace,
    study::Study,
    trial::{Trial, TrialState},
};

/// Trials that charts show, the latest ones.
const SHOWN_MAX: usize = 2_000;

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:24px;color:#222}h2{font-size:16px;margin:24px 0 8px}\
    svg{font-size:11px;margin:0 12px 12px 0}svg text{fill:#555}";

/// The page of a study. With several objectives the charts are of the first.
#[must_use]
pub fn html(study: &Study) -> String {
    let complete: Vec<&Trial> = study.trials().iter().filter(|trial| trial.state == TrialState::Complete).collect();
    let shown = complete.get(complete.len().saturating_sub(SHOWN_MAX)..).unwrap_or_default();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head>\
         <body><h1>{0}</h1><p>{1} trials, {2} complete</p>",
        escape(study.name()),
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
    format!("trial {}: {}\n{}", trial.number, short(value(trial)), params.join("\n"))
}

fn value_scale(trials: &[&Trial], from: f64, to: f64) -> Scale {
    Scale::over(trials.iter().map(|trial| value(trial)), from, to)
}

/// Value by number, and the best so far.
fn history(study: &Study, trials: &[&Trial]) -> String {
    let mut chart = Chart::default();
    let x = Scale::over(trials.iter().map(|trial| trial.number as f64), MARGIN, WIDTH - 8.0);
    let y = value_scale(trials, HEIGHT - MARGIN, 8.0);
    let mut best: Option<f64> = None;
    let mut line = Vec::new();
    for trial in trials {
        let (at, value) = (x.at(trial.number as f64), value(trial));
        chart.circle(at, y.at(value), "#4a7fd4", &title(trial));
        if trial.is_feasible() && best.is_none_or(|best| study.direction().is_better(value, best)) {
            best = Some(value);
        }
        line.extend(best.map(|best| (at, y.at(best))));
    }
    chart.line(&line, "#d4574a", 1.0);
    let ((first, last), (low, high)) = (x.ends(), y.ends());
    chart.axes((&first.to_string(), &last.to_string(), "trial"), (&short(low), &short(high), "value"));
    chart.into_svg()
}

/// A bar for each parameter.
fn importances(ranked: &[(&str, f64)]) -> String {
    let mut chart = Chart::default();
    let room = HEIGHT - 16.0;
    let height = (room / ranked.len() as f64).min(28.0);
    for (row, (name, share)) in ranked.iter().take((room / height) as usize).enumerate() {
        let y = 8.0 + height * row as f64;
        chart.bar(150.0, y, (WIDTH - 220.0) * share, height * 0.7, "#4a7fd4");
        chart.text(144.0, y + height * 0.55, "end", name);
        chart.text(156.0 + (WIDTH - 220.0) * share, y + height * 0.55, "start", &short(*share));
    }
    chart.into_svg()
}

/// Where a trial's value of a parameter lies.
fn place(trial: &Trial, name: &str, space: &ParamSpace) -> Option<f64> {
    Some(space.unit(space.point(trial.params.get(name)?)?))
}

fn end_labels(space: &ParamSpace) -> (String, String) {
    match space.range() {
        Some(range) => (short(range.low), short(range.high)),
        None => (space.at_unit(0.0).to_string(), space.at_unit(1.0).to_string()),
    }
}

/// Value by one parameter.
fn slice(name: &str, space: &ParamSpace, trials: &[&Trial]) -> String {
    let mut chart = Chart::default();
    let x = Scale::new(0.0, 1.0, MARGIN, WIDTH - 8.0);
    let y = value_scale(trials, HEIGHT - MARGIN, 8.0);
    for (index, trial) in trials.iter().enumerate() {
        if let Some(at) = place(trial, name, space) {
            chart.circle(x.at(at), y.at(value(trial)), &shade(index as f64 / trials.len() as f64), &title(trial));
        }
    }
    let (from, to) = end_labels(space);
    let (low, high) = y.ends();
    chart.axes((&from, &to, name), (&short(low), &short(high), "value"));
    chart.into_svg()
}

/// Value over two parameters: cells by inverse distance from the trials, and the trials.
fn contour(study: &Study, first: &str, second: &str, trials: &[&Trial]) -> String {
    const CELLS: usize = 30;
    let mut chart = Chart::default();
    let (Some(space_x), Some(space_y)) = (study.space().get(first), study.space().get(second)) else {
        return String::new();
    };
    let points: Vec<(f64, f64, &Trial)> = trials
        .iter()
        .filter_map(|trial| Some((place(trial, first, space_x)?, place(trial, second, space_y)?, *trial)))
        .collect();
    let (x, y) = (Scale::new(0.0, 1.0, MARGIN, WIDTH - 8.0), Scale::new(0.0, 1.0, HEIGHT - MARGIN, 8.0));
    // Ranks rather than values: one bad trial must not make all others alike.
    let mut sorted: Vec<f64> = points.iter().map(|(_, _, trial)| study.direction().loss(value(trial))).collect();
    sorted.sort_by(f64::total_cmp);
    let rank = |trial: &Trial| {
        let below = sorted.partition_point(|&other| other < study.direction().loss(value(trial)));
        below as f64 / sorted.len() as f64
    };
    let ranks: Vec<f64> = points.iter().map(|(_, _, trial)| rank(trial)).collect();
    let (width, height) = ((WIDTH - 8.0 - MARGIN) / CELLS as f64, (HEIGHT - 8.0 - MARGIN) / CELLS as f64);
    for cell in 0..CELLS * CELLS {
        let (column, row) = (cell % CELLS, cell / CELLS);
        let center = ((column as f64 + 0.5) / CELLS as f64, (row as f64 + 0.5) / CELLS as f64);
        let weighted = points.iter().zip(&ranks).map(|((px, py, _), rank)| {
            let weight = 1.0 / ((px - center.0).powi(2) + (py - center.1).powi(2) + 1e-4).powi(2);
            (weight, weight * rank)
        });
        let (weight, sum) = weighted.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        let (left, top) = (x.at(column as f64 / CELLS as f64), y.at((row + 1) as f64 / CELLS as f64));
        chart.bar(left, top, width + 0.5, height + 0.5, &shade(sum / weight));
    }
    for (px, py, trial) in &points {
        chart.circle(x.at(*px), y.at(*py), "#222", &title(trial));
    }
    let (from, to) = end_labels(space_x);
    let (low, high) = end_labels(space_y);
    chart.axes((&from, &to, first), (&low, &high, second));
    chart.into_svg()
}

/// A line for each trial through all parameters, the better the darker.
fn parallel(study: &Study, trials: &[&Trial]) -> String {
    let mut chart = Chart::default();
    let names: Vec<(&str, &ParamSpace)> = study.space().iter().collect();
    let x = Scale::new(0.0, names.len() as f64, MARGIN, WIDTH - 30.0);
    let y = Scale::new(0.0, 1.0, HEIGHT - MARGIN, 20.0);
    let losses = Scale::over(trials.iter().map(|trial| study.direction().loss(value(trial))), 0.0, 1.0);
    let mut worst_first: Vec<&&Trial> = trials.iter().collect();
    worst_first.sort_by(|a, b| study.direction().loss(value(b)).total_cmp(&study.direction().loss(value(a))));
    for trial in worst_first {
        let share = losses.at(study.direction().loss(value(trial)));
        let mut line = vec![(x.at(0.0), y.at(share))];
        for (column, (name, space)) in names.iter().enumerate() {
            line.extend(place(trial, name, space).map(|at| (x.at(column as f64 + 1.0), y.at(at))));
        }
        chart.line(&line, &shade(share), 0.5);
    }
    for (column, name) in std::iter::once("value").chain(names.iter().map(|(name, _)| *name)).enumerate() {
        let at = x.at(column as f64);
        chart.line(&[(at, 20.0), (at, HEIGHT - MARGIN)], "#888", 1.0);
        let below = HEIGHT - MARGIN + if column % 2 == 0 { 14.0 } else { 30.0 };
        chart.text(at, below, "middle", name);
    }
    chart.into_svg()
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
