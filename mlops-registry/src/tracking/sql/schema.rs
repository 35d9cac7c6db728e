//! The tables.

use mlops_store::{Migration, Migrations};

pub(super) const MIGRATIONS: Migrations = Migrations {
    namespace: "tracking",
    steps: &[
    Migration {
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
    },
    Migration {
        version: 2,
        name: "numbered runs and metric keys, points in segments, values in order",
        // The order of a value is what `latest::order_of` computes. Points are moved by `convert`.
        sql: "CREATE INDEX tracking_run_by_start ON tracking_run (experiment, started DESC, id);
DROP INDEX tracking_run_by_experiment;
CREATE TABLE tracking_metric_key (id {auto_id}, key TEXT NOT NULL UNIQUE);
INSERT INTO tracking_metric_key (key) SELECT DISTINCT key FROM tracking_latest ORDER BY key;
CREATE TABLE tracking_metric_latest (
    run BIGINT NOT NULL,
    key BIGINT NOT NULL,
    experiment BIGINT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    value_order BIGINT NOT NULL,
    bits BIGINT NOT NULL,
    PRIMARY KEY (run, key)
);
INSERT INTO tracking_metric_latest SELECT r.seq, k.id, r.experiment, l.step, l.at,
    CASE WHEN l.bits > 9218868437227405312 THEN 9223372036854775806
        WHEN l.bits >= 0 THEN l.bits
        WHEN l.bits + 9223372036854775807 = -1 THEN 0
        WHEN l.bits > -4503599627370496 THEN 9223372036854775806
        ELSE -2 - (l.bits + 9223372036854775807) END, l.bits
    FROM tracking_latest l JOIN tracking_run r ON r.id = l.run_id JOIN tracking_metric_key k ON k.key = l.key;
DROP TABLE tracking_latest;
CREATE INDEX tracking_metric_latest_by_value ON tracking_metric_latest (experiment, key, value_order, run);
CREATE TABLE tracking_segment (
    run BIGINT NOT NULL,
    key BIGINT NOT NULL,
    number BIGINT NOT NULL,
    level BIGINT NOT NULL,
    count BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    first_step BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    last_step BIGINT NOT NULL,
    points {blob} NOT NULL,
    PRIMARY KEY (run, key, number)
);
CREATE TABLE tracking_run_param (run BIGINT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, key));
INSERT INTO tracking_run_param SELECT r.seq, p.key, p.value FROM tracking_param p JOIN tracking_run r ON r.id = p.run_id;
DROP TABLE tracking_param;
CREATE INDEX tracking_run_param_by_value ON tracking_run_param (key, substr(value, 1, 64), run);
CREATE TABLE tracking_run_tag (run BIGINT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, key));
INSERT INTO tracking_run_tag SELECT r.seq, t.key, t.value FROM tracking_tag t JOIN tracking_run r ON r.id = t.run_id;
DROP TABLE tracking_tag;
CREATE INDEX tracking_run_tag_by_value ON tracking_run_tag (key, substr(value, 1, 64), run);
",
    },
    Migration {
        version: 3,
        name: "what a run logged lies together",
        // Rows in the order of their primary key need no second tree that leads to them.
        sql: "{sqlite}CREATE TABLE tracking_run_param_moved (
    run BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
{sqlite}INSERT INTO tracking_run_param_moved SELECT run, key, value FROM tracking_run_param ORDER BY run, key;
{sqlite}DROP TABLE tracking_run_param;
{sqlite}ALTER TABLE tracking_run_param_moved RENAME TO tracking_run_param;
{sqlite}CREATE INDEX tracking_run_param_by_value ON tracking_run_param (key, substr(value, 1, 64), run);
{sqlite}CREATE TABLE tracking_run_tag_moved (
    run BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
{sqlite}INSERT INTO tracking_run_tag_moved SELECT run, key, value FROM tracking_run_tag ORDER BY run, key;
{sqlite}DROP TABLE tracking_run_tag;
{sqlite}ALTER TABLE tracking_run_tag_moved RENAME TO tracking_run_tag;
{sqlite}CREATE INDEX tracking_run_tag_by_value ON tracking_run_tag (key, substr(value, 1, 64), run);
{sqlite}CREATE TABLE tracking_metric_latest_moved (
    run BIGINT NOT NULL,
    key BIGINT NOT NULL,
    experiment BIGINT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    value_order BIGINT NOT NULL,
    bits BIGINT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
{sqlite}INSERT INTO tracking_metric_latest_moved SELECT run, key, experiment, step, at, value_order, bits
    FROM tracking_metric_latest ORDER BY run, key;
{sqlite}DROP TABLE tracking_metric_latest;
{sqlite}ALTER TABLE tracking_metric_latest_moved RENAME TO tracking_metric_latest;
{sqlite}CREATE INDEX tracking_metric_latest_by_value ON tracking_metric_latest (experiment, key, value_order, run);
",
    },
    Migration {
        version: 4,
        name: "how often a run was changed",
        sql: "ALTER TABLE tracking_run ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
",
    },
    Migration {
        version: 5,
        name: "runs are walked in order without being read",
        // So that a walk through many runs reads the rows of those alone that it finds.
        sql: "CREATE INDEX tracking_run_in_order ON tracking_run (experiment, started DESC, id, deleted);
DROP INDEX tracking_run_by_start;
",
    },
    ],
};
