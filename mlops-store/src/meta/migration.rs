//! Forward-only migrations, one sequence per crate in a common table.
//!
//! Invariant: what was applied is never edited. Each applied step is kept with the digest of its
//! text, and a database that is ahead of the program is refused rather than guessed at.

use async_trait::async_trait;
use mlops_core::{Digest, Error, Result};

use super::{Dialect, Transaction, TransactionExt, Work};
use crate::params;

/// One step: `version` counts from 1 without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Position in the sequence.
    pub version: u32,
    /// What it does, in a few words.
    pub name: &'static str,
    /// Statements separated by `;` at the end of a line, with the tokens of
    /// [`super::Dialect::translate`]; one that begins with `{sqlite}` is for SQLite alone.
    pub sql: &'static str,
}

/// The steps of one crate.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// The crate or part that owns the tables.
    pub namespace: &'static str,
    /// All steps ever released, oldest first.
    pub steps: &'static [Migration],
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS mlops_migration (
    namespace TEXT NOT NULL,
    version BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (namespace, version)
)";

/// Applies what is missing, all of it in one transaction.
#[async_trait]
impl Work for Migrations {
    type Output = ();

    async fn run(&self, tx: &mut dyn Transaction) -> Result<()> {
        tx.execute(TABLE, &[]).await?;
        let sql = "SELECT version, digest FROM mlops_migration WHERE namespace = $1 ORDER BY version";
        let applied = tx.query(sql, params![self.namespace]).await?;
        if applied.len() > self.steps.len() {
            return Err(Error::failed_precondition(format!(
                "the tables of {:?} are at version {}, this program knows up to {}; upgrade mlops",
                self.namespace,
                applied.len(),
                self.steps.len()
            )));
        }
        for (row, step) in applied.iter().zip(self.steps) {
            if row.get::<String>("digest")? != digest(step).to_string() {
                return Err(Error::failed_precondition(format!(
                    "migration {} {:?} of {:?} was applied with another text; the database belongs to another program",
                    step.version, step.name, self.namespace
                )));
            }
        }
        for step in self.steps.iter().skip(applied.len()) {
            self.apply_step(tx, step).await?;
        }
        Ok(())
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}

impl Migrations {
    async fn apply_step(&self, tx: &mut dyn Transaction, step: &Migration) -> Result<()> {
        let dialect = tx.dialect();
        let sql = dialect.translate(step.sql);
        for statement in sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
            let (statement, wanted) = match statement.strip_prefix("{sqlite}") {
                Some(statement) => (statement, dialect == Dialect::Sqlite),
                None => (statement, true),
            };
            if wanted {
                tx.execute(statement.trim_end_matches(';'), &[]).await?;
            }
        }
        let sql = "INSERT INTO mlops_migration VALUES ($1, $2, $3, $4) RETURNING version";
        let values = params![self.namespace, step.version, step.name, digest(step).to_string()];
        tx.query_one(sql, values).await.map(drop)
    }
}

fn digest(step: &Migration) -> Digest {
    Digest::of(step.sql.as_bytes())
}
