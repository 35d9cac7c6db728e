//! The model card: Markdown for people, with front matter that the Hugging Face hub reads.
//!
//! Sections follow Mitchell et al., "Model Cards for Model Reporting" (2019). The front matter is YAML in which every scalar
//! is a JSON string or number, which YAML reads the same.

use std::fmt::Write as _;

use mlops_core::TensorSpec;
use serde_json::{Value, json};

use super::{
    facts::{CardText, VersionFacts},
    markdown::{escaped, list, number, table},
};

/// The card of a version.
///
/// Metrics that are not finite stand in the table but not in the front matter, whose readers expect numbers.
#[must_use]
pub fn model_card(facts: &VersionFacts, text: &CardText) -> String {
    let mut out = front_matter(facts, text);
    let _ = writeln!(out, "\n# {} {}\n", escaped(facts.model.name.as_str()), facts.version.version);
    let summary = text.summary(facts);
    if !summary.is_empty() {
        let _ = writeln!(out, "{}\n", escaped(summary));
    }
    details(&mut out, facts, text);
    list(&mut out, "Intended users", &text.users);
    list(&mut out, "Intended uses", &text.intended_uses);
    list(&mut out, "Out of scope", &text.out_of_scope_uses);
    list(&mut out, "Limitations", &text.limitations);
    list(&mut out, "Ethical considerations", text.risks.iter().map(|(risk, answer)| format!("{risk}: {answer}")));
    section(
        &mut out,
        "Metrics",
        ["metric", "value"],
        facts.metrics().into_iter().map(|(key, value)| [key.to_owned(), number(value)]),
    );
    section(
        &mut out,
        "Training data",
        ["data", "version"],
        facts.data().into_iter().map(|(name, version)| [name.to_owned(), version.to_owned()]),
    );
    section(
        &mut out,
        "Parameters",
        ["parameter", "value"],
        facts.params().into_iter().map(|(key, value)| [key.to_owned(), value.to_owned()]),
    );
    if let Some(manifest) = &facts.manifest {
        let row = |side: &'static str| move |spec: &TensorSpec| [side.to_owned(), spec.name.clone(), describe(spec)];
        let inputs = manifest.signature.inputs().iter().map(row("input"));
        let outputs = manifest.signature.outputs().iter().map(row("output"));
        section(&mut out, "Signature", ["", "name", "type"], inputs.chain(outputs));
        list(&mut out, "Features", manifest.features.iter().map(ToString::to_string));
        let files = manifest.files.iter().map(|(path, digest)| [path.clone(), digest.to_string()]);
        section(&mut out, "Files", ["file", "SHA-256"], files);
    }
    out
}

fn section<const N: usize>(out: &mut String, heading: &str, head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        let _ = writeln!(out, "\n## {heading}\n");
        table(out, head, rows);
    }
}

fn details(out: &mut String, facts: &VersionFacts, text: &CardText) {
    let version = &facts.version;
    let aliases: Vec<String> = version.aliases.iter().map(ToString::to_string).collect();
    let run = version.run_id.as_ref().map(ToString::to_string);
    let rows = [
        ("Registered", Some(version.created.to_string())),
        ("Registered by", Some(version.created_by.clone())),
        ("Flavor", facts.manifest.as_ref().map(|manifest| manifest.flavor.clone())),
        ("Package", version.source.digest().map(|digest| digest.to_string())),
        ("Aliases", Some(aliases.join(", "))),
        ("Run", run),
        ("License", text.license.clone()),
        ("Authors", Some(text.authors.join(", "))),
    ];
    let given =
        rows.into_iter().filter_map(|(what, value)| Some([what.to_owned(), value.filter(|value| !value.is_empty())?]));
    table(out, ["", ""], given);
}

/// Type and shape of one row.
pub(crate) fn describe(spec: &TensorSpec) -> String {
    let mut text = spec.data_type.oip_name().to_owned();
    if !spec.row_shape.is_empty() {
        let _ = write!(text, " {:?}", spec.row_shape);
    }
    if spec.nullable {
        text.push_str(", may be null");
    }
    text
}

fn front_matter(facts: &VersionFacts, text: &CardText) -> String {
    let mut out = String::from("---\n");
    let mut field = |name: &str, value: Value| {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            let _ = writeln!(out, "{name}: {value}");
        }
    };
    // The hub takes its own lower-case identifiers.
    field("license", json!(text.license.as_ref().map(|license| license.to_lowercase())));
    field("library_name", json!("mlops"));
    field("pipeline_tag", json!(text.task));
    field("tags", json!(text.keywords));
    let data = facts.data();
    field("datasets", json!(data.iter().map(|(name, _)| name).collect::<Vec<_>>()));
    let finite: Vec<(&str, f64)> = facts.metrics().into_iter().filter(|(_, value)| value.is_finite()).collect();
    field("metrics", json!(finite.iter().map(|(key, _)| key).collect::<Vec<_>>()));
    if let (Some(task), Some((dataset, version)), false) = (&text.task, data.first(), finite.is_empty()) {
        let metrics: Vec<Value> = finite.iter().map(|(key, value)| json!({ "type": key, "value": value })).collect();
        let dataset = json!({ "name": dataset, "type": dataset, "revision": version });
        let result = json!({ "task": { "type": task }, "dataset": dataset, "metrics": metrics });
        field("model-index", json!([{ "name": facts.model.name.as_str(), "results": [result] }]));
    }
    out.push_str("---\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::facts::tests::{two_versions, words};

    #[tokio::test]
    async fn a_card_says_what_is_on_record_and_nothing_else() {
        let [facts, _] = two_versions().await;
        let card = model_card(&facts, &words());
        for part in [
            "license: \"apache-2.0\"\n",
            "\"metrics\":[{\"type\":\"accuracy\",\"value\":0.8},{\"type\":\"auc\",\"value\":0.9}]",
            "# fraud 1\n\nscores \\| payments\n",
            "| auc | 0.9 |",
            "| rounds | 50 |",
            "| input | amount | FP64 |",
            "- not trained on &lt;foreign&gt; cards",
            "| payments | d1 |",
        ] {
            assert!(card.contains(part), "{part:?} is not in\n{card}");
        }
        assert!(!card.contains("Out of scope") && !card.contains("Features"), "{card}");
        assert_eq!(card, model_card(&facts, &words()));
    }

    #[tokio::test]
    async fn without_words_the_card_has_no_claims() {
        let [facts, _] = two_versions().await;
        let card = model_card(&facts, &CardText::default());
        assert!(!card.contains("license") && !card.contains("model-index") && !card.contains("Intended"), "{card}");
    }
}
