//! Curves along a feature and along versions.

use super::{HIGH, LOW, PALE, Plot};
use crate::{
    explain::{
        dependence::{AccumulatedEffects, Grid, PartialDependence},
        summary::ImportanceHistory,
    },
    svg::{Number, Scale, Svg, shortened},
};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 500.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 220.0;

/// Features whose shares are followed over versions.
const FOLLOWED_MAX: usize = 8;
const COLORS: [&str; FOLLOWED_MAX] =
    ["#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98", "#148f77", "#5d6d7e", "#a04000"];

/// Axes with ticks.
fn axes(svg: &mut Svg, x: Scale, y: Scale, name: &str) {
    for tick in y.ticks() {
        svg.line([(LEFT, y.place(tick)), (RIGHT, y.place(tick))].into_iter(), PALE, 0.5);
        svg.text((LEFT - 6.0, y.place(tick) + 4.0), "end", &Number(tick).to_string());
    }
    for tick in x.ticks() {
        svg.text((x.place(tick), BOTTOM + 16.0), "middle", &Number(tick).to_string());
    }
    svg.text((f64::midpoint(LEFT, RIGHT), HEIGHT - 8.0), "middle", &shortened(name, 60));
}

/// Accumulated effects as a line, with a tick where intervals end.
#[must_use]
pub fn accumulated(effects: &AccumulatedEffects) -> Plot {
    let y = Scale::over(effects.values.iter().copied(), (BOTTOM, TOP));
    let x = Scale::over(effects.edges.iter().copied(), (LEFT, RIGHT));
    let label = format!("accumulated effects of {} over {} intervals", effects.feature, effects.counts.len());
    let mut svg = Svg::new(WIDTH, HEIGHT, &label);
    axes(&mut svg, x, y, &effects.feature);
    for &edge in &effects.edges {
        svg.line([(x.place(edge), BOTTOM), (x.place(edge), BOTTOM + 4.0)].into_iter(), LOW, 1.0);
    }
    svg.line(effects.edges.iter().zip(&effects.values).map(|(a, b)| (x.place(*a), y.place(*b))), HIGH, 2.0);
    Plot { title: format!("Effect of {} (ALE)", effects.feature), svg: svg.finish() }
}

/// Partial dependence as a line over the curves of single rows, or as bars by level; what makes it
/// doubtful is said in the title.
#[must_use]
pub fn partial(dependence: &PartialDependence) -> Plot {
    let feature = &dependence.feature;
    let label = format!("partial dependence of the score on {feature}");
    let svg = match &dependence.grid {
        Grid::Numbers(grid) => lines(dependence, grid, &label),
        Grid::Levels(levels) => bars(dependence, levels, &label),
    };
    let doubt: Vec<String> = dependence
        .correlated
        .iter()
        .map(|other| format!("{} (r = {})", other.feature, Number(other.correlation)))
        .collect();
    let warning = if doubt.is_empty() {
        String::new()
    } else {
        format!("; doubtful, for it runs along with {}", doubt.join(", "))
    };
    Plot { title: format!("Partial dependence on {feature}{warning}"), svg }
}

fn lines(dependence: &PartialDependence, grid: &[f64], label: &str) -> String {
    let all = dependence.individual.iter().flatten().chain(&dependence.average);
    let y = Scale::over(all.copied(), (BOTTOM, TOP));
    let x = Scale::over(grid.iter().copied(), (LEFT, RIGHT));
    let mut svg = Svg::new(WIDTH, HEIGHT, label);
    axes(&mut svg, x, y, &dependence.feature);
    let curves = dependence.individual.iter().map(|curve| (curve, PALE, 0.7));
    for (curve, color, width) in curves.chain([(&dependence.average, HIGH, 2.0)]) {
        svg.line(grid.iter().zip(curve).map(|(a, b)| (x.place(*a), y.place(*b))), color, width);
    }
    svg.finish()
}

fn bars(dependence: &PartialDependence, levels: &[String], label: &str) -> String {
    let mut svg = Svg::new(WIDTH, 22.0 * levels.len() as f64 + 4.0, label);
    let scale = Scale::over(dependence.average.iter().copied().chain([0.0]), (170.0, 570.0));
    for (place, (level, average)) in levels.iter().zip(&dependence.average).enumerate() {
        let y = 22.0 * place as f64;
        svg.text((162.0, y + 15.0), "end", &shortened(level, 26));
        svg.bar((scale.place(0.0), scale.place(*average)), y + 4.0, 14.0, LOW);
        svg.text((scale.place(average.max(0.0)) + 5.0, y + 15.0), "start", &Number(*average).to_string());
    }
    svg.finish()
}

/// Shares of the importance over versions, of the features most important in the last one.
#[must_use]
pub fn history(history: &ImportanceHistory) -> Plot {
    let versions: Vec<_> = history.iter().collect();
    let last = versions.last().map(|(_, summary)| summary.ranked()).unwrap_or_default();
    let followed: Vec<&str> = last.iter().take(FOLLOWED_MAX).map(|(name, _)| *name).collect();
    let shares: Vec<_> = versions.iter().map(|(version, summary)| (version.0 as f64, summary.shares())).collect();
    let label = format!("shares of the importance in {} versions of the model", versions.len());
    let mut svg = Svg::new(WIDTH, HEIGHT, &label);
    let x = Scale::over(shares.iter().map(|(version, _)| *version), (LEFT, RIGHT));
    let y = Scale::over([0.0, 1.0].into_iter(), (BOTTOM, TOP));
    axes(&mut svg, x, y, "version");
    for (place, (name, color)) in followed.iter().zip(COLORS).enumerate() {
        let share = |shares: &std::collections::BTreeMap<&str, f64>| shares.get(name).copied().unwrap_or(0.0);
        svg.line(shares.iter().map(|(version, shares)| (x.place(*version), y.place(share(shares)))), color, 2.0);
        let line = TOP + 18.0 * place as f64;
        svg.bar((RIGHT + 14.0, RIGHT + 24.0), line, 10.0, color);
        svg.text((RIGHT + 30.0, line + 9.0), "start", &shortened(name, 16));
    }
    Plot { title: "Importance over versions".to_owned(), svg: svg.finish() }
}
