//! Writes the documents of a registered version: model card, ML-BOM, data sheet and the difference to the version before.
//!
//! ```text
//! cargo run -p mlops-registry --example documents -- DIRECTORY
//! ```

use std::{path::Path, sync::Arc};

use mlops_core::{
    DataType, Digest, Error, Metric, ModelName, ModelPackage, Result, RunLogger as _, RunStatus, Signature, TensorSpec,
    Timestamp, Version,
};
use mlops_registry::{
    ArtifactStore, CreateModel, CreateVersion, ModelRegistry as _, SqlModelRegistry, SqlTrackingStore, Tracker,
    documents::{CardText, DataFile, DataSheet, VersionDiff, VersionFacts, ml_bom, model_card},
};
use mlops_store::{BlobStore, SqliteMetaStore};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let directory = std::env::args().nth(1).ok_or_else(|| Error::invalid_argument("name the directory to write to"))?;
    let meta = Arc::new(SqliteMetaStore::in_memory().await?);
    let tracking = Arc::new(SqlTrackingStore::builder(Arc::<SqliteMetaStore>::clone(&meta)).build().await?);
    let tracker = Tracker::new(Arc::<SqlTrackingStore>::clone(&tracking), ArtifactStore::in_memory());
    let registry = SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await?;

    let fraud = ModelName::new("fraud")?;
    registry
        .create_model(&fraud, CreateModel { description: "Scores card payments.".into(), ..CreateModel::default() })
        .await?;
    for (rounds, auc) in [(50, 0.912), (80, 0.925)] {
        let run = tracker.start("fraud", &format!("{rounds} rounds")).await?;
        run.log_params(&[("rounds".into(), rounds.to_string())]).await?;
        run.log_metrics(&[Metric { key: "auc".into(), value: auc, timestamp: Timestamp::from_millis(0), step: 0 }])
            .await?;
        run.finish(RunStatus::Finished).await?;
        let signature = Signature::new(
            [TensorSpec::column("amount", DataType::Float64), TensorSpec::tensor("embedding", DataType::Float32, [4])],
            [TensorSpec::column("score", DataType::Float64)],
        )?;
        let mut package =
            ModelPackage::new("mlops.gbdt", signature).with_file("model.json", format!("{{\"rounds\":{rounds}}}"));
        package.manifest.data_versions.insert("payments".into(), "delta-7".into());
        let options = CreateVersion { run_id: Some(run.run_id().clone()), ..CreateVersion::default() };
        registry.create_version(&fraud, &package, options).await?;
    }

    let facts = VersionFacts::gather(&registry, &*tracking, &fraud, Version(2)).await?;
    let before = VersionFacts::gather(&registry, &*tracking, &fraud, Version(1)).await?;
    let text = CardText {
        license: Some("Apache-2.0".into()),
        task: Some("tabular-classification".into()),
        authors: vec!["Risk team".into()],
        users: vec!["Fraud analysts".into()],
        intended_uses: vec!["Rank payments for review.".into()],
        limitations: vec!["Not trained on cards issued abroad.".into()],
        risks: [("Refuses honest customers".into(), "A person decides.".into())].into(),
        ..CardText::default()
    };
    let rows = b"amount,at\n12.5,2026-01-01T00:00:00Z\n7.0,2026-01-02T00:00:00Z\n";
    let file = DataFile {
        name: "payments.csv".into(),
        url: "payments.csv".into(),
        media_type: "text/csv".into(),
        sha256: Digest::of(rows),
        bytes: rows.len() as u64,
    };
    let sheet = DataSheet::new("payments", "Card payments.")
        .with_license("https://creativecommons.org/licenses/by/4.0/")
        .with_file(file)
        .with_field(TensorSpec::column("amount", DataType::Float64), "Amount in euros.")
        .with_field(TensorSpec::column("at", DataType::Timestamp), "When it was made.");

    let write = |name: &str, bytes: &[u8]| {
        let path = Path::new(&directory).join(name);
        std::fs::write(&path, bytes)
            .map_err(|error| Error::unavailable(format!("cannot write {}: {error}", path.display())).with_source(error))
    };
    write("README.md", model_card(&facts, &text).as_bytes())?;
    write("bom.json", ml_bom(&facts, &text).to_string().as_bytes())?;
    write("croissant.json", sheet.to_croissant().to_string().as_bytes())?;
    write("payments.csv", rows)?;
    let diff = VersionDiff::between(&before, &facts);
    write("diff.md", diff.to_string().as_bytes())?;
    print!("{diff}");
    Ok(())
}
