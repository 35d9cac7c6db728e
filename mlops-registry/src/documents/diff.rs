//! What changed between two versions of a model, for the person who approves the second.

use std::{collections::BTreeMap, fmt};

use mlops_core::TensorSpec;
use serde::Serialize;

use super::{
    facts::VersionFacts,
    markdown::{number, table},
    model_card::describe,
};

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change<T> {
    /// Only the second version has it.
    Added(T),
    /// Only the first version has it.
    Removed(T),
    /// Both have it and it differs.
    Changed {
        /// In the first.
        from: T,
        /// In the second.
        to: T,
    },
}

/// Differences by name; what is equal is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionDiff {
    /// The versions, as `name/number`.
    pub between: (String, String),
    /// Params of the runs.
    pub params: BTreeMap<String, Change<String>>,
    /// Metrics. Two NaN are equal.
    pub metrics: BTreeMap<String, Change<f64>>,
    /// Training data by name, with version or digest.
    pub data: BTreeMap<String, Change<String>>,
    /// Inputs by name, with type and shape.
    pub inputs: BTreeMap<String, Change<String>>,
    /// Outputs by name, with type and shape.
    pub outputs: BTreeMap<String, Change<String>>,
    /// Features by reference; the value is empty.
    pub features: BTreeMap<String, Change<String>>,
    /// Files by path, with digest.
    pub files: BTreeMap<String, Change<String>>,
    /// Tags.
    pub tags: BTreeMap<String, Change<String>>,
    /// Whether whoever calls the first can call the second: it needs no further input, takes the same types, and still
    /// gives every output as it was.
    pub drop_in: bool,
}

impl VersionDiff {
    /// Compares `a`, the version in use, with `b`, the one that may replace it.
    #[must_use]
    pub fn between(a: &VersionFacts, b: &VersionFacts) -> Self {
        let name = |facts: &VersionFacts| format!("{}/{}", facts.model.name, facts.version.version);
        let text = |entries: BTreeMap<&str, &str>| -> BTreeMap<String, String> {
            entries.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let numbers = |facts: &VersionFacts| -> BTreeMap<String, f64> {
            facts.metrics().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
        };
        let data = |facts: &VersionFacts| text(facts.data().into_iter().collect());
        let features = |facts: &VersionFacts| -> BTreeMap<String, String> {
            let all = facts.manifest.iter().flat_map(|manifest| &manifest.features);
            all.map(|feature| (feature.to_string(), String::new())).collect()
        };
        let files = |facts: &VersionFacts| -> BTreeMap<String, String> {
            let all = facts.manifest.iter().flat_map(|manifest| &manifest.files);
            all.map(|(path, digest)| (path.clone(), digest.to_string())).collect()
        };
        Self {
            between: (name(a), name(b)),
            params: changes(&text(a.params()), &text(b.params()), String::eq),
            metrics: changes(&numbers(a), &numbers(b), |a, b| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())),
            data: changes(&data(a), &data(b), String::eq),
            inputs: changes(&specs(a, Side::Inputs), &specs(b, Side::Inputs), String::eq),
            outputs: changes(&specs(a, Side::Outputs), &specs(b, Side::Outputs), String::eq),
            features: changes(&features(a), &features(b), String::eq),
            files: changes(&files(a), &files(b), String::eq),
            tags: changes(&a.version.tags, &b.version.tags, String::eq),
            drop_in: drop_in(a, b),
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty() && self.texts().iter().all(|(_, changes)| changes.is_empty())
    }

    fn texts(&self) -> [(&'static str, &BTreeMap<String, Change<String>>); 7] {
        [
            ("param", &self.params),
            ("data", &self.data),
            ("input", &self.inputs),
            ("output", &self.outputs),
            ("feature", &self.features),
            ("file", &self.files),
            ("tag", &self.tags),
        ]
    }
}

#[derive(Clone, Copy)]
enum Side {
    Inputs,
    Outputs,
}

fn of_side(facts: &VersionFacts, side: Side) -> &[TensorSpec] {
    match (&facts.manifest, side) {
        (None, _) => &[],
        (Some(manifest), Side::Inputs) => manifest.signature.inputs(),
        (Some(manifest), Side::Outputs) => manifest.signature.outputs(),
    }
}

fn specs(facts: &VersionFacts, side: Side) -> BTreeMap<String, String> {
    of_side(facts, side).iter().map(|spec| (spec.name.clone(), describe(spec))).collect()
}

fn drop_in(a: &VersionFacts, b: &VersionFacts) -> bool {
    let known = a.manifest.is_some() && b.manifest.is_some();
    let same =
        |x: &TensorSpec, y: &TensorSpec| (&x.name, x.data_type, &x.row_shape) == (&y.name, y.data_type, &y.row_shape);
    let given = of_side(a, Side::Inputs);
    // An input that the first may lack must not be required by the second; an output must not begin to lack values.
    let takes = |need: &TensorSpec| given.iter().any(|have| same(have, need) && (need.nullable || !have.nullable));
    let offered = of_side(b, Side::Outputs);
    let gives = |want: &TensorSpec| offered.iter().any(|have| same(have, want) && (want.nullable || !have.nullable));
    known && of_side(b, Side::Inputs).iter().all(takes) && of_side(a, Side::Outputs).iter().all(gives)
}

fn changes<T: Clone>(
    a: &BTreeMap<String, T>,
    b: &BTreeMap<String, T>,
    equal: impl Fn(&T, &T) -> bool,
) -> BTreeMap<String, Change<T>> {
    let change = |key: &String| {
        let change = match (a.get(key), b.get(key)) {
            (Some(from), Some(to)) if equal(from, to) => return None,
            (Some(from), Some(to)) => Change::Changed { from: from.clone(), to: to.clone() },
            (Some(from), None) => Change::Removed(from.clone()),
            (None, to) => Change::Added(to?.clone()),
        };
        Some((key.clone(), change))
    };
    a.keys().chain(b.keys()).filter_map(change).collect()
}

fn row(kind: &str, name: &str, change: &Change<String>, difference: String) -> [String; 5] {
    let (from, to) = match change {
        Change::Added(to) => ("", to.as_str()),
        Change::Removed(from) => (from.as_str(), ""),
        Change::Changed { from, to } => (from.as_str(), to.as_str()),
    };
    [kind.to_owned(), name.to_owned(), from.to_owned(), to.to_owned(), difference]
}

/// Markdown: one table of all differences.
impl fmt::Display for VersionDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b) = &self.between;
        if self.is_empty() {
            return writeln!(f, "{a} and {b} do not differ.");
        }
        let metric = |(name, change): (&String, &Change<f64>)| {
            let (difference, shown) = match change {
                Change::Added(to) => (String::new(), Change::Added(number(*to))),
                Change::Removed(from) => (String::new(), Change::Removed(number(*from))),
                Change::Changed { from, to } => {
                    (format!("{:+.4}", to - from), Change::Changed { from: number(*from), to: number(*to) })
                }
            };
            row("metric", name, &shown, difference)
        };
        let rest = self.texts().into_iter().flat_map(|(kind, changes)| {
            changes.iter().map(move |(name, change)| row(kind, name, change, String::new()))
        });
        let mut out = String::new();
        table(&mut out, ["what", "name", a, b, "difference"], self.metrics.iter().map(metric).chain(rest));
        f.write_str(&out)?;
        let verdict = if self.drop_in { "can" } else { "cannot" };
        writeln!(f, "\nCallers of {a} {verdict} call {b} unchanged.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::facts::tests::two_versions;

    #[tokio::test]
    async fn a_new_input_breaks_callers_and_its_loss_does_not() {
        let [a, b] = two_versions().await;
        let diff = VersionDiff::between(&a, &b);
        assert_eq!(diff.params["rounds"], Change::Changed { from: "50".into(), to: "80".into() });
        assert_eq!(diff.metrics["auc"], Change::Changed { from: 0.9, to: 0.925 });
        assert_eq!(diff.inputs, [("hour".to_owned(), Change::Added("INT64".to_owned()))].into());
        assert!(diff.data.is_empty() && diff.files.contains_key("model.json") && !diff.drop_in);
        let text = diff.to_string();
        assert!(text.contains("| metric | auc | 0.9 | 0.925 | +0.0250 |"), "{text}");
        assert!(text.contains("Callers of fraud/1 cannot call fraud/2 unchanged."), "{text}");
        assert!(VersionDiff::between(&b, &a).drop_in);
    }

    #[tokio::test]
    async fn a_version_does_not_differ_from_itself() {
        let [mut a, _] = two_versions().await;
        a.manifest.as_mut().unwrap().metrics.insert("nan".into(), f64::NAN);
        let diff = VersionDiff::between(&a, &a);
        assert!(diff.is_empty() && diff.drop_in, "{diff}");
    }
}
