//! Markup, written piece by piece.
//!
//! Invariant: markup comes from the program (`&'static str`) and everything else is escaped on its way in, so no text from
//! outside becomes a tag, ends an attribute, or turns the direction of writing. Attributes are always quoted.

use std::fmt::{self, Display, Write};

use mlops_core::Timestamp;

use super::{ask::Link, format};

/// A piece of a page.
#[derive(Debug, Clone, Default)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Markup of the program itself.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Any text, in an element or between the quotes of an attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing into a string cannot fail.
        let _ = write!(Escaper(&mut self.0), "{text}");
        self
    }

    /// A finished piece.
    pub(super) fn add(&mut self, piece: &Self) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    pub(super) fn link(&mut self, to: &Link, text: impl Display) -> &mut Self {
        self.raw("<a href=\"").text(to).raw("\">").text(text).raw("</a>")
    }

    /// A name that somebody chose; an empty one shows as a dash.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        match name.trim() {
            "" => self.raw("\u{2013}"),
            _ => self.raw("<bdi>").text(name).raw("</bdi>"),
        }
    }

    pub(super) fn time(&mut self, time: Timestamp) -> &mut Self {
        self.raw("<time datetime=\"").text(time).raw("\">").text(format::time(time)).raw("</time>")
    }

    /// A word with a color of its own; `kind` is a class of the style sheet.
    pub(super) fn chip(&mut self, kind: &'static str, word: impl Display) -> &mut Self {
        self.raw("<span class=\"chip ").raw(kind).raw("\">").text(word).raw("</span>")
    }

    /// A section under a heading.
    pub(super) fn section(&mut self, heading: &'static str, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.raw("<section><h2>").raw(heading).raw("</h2>");
        write(self);
        self.raw("</section>")
    }

    /// The start of a table, with a caption for those who do not see the heading above it.
    pub(super) fn table(&mut self, caption: impl Display, heads: &[(&'static str, &'static str)]) -> &mut Self {
        self.raw("<div class=\"scroll\" tabindex=\"0\"><table><caption class=\"sr\">").text(caption);
        self.raw("</caption><thead><tr>");
        for (head, class) in heads {
            self.raw("<th scope=\"col\" class=\"").raw(class).raw("\">").raw(head).raw("</th>");
        }
        self.raw("</tr></thead><tbody>")
    }

    pub(super) fn end_table(&mut self) -> &mut Self {
        self.raw("</tbody></table></div>")
    }

    /// A table of names and what they stand for, or a remark that there are none.
    pub(super) fn pairs<K: Display, V: Display>(
        &mut self,
        caption: &'static str,
        heads: &[(&'static str, &'static str); 2],
        rows: impl IntoIterator<Item = (K, V)>,
        class: &str,
    ) -> &mut Self {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return self.raw("<p class=\"note\">None.</p>");
        }
        self.table(caption, heads);
        for (key, value) in rows {
            self.raw("<tr><th scope=\"row\"><bdi>")
                .text(key)
                .raw("</bdi></th><td class=\"")
                .text(class)
                .raw("\"><bdi>");
            self.text(value).raw("</bdi></td></tr>");
        }
        self.end_table()
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escaper<'a>(&'a mut String);

/// Characters that a page must not take from outside: controls, and marks that turn the direction of writing.
fn is_forbidden(character: char) -> bool {
    (character.is_control() && !matches!(character, '\n' | '\t'))
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '`' => self.0.push_str("&#96;"),
                other if is_forbidden(other) => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut html = Html::new();
        html.raw("<p title=\"").text("\" onload='x'").raw("\">").text("<b>&`\u{202e}\0\n").raw("</p>");
        assert_eq!(
            html.into_string(),
            "<p title=\"&quot; onload=&#39;x&#39;\">&lt;b&gt;&amp;&#96;\u{fffd}\u{fffd}\n</p>"
        );
    }
}
