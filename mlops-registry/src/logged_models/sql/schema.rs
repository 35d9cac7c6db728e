//! The tables.

use mlops_store::{Migration, Migrations};

pub(crate) const MIGRATIONS: Migrations = Migrations {
    namespace: "logged_models",
    steps: &[
        Migration {
            version: 1,
            name: "logged models, their points, links to runs",
            sql: "CREATE TABLE logged_model (
    id TEXT PRIMARY KEY,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    model_type TEXT NOT NULL,
    source_run TEXT,
    status TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    artifact_uri TEXT NOT NULL,
    deleted BIGINT NOT NULL
);
CREATE INDEX logged_model_by_experiment ON logged_model (experiment, created);
CREATE TABLE logged_model_param (model TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (model, key));
CREATE TABLE logged_model_tag (model TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (model, key));
CREATE TABLE logged_model_point (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    run_id TEXT NOT NULL,
    bits BIGINT NOT NULL,
    dataset_name TEXT,
    dataset_digest TEXT,
    PRIMARY KEY (model, key, at, step, run_id)
);
CREATE TABLE logged_model_input (
    seq {auto_id},
    run_id TEXT NOT NULL,
    model TEXT NOT NULL,
    UNIQUE (run_id, model)
);
CREATE TABLE logged_model_output (
    seq {auto_id},
    run_id TEXT NOT NULL,
    model TEXT NOT NULL,
    step BIGINT NOT NULL,
    UNIQUE (run_id, model, step)
);
",
        },
        Migration {
            version: 2,
            name: "values of points in order",
            // The order of a value is what `value_order::order_of` computes.
            sql: "ALTER TABLE logged_model_point ADD COLUMN value_order BIGINT NOT NULL DEFAULT 0;
UPDATE logged_model_point SET value_order =
    CASE WHEN bits > 9218868437227405312 THEN 9223372036854775806
        WHEN bits >= 0 THEN bits
        WHEN bits + 9223372036854775807 = -1 THEN 0
        WHEN bits > -4503599627370496 THEN 9223372036854775806
        ELSE -2 - (bits + 9223372036854775807) END;
",
        },
    ],
};
