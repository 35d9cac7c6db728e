//! The tables.

use mlops_store::{Migration, Migrations};

pub(super) const MIGRATIONS: Migrations = Migrations {
    namespace: "trace",
    steps: &[
        Migration {
            version: 1,
            name: "traces, spans, assessments",
            sql: "CREATE TABLE trace_info (
    id TEXT PRIMARY KEY,
    experiment BIGINT NOT NULL,
    started BIGINT NOT NULL,
    duration_ms BIGINT,
    state TEXT NOT NULL,
    client_request_id TEXT,
    request_preview TEXT,
    response_preview TEXT,
    finalized BIGINT NOT NULL
);
CREATE INDEX trace_info_by_time ON trace_info (experiment, started, id);
CREATE TABLE trace_tag (trace_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (trace_id, key));
CREATE TABLE trace_metadata (
    trace_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (trace_id, key)
);
CREATE TABLE trace_span (
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    started BIGINT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (trace_id, span_id)
);
CREATE TABLE trace_assessment (
    trace_id TEXT NOT NULL,
    id TEXT NOT NULL,
    created BIGINT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (trace_id, id)
);
CREATE TABLE trace_run (trace_id TEXT NOT NULL, run_id TEXT NOT NULL, PRIMARY KEY (trace_id, run_id));
",
        },
        Migration {
            version: 2,
            name: "assessments in the order in which they were made",
            sql: "ALTER TABLE trace_assessment ADD COLUMN position BIGINT NOT NULL DEFAULT 0;
",
        },
        Migration {
            version: 3,
            name: "what spans count beside them, runs by their links",
            // Spans of before count nothing; what a trace says of its tokens, its client has said.
            sql: "ALTER TABLE trace_span ADD COLUMN parent TEXT NOT NULL DEFAULT '';
ALTER TABLE trace_span ADD COLUMN tokens TEXT;
CREATE INDEX trace_run_by_run ON trace_run (run_id);
ALTER TABLE trace_info ADD COLUMN own_tokens BIGINT NOT NULL DEFAULT 0;
UPDATE trace_info SET own_tokens = 1 WHERE EXISTS (
    SELECT 1 FROM trace_metadata m WHERE m.trace_id = trace_info.id AND m.key = 'mlflow.trace.tokenUsage'
);
",
        },
    ],
};

/// Every table that names a trace, and the column that does.
pub(super) const TABLES: [(&str, &str); 6] = [
    ("trace_info", "id"),
    ("trace_tag", "trace_id"),
    ("trace_metadata", "trace_id"),
    ("trace_span", "trace_id"),
    ("trace_assessment", "trace_id"),
    ("trace_run", "trace_id"),
];
