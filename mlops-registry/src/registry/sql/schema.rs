//! The tables of the registry.
//!
//! Invariant: a step that was released is never edited.

use mlops_store::{Migration, Migrations};

pub(super) const MIGRATIONS: Migrations = Migrations { namespace: "registry", steps: &[MODELS, GOVERNANCE] };

const MODELS: Migration = Migration {
    version: 1,
    name: "models, versions, aliases",
    sql: "CREATE TABLE registry_model (
    name TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    last_version BIGINT NOT NULL
);
CREATE TABLE registry_model_tag (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, key)
);
CREATE TABLE registry_version (
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    source TEXT NOT NULL,
    digest TEXT,
    run_id TEXT,
    run_link TEXT NOT NULL,
    description TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    idempotency_key TEXT,
    deleted BIGINT NOT NULL,
    PRIMARY KEY (model, version)
);
CREATE UNIQUE INDEX registry_version_by_key ON registry_version (model, idempotency_key);
CREATE TABLE registry_version_tag (
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, version, key)
);
CREATE TABLE registry_alias (
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (model, alias)
);
CREATE TABLE registry_alias_move (
    seq {auto_id},
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    from_version BIGINT,
    to_version BIGINT,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX registry_alias_move_by_model ON registry_alias_move (model, seq);
",
};

/// A deleted version keeps its row (`deleted` 1) until it is purged (2), when only the number is left of it.
/// `registry_package_blob` lists the blobs of each package, its manifest included, under the digest of the manifest. An
/// upload pins the blobs it is about to refer to; a condemned blob is about to be deleted and must not be referred to.
const GOVERNANCE: Migration = Migration {
    version: 2,
    name: "trash, approvals, alias policies, garbage collection",
    sql: "ALTER TABLE registry_version ADD COLUMN deleted_at BIGINT;
ALTER TABLE registry_version ADD COLUMN deleted_by TEXT;
CREATE INDEX registry_version_by_digest ON registry_version (digest);
CREATE TABLE registry_package_blob (
    package TEXT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (package, blob)
);
CREATE INDEX registry_package_blob_by_blob ON registry_package_blob (blob);
CREATE TABLE registry_upload (
    id {auto_id},
    at BIGINT NOT NULL
);
CREATE TABLE registry_pin (
    upload BIGINT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (upload, blob)
);
CREATE INDEX registry_pin_by_blob ON registry_pin (blob);
CREATE TABLE registry_condemned (
    blob TEXT PRIMARY KEY
);
CREATE TABLE registry_collector (
    id BIGINT PRIMARY KEY,
    run BIGINT NOT NULL,
    until BIGINT NOT NULL
);
CREATE TABLE registry_approval (
    id {auto_id},
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT,
    decided BIGINT,
    comment TEXT NOT NULL,
    used_by TEXT,
    used BIGINT
);
CREATE INDEX registry_approval_by_model ON registry_approval (model, id);
CREATE TABLE registry_alias_policy (
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    policy TEXT NOT NULL,
    PRIMARY KEY (model, alias)
);
CREATE TABLE registry_trash (
    id {auto_id},
    model TEXT NOT NULL,
    record TEXT NOT NULL,
    deleted_at BIGINT NOT NULL,
    deleted_by TEXT NOT NULL
);
CREATE TABLE registry_trash_package (
    trash BIGINT NOT NULL,
    package TEXT NOT NULL,
    PRIMARY KEY (trash, package)
);
CREATE INDEX registry_trash_package_by_package ON registry_trash_package (package);
",
};
