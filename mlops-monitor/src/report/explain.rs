//! The verdict in plain words: what changed most, by how much, and why that counts.
//!
//! Invariant: names stand as they came, shortened; whoever renders a sentence escapes it.

use super::{
    ColumnReport, ColumnVerdict, DriftReport, Headline,
    format::{NAME_CHARS_MAX, Number, Percent, Probability, plural, shortened, test_title},
};
use crate::detector::{DriftTest, Verdict};

impl DriftReport {
    /// The reason for the verdict in one plain sentence, and a second one where sketches leave verdicts open.
    #[must_use]
    pub fn why(&self) -> String {
        let mut why = match self.verdict() {
            Headline::Drift => self.why_drift(),
            Headline::Ok => self.why_ok(),
            Headline::Insufficient => self.why_insufficient(),
        };
        let undecided: Vec<&ColumnReport> = self.undecided().collect();
        if !undecided.is_empty() {
            why.push_str(&format!(" The error of sketches leaves the verdict on {} open.", list(&undecided)));
        }
        why
    }

    fn why_drift(&self) -> String {
        let mut drifted: Vec<&ColumnReport> = self.drifted().collect();
        // Missing and retyped columns come first; among the others the furthest beyond its threshold.
        drifted.sort_by(|a, b| b.severity().total_cmp(&a.severity()));
        drifted.sort_by_key(|column| column.verdict == ColumnVerdict::Drift);
        let Some((worst, others)) = drifted.split_first() else { return self.why_rows() };
        let name = quoted(&worst.name);
        let reason = match worst.verdict {
            ColumnVerdict::Missing => format!("Column {name} is missing from the window"),
            ColumnVerdict::Retyped => format!("Column {name} has a type that cannot be compared with the reference"),
            _ => strongest(worst).map_or_else(|| format!("Column {name} changed"), |test| moved(&name, test)),
        };
        if others.is_empty() { format!("{reason}.") } else { format!("{reason}; {} changed too.", list(others)) }
    }

    fn why_rows(&self) -> String {
        let found = self.row_tests().filter(|test| test.verdict == Verdict::Drift);
        let worst = found.max_by(|a, b| a.severity().total_cmp(&b.severity()));
        let reason = worst.map_or_else(String::new, how_far);
        format!("No column drifted alone, but whole rows did: {reason}.")
    }

    fn why_ok(&self) -> String {
        let largest = self.columns().iter().max_by(|a, b| a.severity().total_cmp(&b.severity()));
        match largest.filter(|column| column.severity() > 0.0) {
            Some(column) if column.severity() < 1.0 => format!(
                "Every difference is smaller than what matters; the largest, in {}, is {} of its threshold.",
                quoted(&column.name),
                Percent(column.severity())
            ),
            Some(column) => format!(
                "Differences are small, or no larger than chance makes them; the largest is in {}.",
                quoted(&column.name)
            ),
            None => "Nothing differs between the reference and the window.".to_owned(),
        }
    }

    fn why_insufficient(&self) -> String {
        let most = self.columns().iter().filter_map(|column| match column.verdict {
            ColumnVerdict::Insufficient { n, min_n } => Some((n, min_n)),
            _ => None,
        });
        most.max().map_or_else(
            || "There is nothing to compare.".to_owned(),
            |(n, min_n)| format!("A verdict needs at least {min_n} values on both sides; the smaller has at most {n}."),
        )
    }
}

/// The test furthest beyond its threshold, among those that found drift if any did.
pub(super) fn strongest(column: &ColumnReport) -> Option<&DriftTest> {
    let found = |test: &&DriftTest| test.verdict == Verdict::Drift;
    let worst = |a: &&DriftTest, b: &&DriftTest| a.severity().total_cmp(&b.severity());
    let tests = || column.tests.iter();
    tests().filter(found).max_by(worst).or_else(|| tests().filter(|test| !test.effect.is_nan()).max_by(worst))
}

fn moved(name: &str, test: &DriftTest) -> String {
    format!("{name} changed most: {}", how_far(test))
}

fn how_far(test: &DriftTest) -> String {
    let times = Number((test.severity() * 10.0).round() / 10.0);
    let chance = Probability(test.corrected.or(test.tail));
    let effect = match test.name {
        "null_share" => format!("its share of missing values moved by {}, which", Percent(test.effect)),
        "ks" => format!("its {} distance of {}", test_title(test.name), Number(test.effect)),
        "psi" => format!("its PSI of {}", Number(test.effect)),
        "mmd" | "pca_reconstruction" => format!("the {} effect of {}", test_title(test.name), Number(test.effect)),
        _ => format!("its {} effect of {}", test_title(test.name).to_lowercase(), Number(test.effect)),
    };
    if test.effect_min > 0.0 {
        format!("{effect} is {times} times the threshold (corrected p = {chance})")
    } else {
        format!("{effect} (corrected p = {chance})")
    }
}

/// The first two columns by name, the others counted.
fn list(columns: &[&ColumnReport]) -> String {
    match columns {
        [] => String::new(),
        [first] => quoted(&first.name),
        [first, second] => format!("{} and {}", quoted(&first.name), quoted(&second.name)),
        [first, second, rest @ ..] => {
            format!("{}, {} and {}", quoted(&first.name), quoted(&second.name), plural(rest.len(), "more column"))
        }
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\u{201c}{}\u{201d}", shortened(name, NAME_CHARS_MAX))
}
