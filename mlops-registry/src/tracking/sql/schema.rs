//! The tables.

use mlops_store::{Migration, Migrations};

pub(super) const MIGRATIONS: Migrations = Migrations {
    namespace: "tracking",
    steps: &[Migration {
        version: 1,
        name: "experiments, runs, metrics",
        sql: "CREATE TABLE tracking_experiment (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    artifact_location TEXT NOT NULL,
    deleted BIGINT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL
);
CREATE TABLE tracking_experiment_tag (
    experiment BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (experiment, key)
);
CREATE TABLE tracking_run (
    seq {auto_id},
    id TEXT NOT NULL UNIQUE,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    user_name TEXT NOT NULL,
    status TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT,
    artifact_uri TEXT NOT NULL,
    deleted BIGINT NOT NULL
);
CREATE INDEX tracking_run_by_experiment ON tracking_run (experiment, started);
CREATE TABLE tracking_param (run_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, key));
CREATE TABLE tracking_tag (run_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, key));
CREATE TABLE tracking_metric (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    bits BIGINT NOT NULL,
    PRIMARY KEY (run_id, key, at, step, bits)
);
CREATE TABLE tracking_latest (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    at BIGINT NOT NULL,
    step BIGINT NOT NULL,
    bits BIGINT NOT NULL,
    PRIMARY KEY (run_id, key)
);
CREATE TABLE tracking_input (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    input TEXT NOT NULL,
    PRIMARY KEY (run_id, name, digest)
);
",
    }],
};
