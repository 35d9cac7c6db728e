//! Markdown whose cells and headings hold any text: nothing that was recorded can end a table or become markup.

use std::fmt::Write as _;

/// Text as it may stand in a paragraph or cell.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' => out.extend(['\\', letter]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

/// A table, or nothing when it has no rows.
pub(super) fn table<const N: usize>(out: &mut String, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return;
    }
    let mut line = |cells: &[String]| {
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    };
    line(&head.map(str::to_owned));
    line(&head.map(|_| "---".to_owned()));
    rows.for_each(|row| line(&row.map(|cell| escaped(&cell))));
}

/// A heading and a list, or nothing when it is empty.
pub(super) fn list<T: AsRef<str>>(out: &mut String, heading: &str, items: impl IntoIterator<Item = T>) {
    let mut items = items.into_iter().peekable();
    if items.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "\n## {heading}\n");
    items.for_each(|item| {
        let _ = writeln!(out, "- {}", escaped(item.as_ref()));
    });
}

/// A number as short as it can be while it reads back the same.
pub(super) fn number(value: f64) -> String {
    format!("{value}")
}
