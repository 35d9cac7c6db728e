//! Sections after drift, rendered from plain data.
//!
//! Invariant: the bounds of `section` hold here, and what is left out is said.

use std::fmt::{self, Write};

use super::{
    super::{
        CHARTS_MAX, Cell, LINES_MAX, LineChart, POINTS_MAX, Section, Status, TABLE_COLUMNS_MAX, TABLE_ROWS_MAX, Table,
        format::{Escaped, Name, Number, Percent, plural, shortened},
    },
    chart::{self, Lines},
    icon,
};

/// Longest summary, in characters.
const SUMMARY_CHARS_MAX: usize = 600;
/// Longest text of a cell, in characters.
const CELL_CHARS_MAX: usize = 200;
/// Most tables of a section.
const TABLES_MAX: usize = 8;

pub(super) fn write_section(page: &mut String, index: usize, section: &Section) -> fmt::Result {
    let status = section.status;
    write!(
        page,
        "<section class=\"further\" aria-labelledby=\"section-{index}\"><h2 id=\"section-{index}\">{} ",
        Name(&section.title)
    )?;
    write_status(page, status, status_word(status))?;
    page.push_str("</h2>");
    if !section.summary.is_empty() {
        write!(page, "<p class=\"why\">{}</p>", Escaped(&shortened(&section.summary, SUMMARY_CHARS_MAX)))?;
    }
    if !section.charts.is_empty() {
        page.push_str("<div class=\"grid\">");
        for chart in section.charts.iter().take(CHARTS_MAX) {
            write_chart(page, chart)?;
        }
        page.push_str("</div>");
    }
    for table in section.tables.iter().take(TABLES_MAX) {
        write_table(page, table, &section.title)?;
    }
    let left_out = section.charts.len().saturating_sub(CHARTS_MAX) + section.tables.len().saturating_sub(TABLES_MAX);
    if left_out > 0 {
        write!(page, "<p class=\"note\">{} not shown.</p>", plural(left_out, "more chart or table"))?;
    }
    page.push_str("</section>");
    Ok(())
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Neutral => "For information",
        Status::Good => "Good",
        Status::Attention => "Worth a look",
        Status::Bad => "Bad",
    }
}

fn write_status(page: &mut String, status: Status, word: &str) -> fmt::Result {
    let (class, icon) = (status.as_str(), icon(status));
    write!(page, "<span class=\"chip {class}\"><i aria-hidden=\"true\">{icon}</i> {}</span>", Name(word))
}

fn write_chart(page: &mut String, chart: &LineChart) -> fmt::Result {
    write!(page, "<figure><figcaption>{} ", Name(&chart.title))?;
    let lines: Vec<(&str, &[f64])> =
        chart.lines.iter().take(LINES_MAX).map(|line| (line.name.as_str(), newest(&line.values, chart))).collect();
    for (number, (name, _)) in lines.iter().enumerate() {
        write!(page, "<span class=\"key\"><i class=\"k{number}\"></i>{}</span>", Name(name))?;
    }
    if let Some(band) = &chart.band {
        write!(page, "<span class=\"key\"><i class=\"kb\"></i>{}</span>", Name(&band.name))?;
    }
    page.push_str("</figcaption>");
    let band = chart.band.as_ref().map(|band| (newest(&band.low, chart), newest(&band.high, chart)));
    let labels = chart.labels.get(dropped(chart)..).unwrap_or_default();
    let (title, constant) = (chart.title.as_str(), None);
    let chart = Lines { title, axis: "", labels, positions: None, lines: &lines, constant, band, own_labels: true };
    chart::write_lines(page, &chart)?;
    page.push_str("</figure>");
    Ok(())
}

/// Points that are too old to be shown.
fn dropped(chart: &LineChart) -> usize {
    chart.labels.len().saturating_sub(POINTS_MAX)
}

fn newest<'a>(values: &'a [f64], chart: &LineChart) -> &'a [f64] {
    values.get(dropped(chart)..).unwrap_or_default()
}

fn write_table(page: &mut String, table: &Table, title: &str) -> fmt::Result {
    let columns = table.columns.get(..TABLE_COLUMNS_MAX).unwrap_or(&table.columns);
    let label = if table.caption.is_empty() { title } else { &table.caption };
    write!(
        page,
        "<div class=\"scroll\" role=\"region\" aria-label=\"{}\" tabindex=\"0\"><table class=\"plain\">",
        Name(label)
    )?;
    if !table.caption.is_empty() {
        write!(page, "<caption>{}</caption>", Name(&table.caption))?;
    }
    page.push_str("<thead><tr>");
    let class = |numeric: bool| if numeric { " class=\"n\"" } else { "" };
    for heading in columns {
        write!(page, "<th scope=\"col\"{}>{}</th>", class(heading.numeric), Name(&heading.name))?;
    }
    page.push_str("</tr></thead><tbody>");
    for row in table.rows.iter().take(TABLE_ROWS_MAX) {
        page.push_str("<tr>");
        for (index, heading) in columns.iter().enumerate() {
            write!(page, "<td{}>", class(heading.numeric))?;
            write_cell(page, row.get(index).unwrap_or(&Cell::Empty))?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
    let rows = table.rows.len().saturating_sub(TABLE_ROWS_MAX);
    if rows > 0 {
        write!(page, "<p class=\"note\">{} not shown.</p>", plural(rows, "more row"))?;
    }
    Ok(())
}

fn write_cell(page: &mut String, cell: &Cell) -> fmt::Result {
    match cell {
        Cell::Text(text) => write!(page, "<bdi>{}</bdi>", Escaped(&shortened(text, CELL_CHARS_MAX))),
        Cell::Number(value) => write!(page, "{}", Number(*value)),
        Cell::Share(value) => write!(page, "{}", Percent(*value)),
        Cell::Interval(value, low, high) => {
            write!(page, "{} <small>{} to {}</small>", Number(*value), Number(*low), Number(*high))
        }
        Cell::Status(status, words) => write_status(page, *status, words),
        Cell::Empty => Ok(()),
    }
}
