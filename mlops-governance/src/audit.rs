//! The audit log in the metadata database.
//!
//! Invariant: entries are numbered from 1 without gaps and chained by hash; the database itself refuses to change or
//! delete a row, and whoever goes around it breaks the chain.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{AuditEntry, AuditSink, Digest, Error, ErrorKind, Result};
use mlops_store::{
    Dialect, MetaStore, MetaStoreExt as _, Migration, Migrations, Row, Transaction, TransactionExt as _,
    TransactionalAudit, params,
};

use crate::chain::{ChainedEntry, GENESIS, Verification, Verifier};

const MIGRATIONS: Migrations = Migrations {
    namespace: "audit",
    steps: &[Migration {
        version: 1,
        name: "log",
        sql: "CREATE TABLE audit_log (
    sequence BIGINT PRIMARY KEY,
    entry TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
",
    }],
};

/// SQLite refuses changes by triggers; in PostgreSQL grant the program INSERT and SELECT only.
const SQLITE_GUARDS: [&str; 2] = [
    "CREATE TRIGGER IF NOT EXISTS audit_log_no_update BEFORE UPDATE ON audit_log
        BEGIN SELECT RAISE(ABORT, 'audit entries cannot be changed'); END",
    "CREATE TRIGGER IF NOT EXISTS audit_log_no_delete BEFORE DELETE ON audit_log
        BEGIN SELECT RAISE(ABORT, 'audit entries cannot be deleted'); END",
];

/// Entries read at a time while verifying or exporting.
const PAGE: u64 = 1_000;
/// How often an append that lost a race is repeated.
const ATTEMPTS_MAX: u32 = 64;

/// An append-only, hash-chained log of governed actions.
#[derive(Debug, Clone)]
pub struct AuditLog {
    meta: Arc<dyn MetaStore>,
}

fn read_link(row: &Row) -> Result<ChainedEntry> {
    Ok(ChainedEntry {
        sequence: row.get("sequence")?,
        entry: row.get("entry")?,
        previous: row.get::<String>("previous")?.parse()?,
        hash: row.get::<String>("hash")?.parse()?,
    })
}

impl AuditLog {
    /// Opens the log in `meta`, creating its table.
    ///
    /// # Errors
    /// `FailedPrecondition` when the table is of a newer version, `Unavailable` when the database cannot be reached.
    pub async fn open(meta: Arc<dyn MetaStore>) -> Result<Self> {
        meta.migrate(&MIGRATIONS).await?;
        if meta.dialect() == Dialect::Sqlite {
            let mut tx = meta.begin().await?;
            for guard in SQLITE_GUARDS {
                tx.execute(guard, &[]).await?;
            }
            tx.commit().await?;
        }
        Ok(Self { meta })
    }

    /// Entries with numbers from `first`, in order, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be read, `DataLoss` when a row is not one of ours.
    pub async fn entries(&self, first: u64, limit: u64) -> Result<Vec<ChainedEntry>> {
        let sql = "SELECT * FROM audit_log WHERE sequence >= $1 ORDER BY sequence LIMIT $2";
        let rows = self.meta.query(sql, params![first, limit]).await?;
        rows.iter().map(read_link).collect()
    }

    /// Follows the whole chain.
    ///
    /// # Errors
    /// `DataLoss` naming the first entry that was changed, removed, added or moved.
    pub async fn verify(&self) -> Result<Verification> {
        let mut verifier = Verifier::new();
        let mut first = 0;
        loop {
            let page = self.entries(first, PAGE).await?;
            let Some(last) = page.last() else { return Ok(verifier.finish()) };
            first = last.sequence + 1;
            page.iter().try_for_each(|link| verifier.next(link))?;
        }
    }

    /// As [`AuditLog::verify`], and that the log still holds what it held at an earlier verification: a log that was
    /// cut off at the end does not.
    ///
    /// # Errors
    /// `DataLoss` as there, or when the earlier head is no longer part of the chain.
    pub async fn verify_against(&self, earlier: &Verification) -> Result<Verification> {
        let now = self.verify().await?;
        if earlier.entries == 0 {
            return Ok(now);
        }
        let then = self.entries(earlier.entries, 1).await?.into_iter().find(|link| link.sequence == earlier.entries);
        match then {
            Some(link) if link.hash == earlier.head => Ok(now),
            _ => Err(Error::data_loss(format!(
                "audit log had {} entries with another head; entries were removed or replaced since",
                earlier.entries
            ))),
        }
    }

    /// The log as JSON lines, for [`crate::verify_export`].
    ///
    /// # Errors
    /// As [`AuditLog::entries`].
    pub async fn export(&self) -> Result<String> {
        let (mut text, mut first) = (String::new(), 0);
        loop {
            let page = self.entries(first, PAGE).await?;
            let Some(last) = page.last() else { return Ok(text) };
            first = last.sequence + 1;
            for link in &page {
                let line = serde_json::to_string(link)
                    .map_err(|error| Error::internal("audit entry is not JSON").with_source(error))?;
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
}

#[async_trait]
impl TransactionalAudit for AuditLog {
    async fn append_in(&self, tx: &mut dyn Transaction, entry: &AuditEntry) -> Result<()> {
        let json = serde_json::to_string(entry)
            .map_err(|error| Error::internal("audit entry is not JSON").with_source(error))?;
        let sql = "SELECT sequence, hash FROM audit_log ORDER BY sequence DESC LIMIT 1";
        let (sequence, previous) = match tx.query_opt(sql, &[]).await? {
            Some(row) => (row.get::<u64>("sequence")?, row.get::<String>("hash")?.parse::<Digest>()?),
            None => (0, GENESIS),
        };
        let link = ChainedEntry::after(previous, sequence + 1, json);
        let sql = "INSERT INTO audit_log (sequence, entry, previous, hash) VALUES ($1, $2, $3, $4)";
        let values = params![link.sequence, &link.entry, link.previous.to_string(), link.hash.to_string()];
        let inserted = tx.execute(sql, values).await;
        inserted.map(drop).map_err(|error| match error.kind() {
            // Someone else took the number: the transaction lost a race and can be repeated.
            ErrorKind::AlreadyExists => Error::conflict("a concurrent audit entry was faster").with_source(error),
            _ => error,
        })
    }
}

#[async_trait]
impl AuditSink for AuditLog {
    async fn append(&self, entry: AuditEntry) -> Result<()> {
        let mut tried = 0;
        loop {
            let attempt = async {
                let mut tx = self.meta.begin().await?;
                self.append_in(tx.as_mut(), &entry).await?;
                tx.commit().await
            };
            tried += 1;
            match attempt.await {
                Err(error) if error.kind() == ErrorKind::Conflict && tried < ATTEMPTS_MAX => {}
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mlops_core::{Action, Principal, Resource, Timestamp};
    use mlops_store::SqliteMetaStore;

    use super::*;

    fn entry(n: i64) -> AuditEntry {
        AuditEntry {
            at: Timestamp::from_millis(n),
            principal: Principal::new("ann"),
            action: Action::Promote,
            resource: Resource::new("model", "fraud"),
            details: BTreeMap::new(),
        }
    }

    async fn keeps_its_promises(meta: Arc<dyn MetaStore>) {
        let log = AuditLog::open(Arc::clone(&meta)).await.unwrap();
        let tasks: Vec<_> = (0..12)
            .map(|n| {
                let log = log.clone();
                tokio::spawn(async move { log.append(entry(n)).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let first = log.verify().await.unwrap();
        assert_eq!(first.entries, 12);
        let mut tx = meta.begin().await.unwrap();
        log.append_in(tx.as_mut(), &entry(99)).await.unwrap();
        drop(tx);
        assert_eq!(log.verify().await.unwrap(), first, "an abandoned transaction leaves no entry");
        assert_eq!(crate::verify_export(&log.export().await.unwrap()).unwrap(), first);
        log.append(entry(100)).await.unwrap();
        assert_eq!(log.verify_against(&first).await.unwrap().entries, 13);
        assert_eq!(log.entries(13, 5).await.unwrap()[0].entry().unwrap(), entry(100));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn sqlite_log_keeps_its_promises() {
        let dir = tempfile::tempdir().unwrap();
        let meta =
            SqliteMetaStore::open(&dir.path().join("m.db"), mlops_store::SqliteSettings::default()).await.unwrap();
        keeps_its_promises(Arc::new(meta)).await;
    }

    #[cfg(feature = "postgres")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn postgres_log_keeps_its_promises() {
        let Ok(url) = std::env::var("MLOPS_TEST_POSTGRES") else {
            println!("skipped: MLOPS_TEST_POSTGRES names no server");
            return;
        };
        let admin = mlops_store::PostgresMetaStore::connect(&url, 1).await.unwrap();
        let schema = format!("audit_{}", std::process::id());
        admin.execute(&format!("CREATE SCHEMA {schema}"), &[]).await.unwrap();
        let join = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{join}options=-csearch_path%3D{schema}");
        keeps_its_promises(Arc::new(mlops_store::PostgresMetaStore::connect(&url, 4).await.unwrap())).await;
    }

    #[tokio::test]
    async fn rows_cannot_be_changed_and_tampering_around_the_guard_is_named() {
        let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
        let log = AuditLog::open(Arc::clone(&meta) as _).await.unwrap();
        for n in 0..3 {
            log.append(entry(n)).await.unwrap();
        }
        let before = log.verify().await.unwrap();
        assert!(
            meta.execute("UPDATE audit_log SET entry = 'x'", &[])
                .await
                .unwrap_err()
                .message()
                .contains("cannot be changed")
        );
        assert!(meta.execute("DELETE FROM audit_log", &[]).await.unwrap_err().message().contains("cannot be deleted"));
        for trigger in ["audit_log_no_update", "audit_log_no_delete"] {
            meta.execute(&format!("DROP TRIGGER {trigger}"), &[]).await.unwrap();
        }
        meta.execute("DELETE FROM audit_log WHERE sequence = 3", &[]).await.unwrap();
        assert_eq!(log.verify().await.unwrap().entries, 2, "a cut end alone does not show");
        assert!(log.verify_against(&before).await.unwrap_err().message().contains("had 3 entries"));
        meta.execute("UPDATE audit_log SET entry = replace(entry, 'ann', 'bob') WHERE sequence = 2", &[])
            .await
            .unwrap();
        assert!(log.verify().await.unwrap_err().message().contains("entry 2: its content was changed"));
    }
}
