//! The bill of materials of a model: CycloneDX 1.6 JSON (ECMA-424) with a `machine-learning-model` component.

use mlops_core::Digest;
use serde_json::{Map, Value, json};

use super::{
    facts::{CardText, VersionFacts},
    markdown::number,
    model_card::describe,
};

/// The ML-BOM of a version: the model, its files with their digests, and the data it was trained on.
///
/// The serial number is drawn from the digest of the facts, so that the same version always has the same.
#[must_use]
pub fn ml_bom(facts: &VersionFacts, text: &CardText) -> Value {
    let version = &facts.version;
    let reference = format!("model/{}@{}", facts.model.name, version.version);
    let data: Vec<Value> = facts.data().into_iter().map(dataset).collect();
    let files: Vec<Value> =
        facts.manifest.iter().flat_map(|manifest| &manifest.files).map(|(path, digest)| file(path, digest)).collect();
    let parts: Vec<Value> = data.into_iter().chain(files).collect();
    let depends_on: Vec<&Value> = parts.iter().filter_map(|part| part.get("bom-ref")).collect();
    let identity = format!("{reference} {} {}", version.source.to_uri(), version.created);
    let mut dependencies = vec![json!({ "ref": reference, "dependsOn": depends_on })];
    dependencies.extend(depends_on.iter().map(|part| json!({ "ref": part })));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid_of(&Digest::of(identity.as_bytes()))),
        "version": 1,
        "metadata": { "timestamp": version.created.to_string(), "component": model(facts, text, &reference) },
        "components": parts,
        "dependencies": dependencies,
    })
}

/// The object without what is empty.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let empty = |value: &Value| {
        value.is_null()
            || value.as_str().is_some_and(str::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty)
    };
    fields.into_iter().filter(|(_, value)| !empty(value)).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn sha256(digest: &Digest) -> Value {
    json!([{ "alg": "SHA-256", "content": digest.to_string() }])
}

fn model(facts: &VersionFacts, text: &CardText, reference: &str) -> Value {
    let version = &facts.version;
    let property = |(key, value): (&str, &str)| json!({ "name": format!("mlops:param:{key}"), "value": value });
    let params: Vec<Value> = facts.params().into_iter().map(property).collect();
    object([
        ("type", json!("machine-learning-model")),
        ("bom-ref", json!(reference)),
        ("name", json!(facts.model.name.as_str())),
        ("version", json!(version.version.to_string())),
        ("description", json!(text.summary(facts))),
        ("authors", text.authors.iter().map(|name| json!({ "name": name })).collect()),
        ("licenses", text.license.iter().map(|license| json!({ "expression": license })).collect()),
        ("hashes", version.source.digest().as_ref().map_or(Value::Null, sha256)),
        ("modelCard", card(facts, text)),
        ("properties", Value::Array(params)),
    ])
}

fn card(facts: &VersionFacts, text: &CardText) -> Value {
    let signature = facts.manifest.as_ref().map(|manifest| &manifest.signature);
    let format = |spec| json!({ "format": describe(spec) });
    let data: Vec<Value> = facts.data().into_iter().map(|data| json!({ "ref": data_reference(data) })).collect();
    let parameters = object([
        ("task", json!(text.task)),
        ("architectureFamily", json!(facts.manifest.as_ref().map(|manifest| &manifest.flavor))),
        ("datasets", Value::Array(data)),
        ("inputs", signature.iter().flat_map(|signature| signature.inputs()).map(format).collect()),
        ("outputs", signature.iter().flat_map(|signature| signature.outputs()).map(format).collect()),
    ]);
    let metric = |(key, value)| json!({ "type": key, "value": number(value) });
    let metrics: Vec<Value> = facts.metrics().into_iter().map(metric).collect();
    let risk = |(risk, answer)| json!({ "name": risk, "mitigationStrategy": answer });
    let limitations: Vec<&String> = text.limitations.iter().chain(&text.out_of_scope_uses).collect();
    let considerations = object([
        ("users", json!(text.users)),
        ("useCases", json!(text.intended_uses)),
        ("technicalLimitations", json!(limitations)),
        ("ethicalConsiderations", text.risks.iter().map(risk).collect()),
    ]);
    object([
        ("modelParameters", parameters),
        ("quantitativeAnalysis", object([("performanceMetrics", Value::Array(metrics))])),
        ("considerations", considerations),
    ])
}

fn data_reference((name, version): (&str, &str)) -> String {
    format!("data/{name}@{version}")
}

fn dataset(data: (&str, &str)) -> Value {
    let (name, version) = data;
    object([
        ("type", json!("data")),
        ("bom-ref", json!(data_reference(data))),
        ("name", json!(name)),
        ("version", json!(version)),
        ("data", json!([{ "type": "dataset", "name": name }])),
    ])
}

fn file(path: &str, digest: &Digest) -> Value {
    json!({ "type": "file", "bom-ref": format!("file/{path}"), "name": path, "hashes": sha256(digest) })
}

/// A UUID of version 8 (RFC 9562, section 5.8): bits of the digest around the version and variant.
fn uuid_of(digest: &Digest) -> String {
    let hex = digest.to_string();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-8{}-8{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::facts::tests::{two_versions, words};

    #[tokio::test]
    async fn a_bill_lists_model_files_and_data() {
        let [facts, _] = two_versions().await;
        let bill = ml_bom(&facts, &words());
        let model = &bill["metadata"]["component"];
        assert_eq!(model["hashes"][0]["content"], facts.version.source.digest().unwrap().to_string());
        assert_eq!(
            model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][1],
            json!({ "type": "auc", "value": "0.9" })
        );
        assert_eq!(model["modelCard"]["modelParameters"]["datasets"], json!([{ "ref": "data/payments@d1" }]));
        assert_eq!(model["modelCard"]["considerations"]["useCases"][0], "rank payments for review");
        let references: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|part| part["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(references, ["data/payments@d1", "file/model.json"]);
        assert_eq!(bill, ml_bom(&facts, &words()));
    }

    #[tokio::test]
    async fn each_version_has_a_serial_number_of_its_own() {
        let versions = two_versions()
            .await
            .map(|facts| ml_bom(&facts, &CardText::default())["serialNumber"].as_str().unwrap().to_owned());
        assert_ne!(versions[0], versions[1]);
        let serial = versions[0].strip_prefix("urn:uuid:").unwrap();
        assert_eq!((serial.len(), serial.as_bytes()[14], serial.as_bytes()[19]), (36, b'8', b'8'));
    }
}
