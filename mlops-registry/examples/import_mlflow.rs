//! Imports an MLflow file store or SQLite database into memory twice and prints what each import counted and left out.
//!
//! `cargo run -p mlops-registry --example import_mlflow -- path/to/mlruns-or-mlflow.db`

use std::{path::PathBuf, sync::Arc};

use mlops_core::{Error, Result};
use mlops_registry::{
    ArtifactStore, SqlModelRegistry, SqlTrackingStore,
    import::{ImportSource, Importer, MlflowFiles, MlflowSqlite},
};
use mlops_store::{BlobStore, SqliteMetaStore};

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    let path = path.ok_or_else(|| Error::invalid_argument("name the directory mlruns or the database file"))?;
    let source: Box<dyn ImportSource> =
        if path.is_dir() { Box::new(MlflowFiles::open(&path)?) } else { Box::new(MlflowSqlite::open(&path).await?) };
    let meta = Arc::new(SqliteMetaStore::in_memory().await?);
    let tracking = SqlTrackingStore::builder(meta).build().await?;
    let meta = Arc::new(SqliteMetaStore::in_memory().await?);
    let registry = SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await?;
    let importer =
        Importer::new(Arc::new(tracking)).with_artifacts(ArtifactStore::in_memory()).with_registry(Arc::new(registry));
    for attempt in ["first", "second"] {
        let report = importer.import(source.as_ref()).await?;
        println!("{attempt}: {:?}", report.counts);
        report.notes.iter().for_each(|note| println!("  {}: {}", note.place, note.reason));
    }
    Ok(())
}
