//! The tables.

use mlops_store::{Migration, Migrations};

pub(super) const MIGRATIONS: Migrations = Migrations {
    namespace: "access",
    steps: &[Migration {
        version: 1,
        name: "users, tokens, roles, grants",
        sql: "CREATE TABLE access_user (
    id {auto_id},
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    admin BIGINT NOT NULL
);
CREATE TABLE access_token (
    id {auto_id},
    user_id BIGINT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT
);
CREATE INDEX access_token_by_user ON access_token (user_id);
CREATE TABLE access_role (
    id {auto_id},
    name TEXT NOT NULL UNIQUE,
    description TEXT,
    own_of BIGINT UNIQUE
);
CREATE TABLE access_member (
    id {auto_id},
    role BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    UNIQUE (role, user_id)
);
CREATE INDEX access_member_by_user ON access_member (user_id);
CREATE TABLE access_grant (
    id {auto_id},
    role BIGINT NOT NULL,
    kind TEXT NOT NULL,
    resource TEXT NOT NULL,
    permission TEXT NOT NULL,
    UNIQUE (role, kind, resource)
);
CREATE INDEX access_grant_by_resource ON access_grant (kind, resource);
",
    }],
};
