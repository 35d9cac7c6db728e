//! The tables of shared studies, and rows to trials and back.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use mlops_store::{Migration, Migrations, Row};
use serde::Deserialize;

use crate::search::trial::Trial;

/// Tables of shared studies, oldest step first.
pub(super) const MIGRATIONS: Migrations = Migrations {
    namespace: "mlops-train",
    steps: &[Migration {
        version: 1,
        name: "studies",
        sql: "CREATE TABLE mlops_study (
    id {auto_id},
    name TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE TABLE mlops_study_trial (
    study_id BIGINT NOT NULL,
    number BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    body TEXT NOT NULL,
    worker TEXT NOT NULL,
    lease_until BIGINT,
    PRIMARY KEY (study_id, number)
);
CREATE INDEX mlops_study_trial_revision ON mlops_study_trial (study_id, revision);
CREATE INDEX mlops_study_trial_lease ON mlops_study_trial (study_id, lease_until);
CREATE TABLE mlops_study_report (
    study_id BIGINT NOT NULL,
    number BIGINT NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (study_id, number, step)
);
CREATE INDEX mlops_study_report_revision ON mlops_study_report (study_id, revision);
",
    }],
};

/// The body of a trial's row: everything but its reports.
pub(super) fn body(trial: &Trial) -> Result<String> {
    let bare = Trial { reports: BTreeMap::new(), ..trial.clone() };
    serde_json::to_string(&bare)
        .map_err(|error| Error::internal("a trial cannot be written as JSON").with_source(error))
}

/// A trial, without its reports, from its row.
pub(super) fn trial(row: &Row) -> Result<Trial> {
    parse(&row.get::<String>("body")?, "trial")
}

/// Reads JSON that this crate wrote.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::data_loss(format!("stored {what} cannot be read")).with_source(error))
}
