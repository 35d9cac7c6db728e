//! Evaluation datasets: inputs, and what should come out, to try applications on; scorers, which judge what does;
//! and issues, which tell what goes wrong.
//!
//! [`EvaluationStore`] is the wide trait that a back end supplies. A record is known by its inputs: putting the same
//! inputs again adds to the record instead of making another.

mod issue;
mod record;
mod scorer;
mod sql;
mod store;

pub use issue::{CreateIssue, Issue, IssueSeverity, IssueStatus, IssueUpdate};
pub use record::{CreateEvaluationDataset, EvaluationDataset, EvaluationRecord, PutRecord, RecordSource, Upserted};
pub use scorer::{RegisterScorer, Scorer};
pub use sql::{SqlEvaluationStore, SqlEvaluationStoreBuilder};
pub use store::EvaluationStore;
