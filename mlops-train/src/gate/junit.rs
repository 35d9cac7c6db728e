//! A verdict as JUnit XML, which every CI system shows.

use std::fmt::Write as _;

use super::verdict::Verdict;

impl Verdict {
    /// One suite named `suite` with a test case per check; what did not pass is a failure with its
    /// detail.
    ///
    /// ```
    /// use mlops_train::{CheckResult, Verdict};
    ///
    /// let check = CheckResult { name: "r2 bound".into(), passed: false, detail: "0.5, needs at least 0.8".into() };
    /// let verdict = Verdict { passed: false, rows: 120, checks: vec![check] };
    /// let xml = verdict.to_junit_xml("churn gate");
    /// assert!(xml.contains(r#"<testsuite name="churn gate" tests="1" failures="1""#));
    /// assert!(xml.contains(r#"<failure message="0.5, needs at least 0.8""#));
    /// ```
    #[must_use]
    pub fn to_junit_xml(&self, suite: &str) -> String {
        let (tests, failures) = (self.checks.len(), self.failures().count());
        let suite = escaped(suite);
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let counts = format!("tests=\"{tests}\" failures=\"{failures}\"");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "<testsuites {counts}>");
        let _ = writeln!(text, "  <testsuite name=\"{suite}\" {counts} errors=\"0\" skipped=\"0\">");
        for check in &self.checks {
            let (name, detail) = (escaped(&check.name), escaped(&check.detail));
            if check.passed {
                let _ = writeln!(text, "    <testcase classname=\"{suite}\" name=\"{name}\">");
                let _ = writeln!(text, "      <system-out>{detail}</system-out>");
            } else {
                let _ = writeln!(text, "    <testcase classname=\"{suite}\" name=\"{name}\">");
                let _ = writeln!(text, "      <failure message=\"{detail}\" type=\"gate\">{detail}</failure>");
            }
            text.push_str("    </testcase>\n");
        }
        text.push_str("  </testsuite>\n</testsuites>\n");
        text
    }
}

/// Text for attributes and content; characters that XML 1.0 does not allow become a replacement.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // Kept as they are, line ends in attributes would become spaces.
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::CheckResult;

    #[test]
    fn names_and_details_are_escaped() {
        let check = CheckResult {
            name: "rule: \"<A> & 'b'\"".to_owned(),
            passed: false,
            detail: "line\nnext\u{1} ]]>".to_owned(),
        };
        let xml = Verdict { passed: false, rows: 1, checks: vec![check] }.to_junit_xml("a<b");
        assert!(xml.contains("name=\"rule: &quot;&lt;A&gt; &amp; &apos;b&apos;&quot;\""), "{xml}");
        assert!(xml.contains("line&#10;next\u{fffd} ]]&gt;") && !xml.contains("a<b"), "{xml}");
    }
}
