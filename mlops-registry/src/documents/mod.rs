//! Documents about models and data, written from what the registry knows.
//!
//! | document | made by | read by |
//! |---|---|---|
//! | model card, Markdown with front matter | [`model_card`] | people, the Hugging Face hub |
//! | ML-BOM, CycloneDX 1.6 JSON | [`ml_bom`] | supply-chain scanners |
//! | data sheet, Croissant 1.0 JSON-LD | [`DataSheet`] | dataset search, `mlcroissant` |
//! | what changed between two versions | [`VersionDiff`] | reviewers |
//!
//! Invariant: a document is a pure function of its arguments, so the same version gives the same bytes; nothing is stated
//! that nobody recorded or wrote.

mod data_sheet;
mod diff;
mod facts;
mod markdown;
mod ml_bom;
mod model_card;

pub use data_sheet::{DataFile, DataSheet};
pub use diff::{Change, VersionDiff};
pub use facts::{CardText, VersionFacts};
pub(crate) use markdown::escaped;
pub use ml_bom::ml_bom;
#[cfg(feature = "mlflow")]
pub(crate) use model_card::describe;
pub use model_card::model_card;
