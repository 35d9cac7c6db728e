//! The table of columns: a row for each, and below it what there is to see on opening it.
//!
//! Invariant: a plain table without the script, in which details open by themselves; cells that sort by a number
//! carry it in `data-v`.

use std::fmt::{self, Write};

use super::{
    super::{
        ColumnReport, ColumnVerdict, DriftReport, Histogram, LevelShift, Spread, WindowSeries,
        explain::strongest,
        format::{Escaped, Name, Number, Percent, Probability, plural, test_title},
    },
    COLUMNS_MAX, DETAILS_MAX,
    chart::{self, Lines},
    strength, write_chip,
};
use crate::{detector::DriftTest, sample::ColumnKind};

/// Heading, its explanation, and the class that hides it on narrow screens.
const HEADS: [(&str, &str); 9] = [
    ("Column", ""),
    ("Verdict", ""),
    ("Distribution", "w3"),
    ("Strength", "n"),
    ("Test", "w2"),
    ("Effect", "n w1"),
    ("Corrected p", "n w1"),
    ("Missing", "n w2"),
    ("Would notice", "n w3"),
];

pub(super) fn write_columns(page: &mut String, drift: &DriftReport) -> fmt::Result {
    page.push_str(
        "<section aria-labelledby=\"columns-title\"><h2 id=\"columns-title\">Columns</h2><div class=\"tools\" \
         id=\"tools\" hidden><label class=\"find\"><span class=\"sr\">Find columns by name</span><input type=\"search\" \
         id=\"find\" placeholder=\"Find a column\u{2026}\" autocomplete=\"off\" spellcheck=\"false\"></label>\
         <div class=\"filters\" id=\"filters\" role=\"group\" aria-label=\"Show only columns with this verdict\"></div>\
         <button type=\"button\" id=\"all\" aria-pressed=\"false\">Open all</button>\
         <p id=\"count\" role=\"status\"></p></div><div class=\"scroll\" role=\"region\" \
         aria-labelledby=\"columns-title\" tabindex=\"0\"><table id=\"columns\"",
    );
    if let Some(series) = drift.series() {
        page.push_str(" data-x=\"");
        chart::write_labels(page, series.labels())?;
        page.push('"');
    }
    page.push_str("><thead><tr>");
    for (title, class) in HEADS {
        write!(page, "<th scope=\"col\" class=\"{class}\">{title}</th>")?;
    }
    page.push_str("</tr></thead>");
    for (index, column) in drift.columns().iter().take(COLUMNS_MAX).enumerate() {
        write!(page, "<tbody data-k=\"{}\">", column.verdict.as_str())?;
        write_row(page, column)?;
        if index < DETAILS_MAX {
            write_details(page, column, drift.series())?;
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table></div>");
    let all = drift.columns().len();
    if all > COLUMNS_MAX {
        let more = plural(all - COLUMNS_MAX, "more column");
        write!(page, "<p class=\"note\">{more}, less severe than these, not shown; the JSON report has all.</p>")?;
    }
    if all > DETAILS_MAX {
        write!(page, "<p class=\"note\">Details are shown for the {DETAILS_MAX} worst columns.</p>")?;
    }
    page.push_str("</section>");
    Ok(())
}

fn write_row(page: &mut String, column: &ColumnReport) -> fmt::Result {
    let kind = match column.kind {
        ColumnKind::Opaque => "presence only",
        kind => kind.as_str(),
    };
    let (name, data_type) = (Name(&column.name), Name(&column.data_type));
    write!(page, "<tr><th scope=\"row\"><bdi>{name}</bdi><small>{data_type}, {kind}</small></th><td>")?;
    write_chip(page, column.verdict)?;
    if let ColumnVerdict::Insufficient { n, min_n } = column.verdict {
        write!(page, "<small>{n} of {min_n} values</small>")?;
    }
    if column.is_undecided() {
        page.push_str("<small>? undecided</small>");
    }
    page.push_str("<td class=\"w3\">");
    if let Some(histogram) = &column.histogram {
        chart::write_spark(page, histogram)?;
    }
    let judged = !matches!(column.verdict, ColumnVerdict::Degenerate);
    let severity = if judged { column.severity() } else { f64::NAN };
    let fill = (severity.min(10.0) * 10.0).round();
    let class = if column.verdict.is_drift() { "drift" } else { "ok" };
    write!(page, "<td class=\"n\" data-v=\"{}\">", finite(severity))?;
    if column.tests.is_empty() || !judged {
        page.push('\u{2013}');
    } else {
        write!(page, "{}<span class=\"meter {class}\"><i style=\"width:{fill}%\"></i></span>", strength(severity))?;
    }
    match strongest(column).filter(|_| judged) {
        Some(test) => {
            let p = test.corrected.or(test.tail);
            let log10 = p.map_or(f64::NAN, crate::stats::Tail::log10);
            let (title, effect) = (test_title(test.name), test.effect);
            write!(
                page,
                "<td class=\"w2\">{}<td class=\"n w1\" data-v=\"{}\">{}<td class=\"n w1\" data-v=\"{}\">{}",
                Escaped(&title),
                finite(effect),
                Number(effect),
                finite(log10),
                Probability(p)
            )?;
        }
        None => page.push_str("<td class=\"w2\">\u{2013}<td class=\"n w1\">\u{2013}<td class=\"n w1\">\u{2013}"),
    }
    let (before, after) = (column.missing_ref, column.missing_cur);
    write!(page, "<td class=\"n w2\" data-v=\"{}\">", finite((after - before).abs()))?;
    if before.to_bits() == after.to_bits() {
        write!(page, "{}", Percent(after))?;
    } else {
        write!(page, "{} <span aria-label=\"to\">\u{2192}</span> {}", Percent(before), Percent(after))?;
    }
    let mde = if judged { column.mde() } else { f64::NAN };
    write!(page, "<td class=\"n w3\" data-v=\"{}\">{}</tr>", finite(mde), Number(mde))
}

/// A number for a sort key; nothing when there is none.
struct Finite(f64);

fn finite(value: f64) -> Finite {
    Finite(value)
}

impl fmt::Display for Finite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() { write!(f, "{:.4e}", self.0) } else { Ok(()) }
    }
}

fn write_details(page: &mut String, column: &ColumnReport, series: Option<&WindowSeries>) -> fmt::Result {
    let name = Name(&column.name);
    write!(
        page,
        "<tr class=\"more\"><td colspan=\"{}\"><details><summary>Details of <bdi>{name}</bdi></summary><div class=\"grid\">",
        HEADS.len()
    )?;
    if let Some(histogram) = &column.histogram {
        write_distribution(page, histogram)?;
    }
    write_over_time(page, column, series)?;
    write_tests(page, column)?;
    if let (Some(reference), Some(current)) = (column.reference, column.current) {
        write_spread(page, reference, current)?;
    }
    if !column.levels.is_empty() {
        write_levels(page, &column.levels)?;
    }
    write_facts(page, column)?;
    page.push_str("</div></details></td></tr>");
    Ok(())
}

fn write_distribution(page: &mut String, histogram: &Histogram) -> fmt::Result {
    page.push_str("<figure><figcaption>Distribution ");
    page.push_str(LEGEND);
    page.push_str("</figcaption>");
    if histogram.is_numeric() {
        chart::write_histogram(page, histogram)?;
    } else {
        chart::write_bars(page, histogram)?;
    }
    page.push_str("</figure>");
    Ok(())
}

const LEGEND: &str =
    "<span class=\"key\"><i class=\"kr\"></i>reference</span><span class=\"key\"><i class=\"kc\"></i>window</span>";

fn write_over_time(page: &mut String, column: &ColumnReport, series: Option<&WindowSeries>) -> fmt::Result {
    let Some(series) = series else { return Ok(()) };
    let Some(values) = series.column(&column.name) else { return Ok(()) };
    if values.means.len() < 2 {
        return Ok(());
    }
    page.push_str("<figure><figcaption>Mean over time <span class=\"key\"><i class=\"kc\"></i>window</span>");
    let band = column.center.filter(|(mean, std)| mean.is_finite() && std.is_finite());
    if band.is_some() {
        page.push_str("<span class=\"key\"><i class=\"kb\"></i>reference mean \u{b1} 1 standard deviation</span>");
    }
    page.push_str("</figcaption>");
    let lines = Lines {
        title: "mean",
        axis: series.title(),
        labels: series.labels(),
        positions: Some(series.positions()),
        lines: &[("mean", &values.means)],
        constant: band,
        band: None,
        own_labels: false,
    };
    chart::write_lines(page, &lines)?;
    page.push_str("</figure>");
    Ok(())
}

fn write_tests(page: &mut String, column: &ColumnReport) -> fmt::Result {
    if column.tests.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<div class=\"wide\"><table class=\"plain figures\"><caption>Tests</caption><tr><th>Test\
         <th>Statistic<th>Effect<th>Threshold\
         <th>p<th>Corrected p\
         <th>Would notice<th class=\"w\">Verdict",
    );
    for test in &column.tests {
        let verdict = if test.is_undecided() { "insufficient" } else { test.verdict.as_str() };
        let (icon, word) = if test.is_undecided() { ("?", "Undecided") } else { super::verdict_words(verdict) };
        write!(
            page,
            "<tr><th>{}<td>{}<td>{}<td>{}<td>{}<td>{}\
             <td>{}<td class=\"w {verdict}\">{icon} {word}",
            Escaped(&test_title(test.name)),
            Number(test.statistic),
            Effect(test),
            Number(test.effect_min),
            Probability(test.tail),
            Probability(test.corrected),
            Number(test.mde)
        )?;
    }
    page.push_str("</table></div>");
    Ok(())
}

/// An effect, with the range that the error of sketches leaves it.
struct Effect<'a>(&'a DriftTest);

impl fmt::Display for Effect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(test) = self;
        write!(f, "{}", Number(test.effect))?;
        if test.error_low == 0.0 && test.error_high == 0.0 {
            return Ok(());
        }
        if test.error_high.is_infinite() {
            return f.write_str(" <small>error unknown</small>");
        }
        write!(f, " <small>{} to {}</small>", Number(test.effect_low()), Number(test.effect_high()))
    }
}

fn write_spread(page: &mut String, reference: Spread, current: Spread) -> fmt::Result {
    page.push_str(
        "<div class=\"wide\"><table class=\"plain figures\"><caption>Where the values lie</caption><tr><td>\
         <th>Mean<th>Std. dev.<th>Least\
         <th>5%<th>25%<th>Median\
         <th>75%<th>95%<th>Greatest",
    );
    for (side, spread) in [("Reference", reference), ("Window", current)] {
        write!(page, "<tr><th>{side}")?;
        for value in [spread.mean, spread.std].into_iter().chain(spread.quantiles) {
            write!(page, "<td>{}", Number(value))?;
        }
    }
    page.push_str("</table></div>");
    Ok(())
}

fn write_levels(page: &mut String, levels: &[LevelShift]) -> fmt::Result {
    page.push_str(
        "<div><table class=\"plain figures\"><caption>Levels that changed most</caption><tr><th>Level\
         <th>Reference<th>Window<th>Change",
    );
    for shift in levels {
        let plus = if shift.change() > 0.0 { "+" } else { "" };
        write!(
            page,
            "<tr><th><bdi>{}</bdi><td>{}<td>{}<td>{plus}{}",
            Name(&shift.level),
            Percent(shift.reference),
            Percent(shift.current),
            Percent(shift.change())
        )?;
    }
    page.push_str("</table></div>");
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts for people")]
fn write_facts(page: &mut String, column: &ColumnReport) -> fmt::Result {
    let (n_ref, n_cur) = (Number(column.n_ref as f64), Number(column.n_cur as f64));
    write!(
        page,
        "<dl class=\"facts\"><dt>Values compared</dt><dd>{n_ref} of the reference, {n_cur} of the window</dd>\
         <dt>Missing</dt><dd>{} of the reference, {} of the window</dd>",
        Percent(column.missing_ref),
        Percent(column.missing_cur)
    )?;
    if !column.unseen_levels.is_empty() {
        page.push_str("<dt>New levels</dt><dd>");
        for (index, level) in column.unseen_levels.iter().enumerate() {
            write!(page, "{}<bdi>{}</bdi>", if index == 0 { "" } else { ", " }, Name(level))?;
        }
        page.push_str("</dd>");
    }
    page.push_str("</dl>");
    Ok(())
}
