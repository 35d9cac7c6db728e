//! Writes a study so that Optuna opens it.

use mlops_core::{Error, Result, Timestamp};
use mlops_metrics::Direction;
use mlops_store::{MetaStore, Transaction, TransactionExt, params};

use super::{
    CONSTRAINT,
    distribution::{Distribution, number},
};
use crate::search::{
    study::Study,
    trial::{Trial, TrialState},
};

/// The tables as Optuna 5.0 creates them on SQLite.
const SCHEMA: &[&str] = &[
    "CREATE TABLE studies (study_id INTEGER NOT NULL, study_name VARCHAR(512) NOT NULL, PRIMARY KEY (study_id))",
    "CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name)",
    "CREATE TABLE version_info (version_info_id INTEGER NOT NULL, schema_version INTEGER, library_version VARCHAR(256),
        PRIMARY KEY (version_info_id), CHECK (version_info_id=1))",
    "INSERT INTO version_info VALUES (1, 12, '5.0.0')",
    "CREATE TABLE study_directions (study_direction_id INTEGER NOT NULL, direction VARCHAR(8) NOT NULL,
        study_id INTEGER NOT NULL, objective INTEGER NOT NULL, PRIMARY KEY (study_direction_id),
        UNIQUE (study_id, objective), FOREIGN KEY(study_id) REFERENCES studies (study_id))",
    "CREATE TABLE study_user_attributes (study_user_attribute_id INTEGER NOT NULL, study_id INTEGER, \"key\" VARCHAR(512),
        value_json TEXT, PRIMARY KEY (study_user_attribute_id), UNIQUE (study_id, \"key\"),
        FOREIGN KEY(study_id) REFERENCES studies (study_id))",
    "CREATE TABLE study_system_attributes (study_system_attribute_id INTEGER NOT NULL, study_id INTEGER,
        \"key\" VARCHAR(512), value_json TEXT, PRIMARY KEY (study_system_attribute_id), UNIQUE (study_id, \"key\"),
        FOREIGN KEY(study_id) REFERENCES studies (study_id))",
    "CREATE TABLE trials (trial_id INTEGER NOT NULL, number INTEGER, study_id INTEGER, state VARCHAR(8) NOT NULL,
        datetime_start DATETIME, datetime_complete DATETIME, PRIMARY KEY (trial_id),
        FOREIGN KEY(study_id) REFERENCES studies (study_id))",
    "CREATE INDEX ix_trials_study_id ON trials (study_id)",
    "CREATE TABLE trial_user_attributes (trial_user_attribute_id INTEGER NOT NULL, trial_id INTEGER, \"key\" VARCHAR(512),
        value_json TEXT, PRIMARY KEY (trial_user_attribute_id), UNIQUE (trial_id, \"key\"),
        FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE trial_system_attributes (trial_system_attribute_id INTEGER NOT NULL, trial_id INTEGER,
        \"key\" VARCHAR(512), value_json TEXT, PRIMARY KEY (trial_system_attribute_id), UNIQUE (trial_id, \"key\"),
        FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE trial_params (param_id INTEGER NOT NULL, trial_id INTEGER, param_name VARCHAR(512), param_value FLOAT,
        distribution_json TEXT, PRIMARY KEY (param_id), UNIQUE (trial_id, param_name),
        FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE trial_values (trial_value_id INTEGER NOT NULL, trial_id INTEGER NOT NULL, objective INTEGER NOT NULL,
        value FLOAT, value_type VARCHAR(7) NOT NULL, PRIMARY KEY (trial_value_id), UNIQUE (trial_id, objective),
        FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE trial_intermediate_values (trial_intermediate_value_id INTEGER NOT NULL, trial_id INTEGER NOT NULL,
        step INTEGER NOT NULL, intermediate_value FLOAT, intermediate_value_type VARCHAR(7) NOT NULL,
        PRIMARY KEY (trial_intermediate_value_id), UNIQUE (trial_id, step),
        FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE trial_heartbeats (trial_heartbeat_id INTEGER NOT NULL, trial_id INTEGER NOT NULL,
        heartbeat DATETIME NOT NULL, PRIMARY KEY (trial_heartbeat_id), UNIQUE (trial_id),
        FOREIGN KEY(trial_id) REFERENCES trials (trial_id))",
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,
        CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
    "INSERT INTO alembic_version VALUES ('v3.2.0.a')",
];

/// Writes the study into a SQLite store that is empty or that Optuna uses; trials are dated `at`. A paused trial is
/// written as pruned.
///
/// # Errors
/// `AlreadyExists` when there is a study of this name; those of the store.
pub async fn export_optuna(study: &Study, store: &dyn MetaStore, at: Timestamp) -> Result<()> {
    let mut tx = store.begin().await?;
    let tables = tx.query("SELECT name FROM sqlite_schema WHERE name = 'studies'", &[]).await?;
    if tables.is_empty() {
        for statement in SCHEMA {
            tx.execute(statement, &[]).await?;
        }
    }
    let sql = "INSERT INTO studies (study_name) VALUES ($1) RETURNING study_id";
    let id: i64 = tx.query_one(sql, params![study.name()]).await?.get("study_id")?;
    for (objective, direction) in study.directions().iter().enumerate() {
        let name = match direction {
            Direction::Minimize => "MINIMIZE",
            Direction::Maximize => "MAXIMIZE",
        };
        let sql = "INSERT INTO study_directions (direction, study_id, objective) VALUES ($1, $2, $3)";
        tx.execute(sql, params![name, id, objective as u64]).await?;
    }
    for trial in study.trials() {
        write_trial(tx.as_mut(), study, trial, id, at).await?;
    }
    tx.commit().await
}

async fn write_trial(tx: &mut dyn Transaction, study: &Study, trial: &Trial, id: i64, at: Timestamp) -> Result<()> {
    let state = match trial.state {
        TrialState::Running => "RUNNING",
        TrialState::Complete => "COMPLETE",
        TrialState::Pruned | TrialState::Paused => "PRUNED",
        TrialState::Failed => "FAIL",
    };
    let end = (state != "RUNNING").then_some(at.as_micros());
    let sql = "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) VALUES ($1, $2, $3,
        strftime('%Y-%m-%d %H:%M:%S', $4 / 1000000, 'unixepoch') || printf('.%06d', $4 % 1000000),
        strftime('%Y-%m-%d %H:%M:%S', $5 / 1000000, 'unixepoch') || printf('.%06d', $5 % 1000000)) RETURNING trial_id";
    let values = params![trial.number as u64, id, state, at.as_micros(), end];
    let trial_id: i64 = tx.query_one(sql, values).await?.get("trial_id")?;
    for (name, value) in trial.params.iter() {
        let space = study.space().get(name).ok_or_else(|| Error::internal("a trial has a foreign parameter"))?;
        let number = number(space, value).ok_or_else(|| Error::internal("a trial has a foreign value"))?;
        let json = serde_json::to_string(&Distribution::of(space))
            .map_err(|error| Error::internal("a distribution cannot be written as JSON").with_source(error))?;
        let sql =
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, params![trial_id, name, number, json]).await?;
    }
    for (objective, value) in trial.values.iter().enumerate() {
        let sql = "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES ($1, $2, $3, 'FINITE')";
        tx.execute(sql, params![trial_id, objective as u64, *value]).await?;
    }
    for (step, value) in &trial.reports {
        let sql = "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
            VALUES ($1, $2, $3, 'FINITE')";
        tx.execute(sql, params![trial_id, *step, *value]).await?;
    }
    for (name, value) in &trial.user_attributes {
        let sql = "INSERT INTO trial_user_attributes (trial_id, \"key\", value_json) VALUES ($1, $2, $3)";
        tx.execute(sql, params![trial_id, name, value.to_string()]).await?;
    }
    for (index, value) in trial.constraints.iter().enumerate() {
        let sql = "INSERT INTO trial_system_attributes (trial_id, \"key\", value_json) VALUES ($1, $2, $3)";
        let json = serde_json::to_string(value).unwrap_or_default();
        tx.execute(sql, params![trial_id, format!("{CONSTRAINT}{index:03}"), json]).await?;
    }
    Ok(())
}
