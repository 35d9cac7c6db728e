//! A report as one HTML page, for people: no network, no fonts, light and dark, readable without its script.
//!
//! Invariant: every name from outside passes through [`Escaped`] or [`Name`]; the page has at most [`COLUMNS_MAX`]
//! rows and [`DETAILS_MAX`] columns in detail, about 5 KB each, and may fetch nothing (content security policy).

mod chart;
mod column;
mod further;

use std::fmt::{self, Write};

use mlops_core::Digest;

use super::{
    ColumnReport, ColumnVerdict, DriftReport, Headline, SchemaChange, Status,
    format::{Escaped, Name, Number, Percent, plural},
    monitoring::{Contents, drift_status},
};

/// Most columns on a page; those left out are the least severe and are counted.
pub const COLUMNS_MAX: usize = 1_000;
/// Most columns with details, the worst first.
pub const DETAILS_MAX: usize = 100;
/// Most schema changes on a page.
const CHANGES_MAX: usize = 100;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

impl DriftReport {
    /// The report as one self-contained HTML page: no network, no fonts, at most 300 KB for 50 columns.
    #[must_use]
    pub fn to_html(&self) -> String {
        page(Contents { drift: self, subject: None, sections: &[] })
    }
}

/// The page; writing into a String cannot fail.
pub(super) fn page(contents: Contents<'_>) -> String {
    let mut page = String::new();
    let _ = write_page(&mut page, contents);
    page
}

fn write_page(page: &mut String, contents: Contents<'_>) -> fmt::Result {
    let title = contents.title();
    let script = base64(Digest::of(SCRIPT.as_bytes()).as_bytes());
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>Drift report: {}</title><style>{STYLE}</style></head><body>\
         <a class=\"skip\" href=\"#columns-title\">Skip to the columns</a>",
        Escaped(&title)
    )?;
    write_header(page, contents, &title)?;
    page.push_str("<main>");
    write_cards(page, contents.drift)?;
    write_changes(page, contents.drift.schema_changes())?;
    column::write_columns(page, contents.drift)?;
    for (index, section) in contents.shown_sections().iter().enumerate() {
        further::write_section(page, index, section)?;
    }
    let left_out = contents.sections_left_out();
    if left_out > 0 {
        write!(page, "<p class=\"note\">{} not shown.</p>", plural(left_out, "more section"))?;
    }
    write!(page, "</main>{FOOTER}<script>{SCRIPT}</script></body></html>")
}

const FOOTER: &str = "<footer><h2>How to read this</h2><dl>\
<dt>Verdict</dt><dd>Drift needs three things: an effect that reaches its threshold, a corrected p-value below the \
false-alarm rate, and enough values. A column without drift may still differ a little.</dd>\
<dt>Undecided</dt><dd>The window or the reference is known by a sketch, and its error leaves it open whether the effect \
reaches the threshold. No drift was found, but exact data might show it.</dd>\
<dt>Strength</dt><dd>The strongest effect divided by its threshold: 1\u{d7} is just enough to matter.</dd>\
<dt>Corrected p</dt><dd>The chance of a difference this large without drift, corrected for the number of tests on \
this page (Benjamini\u{2013}Hochberg unless set otherwise).</dd>\
<dt>Would notice</dt><dd>The smallest effect that this much data shows with 80% power. When it is above the \
threshold, \u{201c}no drift\u{201d} may only mean too little data.</dd>\
<dt>Distribution</dt><dd>Gray area: the reference. Line: the window. Outermost bins are open, so outliers are in \
them.</dd></dl></footer>";

/// A shape and a word for each status, so that color is never alone.
fn icon(status: Status) -> &'static str {
    match status {
        Status::Neutral => "\u{25cb}",
        Status::Good => "\u{2713}",
        Status::Attention => "!",
        Status::Bad => "\u{25b2}",
    }
}

fn write_header(page: &mut String, contents: Contents<'_>, title: &str) -> fmt::Result {
    let status = contents.status();
    let drift = contents.drift;
    let word = match status {
        Status::Bad if drift.verdict() == Headline::Drift => "Drift detected",
        Status::Bad => "Problems found",
        Status::Attention => "Worth a look",
        Status::Good | Status::Neutral => "All clear",
    };
    write!(
        page,
        "<header class=\"{}\"><p class=\"badge\"><span aria-hidden=\"true\">{}</span> {word}</p>",
        status.as_str(),
        icon(status)
    )?;
    write!(page, "<h1>{}</h1><p class=\"why\">{}</p><p class=\"meta\">", Escaped(title), Escaped(&drift.why()))?;
    if let Some(subject) = contents.subject {
        write!(page, "<span>Model <b>{}</b></span>", Name(subject))?;
    }
    let time = drift.window_end().to_string();
    let shown = time.replace('T', " ").replace('Z', " UTC");
    write!(
        page,
        "<span>Window ending <b><time datetime=\"{}\">{}</time></b></span></p>",
        Escaped(&time),
        Escaped(&shown)
    )?;
    if !contents.shown_sections().is_empty() {
        let status = drift_status(drift.verdict());
        write!(
            page,
            "<nav aria-label=\"Sections\"><a href=\"#columns-title\" class=\"{}\"><i aria-hidden=\"true\">{}</i> Drift</a>",
            status.as_str(),
            icon(status)
        )?;
        for (index, section) in contents.shown_sections().iter().enumerate() {
            let status = section.status;
            write!(
                page,
                "<a href=\"#section-{index}\" class=\"{}\"><i aria-hidden=\"true\">{}</i> {}</a>",
                status.as_str(),
                icon(status),
                Name(&section.title)
            )?;
        }
        page.push_str("</nav>");
    }
    page.push_str("</header>");
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts for people")]
fn write_cards(page: &mut String, drift: &DriftReport) -> fmt::Result {
    let (rows_ref, rows_cur) = drift.rows();
    let (drifted, all) = (drift.drifted().count(), drift.columns().len());
    page.push_str("<section class=\"cards\" aria-label=\"Key figures\">");
    let share = drifted as f64 / (all as f64).max(1.0);
    write_card(page, "Drifted columns", &format!("{drifted} <small>of {all}</small>"), &Percent(share))?;
    let ratio = rows_cur as f64 / rows_ref as f64;
    let against = format!("{}\u{d7} the reference\u{2019}s {}", Number(ratio), Number(rows_ref as f64));
    write_card(page, "Rows in the window", &Number(rows_cur as f64), &against)?;
    let missing = |share: fn(&ColumnReport) -> f64| {
        let shares = drift.columns().iter().map(share).filter(|share| share.is_finite());
        let (sum, n) = shares.fold((0.0, 0.0_f64), |(sum, n), share| (sum + share, n + 1.0));
        Percent(sum / n)
    };
    let before = format!("{} in the reference", missing(|column| column.missing_ref));
    write_card(page, "Missing values", &missing(|column| column.missing_cur), &before)?;
    let strongest = drift.columns().iter().max_by(|a, b| a.severity().total_cmp(&b.severity()));
    match strongest.filter(|column| column.severity() > 0.0) {
        Some(column) => write_card(page, "Strongest change", &strength(column.severity()), &Name(&column.name))?,
        None => write_card(page, "Strongest change", &"none", &"")?,
    }
    write_card(page, "Schema changes", &drift.schema_changes().len(), &schema_words(drift.schema_changes()))?;
    page.push_str("</section>");
    write_balance(page, drift)
}

fn write_card(page: &mut String, title: &str, value: &dyn fmt::Display, note: &dyn fmt::Display) -> fmt::Result {
    write!(page, "<div class=\"card\"><h3>{title}</h3><b>{value}</b><span>{note}</span></div>")
}

/// How far beyond the threshold, in one figure.
fn strength(severity: f64) -> String {
    if severity >= 1e6 {
        "\u{221e}".to_owned()
    } else {
        format!("{}\u{d7}", Number((severity * 100.0).round() / 100.0))
    }
}

fn schema_words(changes: &[SchemaChange]) -> String {
    let count = |wanted: fn(&SchemaChange) -> bool| changes.iter().filter(|change| wanted(change)).count();
    let parts = [
        (count(|change| matches!(change, SchemaChange::Missing { .. })), "missing"),
        (count(|change| matches!(change, SchemaChange::Retyped { .. })), "retyped"),
        (count(|change| matches!(change, SchemaChange::New { .. })), "new"),
    ];
    let words: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if words.is_empty() { "as in the reference".to_owned() } else { words.join(", ") }
}

/// One bar that shows how many columns have each verdict.
fn write_balance(page: &mut String, drift: &DriftReport) -> fmt::Result {
    if drift.columns().is_empty() {
        return Ok(());
    }
    let kinds = ["missing", "retyped", "drift", "insufficient", "ok", "degenerate"];
    let counts = kinds.map(|kind| drift.columns().iter().filter(|column| column.verdict.as_str() == kind).count());
    let present = || kinds.iter().zip(counts).filter(|(_, count)| *count > 0);
    page.push_str("<div class=\"balance\"><div class=\"bar\" aria-hidden=\"true\">");
    for (kind, count) in present() {
        write!(page, "<span class=\"{kind}\" style=\"flex-grow:{count}\"></span>")?;
    }
    page.push_str("</div><ul>");
    for (kind, count) in present() {
        let (icon, word) = verdict_words(kind);
        write!(page, "<li class=\"{kind}\"><i aria-hidden=\"true\">{icon}</i> {count} {}</li>", word.to_lowercase())?;
    }
    page.push_str("</ul></div>");
    Ok(())
}

/// Shape and word of a verdict.
fn verdict_words(verdict: &str) -> (&'static str, &'static str) {
    match verdict {
        "drift" => ("\u{25b2}", "Drift"),
        "missing" => ("\u{2715}", "Missing"),
        "retyped" => ("\u{21c4}", "Retyped"),
        "ok" => ("\u{2713}", "No drift"),
        "insufficient" => ("?", "Too few values"),
        _ => ("\u{2013}", "Nothing to compare"),
    }
}

fn write_chip(page: &mut String, verdict: ColumnVerdict) -> fmt::Result {
    let (icon, word) = verdict_words(verdict.as_str());
    write!(page, "<span class=\"chip {}\"><i aria-hidden=\"true\">{icon}</i> {word}</span>", verdict.as_str())
}

fn write_changes(page: &mut String, changes: &[SchemaChange]) -> fmt::Result {
    if changes.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<section aria-labelledby=\"schema-title\"><h2 id=\"schema-title\">Schema changes</h2><div class=\"scroll\" \
         role=\"region\" aria-labelledby=\"schema-title\" tabindex=\"0\"><table class=\"plain\"><thead><tr>\
         <th scope=\"col\">Change<th scope=\"col\">Column<th scope=\"col\">Reference type<th scope=\"col\">Window type\
         <th scope=\"col\">What follows</tr></thead><tbody>",
    );
    for change in changes.iter().take(CHANGES_MAX) {
        let (class, icon, word, column, expected, found, follows) = match change {
            SchemaChange::Missing { column, expected } => {
                ("missing", "\u{2715}", "Missing", column, expected.as_str(), "", "Counts as drift")
            }
            SchemaChange::Retyped { column, expected, found, comparable: true } => (
                "ok",
                "\u{21c4}",
                "Retyped",
                column,
                expected.as_str(),
                found.as_str(),
                "Values were compared all the same",
            ),
            SchemaChange::Retyped { column, expected, found, .. } => (
                "retyped",
                "\u{21c4}",
                "Retyped",
                column,
                expected.as_str(),
                found.as_str(),
                "Counts as drift: values cannot be compared",
            ),
            SchemaChange::New { column, found } => {
                ("degenerate", "+", "New", column, "", found.as_str(), "Not compared: the reference does not know it")
            }
        };
        let (column, expected, found) = (Name(column), Name(expected), Name(found));
        write!(
            page,
            "<tr><td><span class=\"chip {class}\"><i aria-hidden=\"true\">{icon}</i> {word}</span><th scope=\"row\">\
             <bdi>{column}</bdi></th><td>{expected}<td>{found}<td>{follows}</tr>"
        )?;
    }
    page.push_str("</tbody></table></div>");
    if changes.len() > CHANGES_MAX {
        write!(page, "<p class=\"note\">{} not shown.</p>", plural(changes.len() - CHANGES_MAX, "more change"))?;
    }
    page.push_str("</section>");
    Ok(())
}

/// RFC 4648, section 4; the content security policy names scripts by their digest in it.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4_usize {
            let digit = (word >> (18 - 6 * place)) & 63;
            let character = ALPHABET.get(digit as usize).map_or('=', |byte| char::from(*byte));
            text.push(if place > chunk.len() { '=' } else { character });
        }
    }
    text
}

#[cfg(test)]
mod tests;
