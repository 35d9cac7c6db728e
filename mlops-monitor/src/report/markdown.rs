//! A report as Markdown, for pull requests and chats: headline, what drifted, then the rest in short.
//!
//! Invariant: at most [`MARKDOWN_BYTES_MAX`] bytes; no name from outside becomes markup, a link or a mention.

use std::fmt::{self, Write};

use super::{
    Cell, ColumnReport, ColumnVerdict, DriftReport, SchemaChange, Section, Status,
    explain::strongest,
    format::{NAME_CHARS_MAX, NOTHING, Number, Percent, Probability, is_forbidden, plural, shortened, test_title},
    monitoring::Contents,
};

/// Longest Markdown document, in bytes: what fits a comment of the usual code hosts.
pub const MARKDOWN_BYTES_MAX: usize = 60_000;
/// Most columns in the table.
const COLUMNS_MAX: usize = 50;
/// Most schema changes in the list.
const CHANGES_MAX: usize = 20;
/// Most rows of a section's table.
const ROWS_MAX: usize = 20;
/// Most bytes of one section; a table that would go beyond is cut.
const SECTION_BYTES_MAX: usize = 8_000;

/// Text in which nothing is markup, a link or a mention: what Markdown or HTML give a meaning is written as a
/// character reference.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = ' ';
        let mut characters = self.0.trim().chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek().copied().unwrap_or(' ');
            let harmless = match character {
                ' ' | ',' | ';' | '(' | ')' | '%' => true,
                '-' => before.is_alphanumeric(),
                '.' => !next.is_alphabetic(),
                other => other.is_alphanumeric(),
            };
            match character {
                _ if harmless => f.write_char(character)?,
                _ if character.is_ascii_punctuation() => write!(f, "&#{};", u32::from(character))?,
                _ if is_forbidden(character) => f.write_char('\u{fffd}')?,
                _ => f.write_char(character)?,
            }
            before = character;
        }
        Ok(())
    }
}

fn name(text: &str) -> String {
    Plain(&shortened(text, NAME_CHARS_MAX)).to_string()
}

impl DriftReport {
    /// The report as Markdown of at most [`MARKDOWN_BYTES_MAX`] bytes: verdict, reason, a table with what drifted
    /// first, and changes of the schema.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        document(Contents { drift: self, subject: None, sections: &[] })
    }
}

pub(super) fn document(contents: Contents<'_>) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_document(&mut text, contents);
    text
}

fn icon(status: Status) -> &'static str {
    match status {
        Status::Neutral => "\u{2139}\u{fe0f}",
        Status::Good => "\u{2705}",
        Status::Attention => "\u{26a0}\u{fe0f}",
        Status::Bad => "\u{274c}",
    }
}

fn write_document(text: &mut String, contents: Contents<'_>) -> fmt::Result {
    let drift = contents.drift;
    writeln!(text, "## {} {}\n\n{}\n", icon(contents.status()), Plain(&contents.title()), Plain(&drift.why()))?;
    let (rows_ref, rows_cur) = drift.rows();
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let (rows_ref, rows_cur) = (Number(rows_ref as f64), Number(rows_cur as f64));
    if let Some(subject) = contents.subject {
        write!(text, "Model {}. ", Plain(subject))?;
    }
    writeln!(text, "Window ending {}: {rows_cur} rows against {rows_ref} of the reference.\n", drift.window_end())?;
    write_columns(text, drift)?;
    write_changes(text, drift.schema_changes())?;
    let mut left_out = 0;
    for section in contents.shown_sections() {
        let mut part = String::new();
        write_section(&mut part, &section)?;
        if text.len() + part.len() + 100 > MARKDOWN_BYTES_MAX {
            left_out += 1;
        } else {
            text.push_str(&part);
        }
    }
    if left_out > 0 {
        writeln!(text, "\n{} left out for length.", plural(left_out, "section"))?;
    }
    Ok(())
}

/// The columns that drifted; when none did, the few that came closest.
fn write_columns(text: &mut String, drift: &DriftReport) -> fmt::Result {
    let drifted = drift.drifted().count();
    let shown = if drifted == 0 { 5 } else { drifted.min(COLUMNS_MAX) };
    if drift.columns().is_empty() {
        return Ok(());
    }
    writeln!(text, "| Column | Verdict | Test | Effect | Threshold | Corrected p | Missing |")?;
    writeln!(text, "|---|---|---|--:|--:|--:|---|")?;
    for column in drift.columns().iter().take(shown) {
        write_column(text, column)?;
    }
    let rest = drift.columns().len().saturating_sub(shown);
    match (drifted.saturating_sub(shown), rest) {
        (0, 0) => writeln!(text),
        (0, rest) => writeln!(text, "\n{} without drift not listed.\n", plural(rest, "more column")),
        (more, _) => writeln!(text, "\n{} that drifted not listed.\n", plural(more, "more column")),
    }
}

fn write_column(text: &mut String, column: &ColumnReport) -> fmt::Result {
    let verdict = match column.verdict {
        ColumnVerdict::Insufficient { n, min_n } => format!("insufficient ({n} of {min_n} values)"),
        _ if column.is_undecided() => "ok, undecided".to_owned(),
        verdict if verdict.is_drift() => format!("**{}**", verdict.as_str()),
        verdict => verdict.as_str().to_owned(),
    };
    write!(text, "| {} | {verdict} ", name(&column.name))?;
    match strongest(column) {
        Some(test) => {
            let (effect, threshold) = (Number(test.effect), Number(test.effect_min));
            let (title, p) = (test_title(test.name), Probability(test.corrected.or(test.tail)));
            write!(text, "| {} | {effect} | {threshold} | {p} ", Plain(&title))?;
        }
        None => write!(text, "| {NOTHING} | {NOTHING} | {NOTHING} | {NOTHING} ")?,
    }
    writeln!(text, "| {} \u{2192} {} |", Percent(column.missing_ref), Percent(column.missing_cur))
}

fn write_changes(text: &mut String, changes: &[SchemaChange]) -> fmt::Result {
    if changes.is_empty() {
        return Ok(());
    }
    writeln!(text, "### Schema changes\n")?;
    for change in changes.iter().take(CHANGES_MAX) {
        let (column, what) = match change {
            SchemaChange::Missing { column, expected } => (column, format!("({expected}) is missing")),
            SchemaChange::Retyped { column, expected, found, .. } => (column, format!("was {expected} and is {found}")),
            SchemaChange::New { column, found } => (column, format!("({found}) is new")),
        };
        writeln!(text, "- {} {}", name(column), Plain(&shortened(&what, 2 * NAME_CHARS_MAX)))?;
    }
    match changes.len().saturating_sub(CHANGES_MAX) {
        0 => writeln!(text),
        more => writeln!(text, "\n{} not listed.\n", plural(more, "more change")),
    }
}

fn write_section(text: &mut String, section: &Section) -> fmt::Result {
    writeln!(text, "### {} {}\n", icon(section.status), name(&section.title))?;
    if !section.summary.is_empty() {
        writeln!(text, "{}\n", Plain(&shortened(&section.summary, 600)))?;
    }
    for table in section.tables.iter().filter(|table| !table.columns.is_empty()) {
        let columns = table.columns.get(..super::TABLE_COLUMNS_MAX).unwrap_or(&table.columns);
        let heads: Vec<String> = columns.iter().map(|heading| name(&heading.name)).collect();
        let rules: Vec<&str> = columns.iter().map(|heading| if heading.numeric { "--:" } else { "---" }).collect();
        writeln!(text, "| {} |\n| {} |", heads.join(" | "), rules.join(" | "))?;
        let mut shown = 0;
        for row in table.rows.iter().take(ROWS_MAX) {
            let cells = (0..columns.len()).map(|index| row.get(index).map_or_else(String::new, cell));
            let line = cells.collect::<Vec<_>>().join(" | ");
            if text.len() + line.len() > SECTION_BYTES_MAX {
                break;
            }
            writeln!(text, "| {line} |")?;
            shown += 1;
        }
        match table.rows.len().saturating_sub(shown) {
            0 => writeln!(text)?,
            more => writeln!(text, "\n{} not listed.\n", plural(more, "more row"))?,
        }
        if text.len() > SECTION_BYTES_MAX {
            break;
        }
    }
    Ok(())
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => name(text),
        Cell::Number(value) => Number(*value).to_string(),
        Cell::Share(value) => Percent(*value).to_string(),
        Cell::Interval(value, low, high) => format!("{} ({} to {})", Number(*value), Number(*low), Number(*high)),
        Cell::Status(status, words) => format!("{} {}", icon(*status), name(words)),
        Cell::Empty => String::new(),
    }
}
