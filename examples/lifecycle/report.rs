//! The results as one self-contained HTML page: timeline, versions, drift, decisions, lineage.
//!
//! No script, no font, no picture comes from elsewhere; light and dark follow the reader's choice.

use std::fmt::Write as _;

use mlops::core::Timestamp;

use crate::{
    chart::{Chart, Line},
    lineage,
    results::{Period, Quality, Results},
};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: light-dark(#1c1f24, #e6e8eb); --soft: light-dark(#5d6570, #9aa3ad);
  --paper: light-dark(#ffffff, #15181c); --card: light-dark(#f5f6f8, #1d2126); --line: light-dark(#d8dce1, #343a41);
  --blue: light-dark(#1f6feb, #6ea8fe); --gray: light-dark(#8b949e, #8b949e); --red: light-dark(#c9372c, #ff7b72);
  --green: light-dark(#1a7f37, #56d364); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p.sub, figcaption { color: var(--soft); } figure { margin: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: .8rem; }
.card { background: var(--card); border-radius: 8px; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.4rem; } .card span { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.num, th.num { text-align: right; font-variant-numeric: tabular-nums; } td.wrap { white-space: normal; }
.drift { color: var(--red); } .good { color: var(--green); }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--line); } svg .system { stroke: var(--blue); } svg .frozen { stroke: var(--gray); stroke-dasharray: 4 3; }
svg .baseline { stroke: var(--soft); stroke-dasharray: 1 3; } svg .drifted { fill: var(--red); } svg .calm { fill: var(--line); }
svg .move { stroke: var(--green); } svg .node { fill: var(--card); stroke: var(--line); } svg .node + text { fill: var(--ink); }
svg .edge { stroke: var(--soft); fill: none; }
.key { display: inline-block; width: 1.6rem; border-top: 3px solid; vertical-align: middle; margin: 0 .3rem 0 1rem; }
";

/// Text for the inside of HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The day of a time.
pub fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

/// The number by which periods are compared.
pub fn headline(results: &Results, quality: &Quality) -> Option<f64> {
    match results.headline_metric.as_str() {
        "accuracy" => Some(quality.accuracy),
        "roc_auc" => quality.roc_auc,
        _ => quality.average_precision,
    }
}

/// The whole page.
pub fn html(results: &Results) -> String {
    let stream = &results.stream;
    let simulated = if stream.simulated { " The data is simulated; no real card was harmed." } else { "" };
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Lifecycle of {name}</title><style>{STYLE}</style></head><body>\
         <h1>Lifecycle of {name}</h1><p class=\"sub\">{description}.{simulated} Run {campaign} in this home; live from {live} to {end}.</p>",
        name = escape(&stream.name),
        description = escape(&stream.description),
        campaign = results.campaign,
        live = day(stream.live_from),
        end = day(stream.end),
    );
    page.push_str(&cards(results));
    page.push_str(&timeline(results));
    page.push_str(&drift_chart(results));
    page.push_str(&versions(results));
    page.push_str(&alias_moves(results));
    let _ = write!(page, "<h2>Lineage</h2><figure>{}</figure>", lineage::svg(&results.lineage));
    page.push_str(&periods(results));
    page.push_str("</body></html>\n");
    page
}

fn cards(results: &Results) -> String {
    let card = |value: String, label: &str| format!("<div class=\"card\"><b>{value}</b><span>{label}</span></div>");
    let total = &results.prequential;
    let metric = &results.headline_metric;
    let shown = |quality: &Quality| headline(results, quality).map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    let drifts = results.periods.iter().filter(|period| period.drift.detected).count();
    let traffic = &results.traffic;
    let audit = if results.audit.verified { "audit rows, chain verified" } else { "audit rows, CHAIN BROKEN" };
    [
        "<div class=\"cards\">".to_owned(),
        card(shown(&total.system), &format!("prequential {metric}, this system")),
        card(shown(&total.never_retrained), &format!("prequential {metric}, first champion never retrained")),
        card(format!("{:.4}", total.system.accuracy), "prequential accuracy, this system"),
        card(format!("{:.4}", total.never_retrained.accuracy), "prequential accuracy, never retrained"),
        card(format!("{:.4}", total.same_as_previous_accuracy), "accuracy of \"same class as the row before\""),
        card(format!("{drifts} of {}", results.periods.len()), "periods with drift"),
        card(results.versions.len().to_string(), "versions trained"),
        card(format!("{} / {}", traffic.requests, traffic.failed), "requests served / failed"),
        card(format!("{:.2} / {:.2} ms", traffic.latency_ms_p50, traffic.latency_ms_p99), "request latency p50 / p99"),
        card(results.audit.entries.to_string(), audit),
        "</div>".to_owned(),
    ]
    .concat()
}

fn timeline(results: &Results) -> String {
    let series = |of: &dyn Fn(&Period) -> Option<f64>| results.periods.iter().map(of).collect::<Vec<_>>();
    let mut lines = vec![
        Line { class: "system", values: series(&|period| headline(results, &period.system)) },
        Line { class: "frozen", values: series(&|period| headline(results, &period.never_retrained)) },
    ];
    if results.headline_metric == "accuracy" {
        lines.push(Line { class: "baseline", values: series(&|period| Some(period.same_as_previous_accuracy)) });
    }
    let moves = results.alias_moves.iter().filter_map(|alias_move| {
        let position = results.periods.iter().position(|period| alias_move.at < period.end)?;
        Some((position, format!("v{}", alias_move.to)))
    });
    let chart = Chart { labels: period_days(results), lines, bars: Vec::new(), markers: moves.collect() };
    format!(
        "<h2>{} by period</h2><figure>{}<figcaption><i class=\"key\" style=\"border-color:var(--blue)\"></i>this system\
         <i class=\"key\" style=\"border-color:var(--gray);border-style:dashed\"></i>first champion, never retrained\
         <i class=\"key\" style=\"border-color:var(--green)\"></i>champion alias moves</figcaption></figure>",
        escape(&results.headline_metric),
        chart.svg()
    )
}

fn drift_chart(results: &Results) -> String {
    let bars = results.periods.iter().map(|period| (period.drift.psi_max, period.drift.detected)).collect();
    let chart = Chart { labels: period_days(results), lines: Vec::new(), bars, markers: Vec::new() };
    format!(
        "<h2>Drift by period</h2><figure>{}<figcaption>Largest population stability index over the model's inputs, against the \
         reference profile of the champion; red where the drift verdict is positive.</figcaption></figure>",
        chart.svg()
    )
}

fn period_days(results: &Results) -> Vec<String> {
    results.periods.iter().map(|period| day(period.start)).collect()
}

fn versions(results: &Results) -> String {
    let mut table = "<h2>Versions</h2><div class=\"scroll\"><table><tr><th class=\"num\">version</th><th>model</th><th>trained until</th>\
        <th class=\"num\">rows</th><th>cross-validation</th><th>gate</th><th>outcome</th><th>package</th></tr>"
        .to_owned();
    for version in &results.versions {
        let _ = write!(
            table,
            "<tr><td class=\"num\">{}</td><td>{}</td><td>{}</td><td class=\"num\">{}</td><td>{} {:.4} ± {:.4}</td><td class=\"wrap\">{}</td>\
             <td>{}</td><td><code>{}</code></td></tr>",
            version.version,
            escape(&version.trainer),
            day(version.trained_until),
            version.training_rows,
            escape(&version.cv_metric),
            version.cv_mean,
            version.cv_std,
            escape(&version.gate),
            escape(&version.outcome),
            version.digest.chars().take(12).collect::<String>(),
        );
    }
    table + "</table></div>"
}

fn alias_moves(results: &Results) -> String {
    let mut table =
        "<h2>Alias moves</h2><div class=\"scroll\"><table><tr><th>at</th><th>alias</th><th>from</th><th>to</th></tr>"
            .to_owned();
    for alias_move in &results.alias_moves {
        let from = alias_move.from.map_or_else(|| "-".to_owned(), |version| format!("v{version}"));
        let (at, alias) = (alias_move.at, escape(&alias_move.alias));
        let _ = write!(table, "<tr><td>{at}</td><td>{alias}</td><td>{from}</td><td>v{}</td></tr>", alias_move.to);
    }
    table + "</table></div>"
}

fn periods(results: &Results) -> String {
    let mut table = format!(
        "<h2>Periods</h2><div class=\"scroll\"><table><tr><th>from</th><th class=\"num\">rows</th><th class=\"num\">{metric}</th>\
         <th class=\"num\">never retrained</th><th class=\"num\">PSI max</th><th>drifted columns</th><th>answered by</th><th>decision</th></tr>",
        metric = escape(&results.headline_metric)
    );
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    for period in &results.periods {
        let answered: Vec<_> = period.answered_by.iter().map(|(version, rows)| format!("v{version}: {rows}")).collect();
        let class = if period.drift.detected { " drift" } else { "" };
        let _ = write!(
            table,
            "<tr><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{:.3}</td>\
             <td class=\"wrap{class}\">{}</td><td>{}</td><td class=\"wrap\">{}</td></tr>",
            day(period.start),
            period.rows,
            number(headline(results, &period.system)),
            number(headline(results, &period.never_retrained)),
            period.drift.psi_max,
            escape(&first_few(&period.drift.columns)),
            answered.join(", "),
            escape(&period.decision),
        );
    }
    table + "</table></div>"
}

/// The first five names, and how many more there are.
pub fn first_few(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
