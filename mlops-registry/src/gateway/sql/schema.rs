//! The tables.

use mlops_store::{Migration, Migrations};

pub(super) const MIGRATIONS: Migrations = Migrations {
    namespace: "gateway",
    steps: &[Migration {
        version: 1,
        name: "secrets, models, endpoints, budgets, guardrails",
        sql: "CREATE TABLE gateway_secret (
    seq {auto_id},
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL,
    sealed {blob} NOT NULL,
    wrapped {blob} NOT NULL,
    key_id TEXT NOT NULL
);
CREATE TABLE gateway_model (
    seq {auto_id},
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    secret TEXT,
    content TEXT NOT NULL
);
CREATE INDEX gateway_model_by_secret ON gateway_model (secret);
CREATE TABLE gateway_endpoint (
    seq {auto_id},
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL
);
CREATE TABLE gateway_link (
    seq {auto_id},
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    linkage TEXT NOT NULL,
    content TEXT NOT NULL,
    UNIQUE (endpoint, model, linkage)
);
CREATE INDEX gateway_link_by_model ON gateway_link (model);
CREATE TABLE gateway_binding (
    seq {auto_id},
    endpoint TEXT NOT NULL,
    kind TEXT NOT NULL,
    resource TEXT NOT NULL,
    content TEXT NOT NULL,
    UNIQUE (endpoint, kind, resource)
);
CREATE INDEX gateway_binding_by_resource ON gateway_binding (resource);
CREATE TABLE gateway_budget (
    seq {auto_id},
    id TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL
);
CREATE TABLE gateway_guardrail (
    seq {auto_id},
    id TEXT NOT NULL UNIQUE,
    action_endpoint TEXT,
    content TEXT NOT NULL
);
CREATE INDEX gateway_guardrail_by_endpoint ON gateway_guardrail (action_endpoint);
CREATE TABLE gateway_place (
    endpoint TEXT NOT NULL,
    guardrail TEXT NOT NULL,
    place BIGINT,
    created BIGINT NOT NULL,
    created_by TEXT,
    PRIMARY KEY (endpoint, guardrail)
);
CREATE INDEX gateway_place_by_guardrail ON gateway_place (guardrail);
",
    }],
};
