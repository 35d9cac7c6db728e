//! The tables of labelling queues.

use mlops_store::{Migration, Migrations};

pub(super) const MIGRATIONS: Migrations = Migrations {
    namespace: "labeling",
    steps: &[Migration {
        version: 1,
        name: "tasks and assignments",
        sql: "CREATE TABLE label_task (
    queue TEXT NOT NULL,
    task TEXT NOT NULL,
    data TEXT NOT NULL,
    prediction TEXT,
    reason TEXT,
    priority DOUBLE PRECISION NOT NULL,
    state TEXT NOT NULL,
    label TEXT,
    settled_by TEXT,
    PRIMARY KEY (queue, task)
);
CREATE INDEX label_task_by_priority ON label_task (queue, state, priority);
CREATE TABLE label_assignment (
    queue TEXT NOT NULL,
    task TEXT NOT NULL,
    labeler TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    label TEXT,
    submitted_at BIGINT,
    PRIMARY KEY (queue, task, labeler)
);
CREATE INDEX label_assignment_by_labeler ON label_assignment (queue, labeler, lease_until);
",
    }],
};
