//! A report as one HTML page, for people: no network, no fonts, light and dark.
//!
//! Invariant: every name from outside passes through [`escape`]; about 3 KB per column.

use std::fmt::{self, Write};

use super::{ColumnReport, ColumnVerdict, DriftReport, Histogram, SchemaChange};
use crate::detector::DriftTest;

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#5b6470;--line:#d8dee4;--card:#f6f8fa;--ref:#8c96a3;--cur:#0969da;--bad:#cf222e;--good:#1a7f37;--warn:#9a6700}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--dim:#9198a1;--line:#30363d;--card:#161b22;--ref:#6e7681;--cur:#4493f8;--bad:#f85149;--good:#3fb950;--warn:#d29922}}
body{margin:2rem auto;max-width:72rem;padding:0 1rem;background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0 0 .25rem}p{margin:.25rem 0;color:var(--dim)}
.cards{display:flex;gap:.75rem;flex-wrap:wrap;margin:1rem 0}.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.5rem 1rem}.card b{display:block;font-size:1.25rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.45rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{cursor:pointer;white-space:nowrap}th:focus-visible{outline:2px solid var(--cur)}td.n{font-variant-numeric:tabular-nums;text-align:right;white-space:nowrap}
svg{display:block;width:13rem;height:3rem}.r{fill:var(--ref);fill-opacity:.55}.c{fill:none;stroke:var(--cur);stroke-width:1.5;vector-effect:non-scaling-stroke}
.drift,.missing,.retyped{color:var(--bad);font-weight:600}.ok{color:var(--good)}.insufficient{color:var(--warn)}.degenerate{color:var(--dim)}
details table{font-size:.85rem}summary{cursor:pointer;color:var(--dim)}small{color:var(--dim)}";

const SCRIPT: &str = "\
document.querySelectorAll('#columns>thead th').forEach((th,i)=>{const sort=()=>{const b=th.closest('table').tBodies[0],d=th.dataset.d=th.dataset.d==='1'?'-1':'1';
const k=r=>{const c=r.cells[i],v=c.dataset.v??c.textContent.trim();return v===''||isNaN(v)?v:+v};
[...b.rows].sort((x,y)=>{const p=k(x),q=k(y);return d*(typeof p===typeof q?(p<q?-1:p>q?1:0):typeof p==='number'?-1:1)}).forEach(r=>b.append(r))};
th.onclick=sort;th.onkeydown=e=>{if(e.key==='Enter')sort()}})";

/// Text made safe for element content and quoted attributes.
struct Escaped<'a>(&'a str);

fn escape(text: &str) -> Escaped<'_> {
    Escaped(text)
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

/// A number for people: four significant digits, a dash when there is none.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("\u{2013}"),
            0.0 => f.write_str("0"),
            value if (1e-3..1e5).contains(&value.abs()) => write!(f, "{value:.4}"),
            value => write!(f, "{value:.2e}"),
        }
    }
}

/// A p-value for people, also where it is too small for a double.
struct PValue<'a>(&'a DriftTest);

impl fmt::Display for PValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log10 = self.0.log10_p();
        if log10.is_finite() && log10 < -300.0 { write!(f, "10^{log10:.0}") } else { Number(self.0.p()).fmt(f) }
    }
}

impl DriftReport {
    /// The report as one self-contained HTML page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        // Writing into a String cannot fail.
        let _ = self.write_html(&mut page);
        page
    }

    fn write_html(&self, page: &mut String) -> fmt::Result {
        let (rows_ref, rows_cur) = self.rows();
        let verdict = self.verdict().as_str();
        write!(
            page,
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>Drift report: {verdict}</title>\
             <style>{STYLE}</style><h1 class=\"{verdict}\">{}</h1><p>Window ending {}</p><div class=\"cards\">",
            escape(&self.headline()),
            self.window_end()
        )?;
        let drifted = self.drifted().count();
        let cards = [
            ("columns", self.columns().len().to_string()),
            ("drifted", drifted.to_string()),
            ("reference rows", rows_ref.to_string()),
            ("current rows", rows_cur.to_string()),
        ];
        for (name, value) in cards {
            write!(page, "<div class=\"card\"><b>{value}</b>{name}</div>")?;
        }
        page.push_str("</div>");
        self.write_changes(page)?;
        page.push_str("<table id=\"columns\"><thead><tr>");
        for title in ["Column", "Kind", "Verdict", "Distribution", "Severity", "Effect", "p", "Detectable", "Tests"] {
            write!(page, "<th tabindex=\"0\">{title}</th>")?;
        }
        page.push_str("</tr></thead><tbody>");
        for column in self.columns() {
            write_column(page, column)?;
        }
        write!(
            page,
            "</tbody></table><p>Gray: reference. Blue line: current. Severity 1 is the threshold. Detectable: the \
             smallest effect that samples of this size show with 80 % power.</p><script>{SCRIPT}</script></html>"
        )
    }

    fn write_changes(&self, page: &mut String) -> fmt::Result {
        for change in self.schema_changes() {
            match change {
                SchemaChange::Missing { column, expected } => {
                    write!(page, "<p class=\"missing\">Column {} ({}) is missing</p>", escape(column), escape(expected))
                }
                SchemaChange::Retyped { column, expected, found, .. } => {
                    let (column, expected, found) = (escape(column), escape(expected), escape(found));
                    write!(page, "<p class=\"retyped\">Column {column} was {expected} and is {found}</p>")
                }
                SchemaChange::New { column, found } => {
                    write!(page, "<p>Column {} ({}) is new</p>", escape(column), escape(found))
                }
            }?;
        }
        Ok(())
    }
}

fn write_column(page: &mut String, column: &ColumnReport) -> fmt::Result {
    let verdict = column.verdict.as_str();
    write!(
        page,
        "<tr><td>{}<br><small>{}</small></td><td>{}</td><td class=\"{verdict}\">{verdict}",
        escape(&column.name),
        escape(&column.data_type),
        column.kind.as_str()
    )?;
    if let ColumnVerdict::Insufficient { n, min_n } = column.verdict {
        write!(page, "<br><small>{n} of {min_n} values</small>")?;
    }
    page.push_str("</td><td>");
    if let Some(histogram) = &column.histogram {
        write_histogram(page, histogram)?;
    }
    for level in &column.unseen_levels {
        write!(page, "<small>new: {} </small>", escape(level))?;
    }
    let first = column.tests.first();
    let severity = column.severity();
    write!(page, "</td><td class=\"n\" data-v=\"{severity}\">{}</td>", Number(severity))?;
    let effect = first.map_or(f64::NAN, |test| test.effect);
    write!(page, "<td class=\"n\" data-v=\"{effect}\">{}</td>", Number(effect))?;
    match first {
        Some(test) => write!(page, "<td class=\"n\" data-v=\"{}\">{}</td>", test.log10_p(), PValue(test))?,
        None => page.push_str("<td class=\"n\">\u{2013}</td>"),
    }
    write!(page, "<td class=\"n\">{}</td><td>", Number(column.mde()))?;
    write_tests(page, column)?;
    page.push_str("</td></tr>");
    Ok(())
}

fn write_tests(page: &mut String, column: &ColumnReport) -> fmt::Result {
    if column.tests.is_empty() {
        return Ok(());
    }
    let (n_ref, n_cur) = (column.n_ref, column.n_cur);
    write!(page, "<details><summary>{n_ref} / {n_cur} values</summary><table>")?;
    page.push_str("<tr><th>Test<th>Statistic<th>Effect<th>Threshold<th>p<th>Verdict");
    for test in &column.tests {
        let (statistic, effect, threshold) = (Number(test.statistic), Number(test.effect), Number(test.effect_min));
        let (name, verdict, p) = (escape(test.name), test.verdict.as_str(), PValue(test));
        write!(
            page,
            "<tr><td>{name}<td>{statistic}<td>{effect}<td>{threshold}<td>{p}<td class=\"{verdict}\">{verdict}"
        )?;
    }
    page.push_str("</table></details>");
    Ok(())
}

/// Both distributions as steps over the same bins: the reference filled, the window as a line.
fn write_histogram(page: &mut String, histogram: &Histogram) -> fmt::Result {
    let highest = histogram.reference.iter().chain(&histogram.current).fold(0.0_f64, |high, share| high.max(*share));
    let bins = histogram.labels.len();
    write!(page, "<svg viewBox=\"0 0 {} 100\" preserveAspectRatio=\"none\" role=\"img\"><title>", bins * 10)?;
    if let (Some(first), Some(last)) = (histogram.labels.first(), histogram.labels.last()) {
        write!(page, "{} \u{2026} {}", escape(first), escape(last))?;
    }
    page.push_str("</title>");
    for (class, shares) in [("r", &histogram.reference), ("c", &histogram.current)] {
        write!(page, "<path class=\"{class}\" d=\"M0 100")?;
        for share in shares {
            let height = 100.0 - 96.0 * share / highest.max(f64::MIN_POSITIVE);
            write!(page, "V{height:.0}h10")?;
        }
        page.push_str("V100\"/>");
    }
    page.push_str("</svg>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(escape("<script>'\"&").to_string(), "&lt;script&gt;&#39;&quot;&amp;");
    }

    #[test]
    fn numbers_read_well() {
        let text = |value| Number(value).to_string();
        assert_eq!([text(f64::NAN), text(0.0), text(0.5), text(1e-9)], ["\u{2013}", "0", "0.5000", "1.00e-9"]);
    }
}
