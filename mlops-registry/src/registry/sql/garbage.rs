//! Collecting blobs that nothing refers to.
//!
//! Invariant: a blob is deleted only after a transaction saw that nothing refers to it and condemned it; who is about
//! to refer to it waits until it is gone (see `upload.rs`). One collector at a time: it holds a lease, and deletes
//! nothing when less than half of it is left, so that a deletion of a stalled collector never comes after the next
//! collector told the waiting that the blob is gone.

use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use mlops_core::{Action, Digest, Error, Result, ResultExt as _, Timestamp};
use mlops_store::{Transaction, TransactionExt as _, blob::BlobEntry, params};

use super::{
    SqlModelRegistry, all_models,
    upload::{UPLOAD_MAX, index_package},
};
use crate::{
    registry::garbage::{CollectGarbage, GarbageCollector, GarbageReport},
    retry::on_conflict,
};

/// Blobs that are looked at in one transaction.
const BATCH: usize = 256;
/// Deletions on their way at the same time.
const DELETIONS_MAX: usize = 8;
/// How long a collector may be silent before another takes over.
const LEASE: Duration = Duration::from_secs(600);

const REACHABLE: &str = "SELECT 1 AS found FROM registry_package_blob b WHERE b.blob = $1 AND (
        EXISTS (SELECT 1 FROM registry_version v WHERE v.digest = b.package)
        OR EXISTS (SELECT 1 FROM registry_trash_package t WHERE t.package = b.package)) LIMIT 1";
const PINNED: &str = "SELECT 1 AS found FROM registry_pin WHERE blob = $1 LIMIT 1";
/// Packages that versions or the trash refer to and whose blobs are not written down.
const UNINDEXED: &str = "SELECT DISTINCT digest FROM registry_version v WHERE v.digest IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM registry_package_blob b WHERE b.package = v.digest)";

/// A collector's right to delete.
#[derive(Debug, Clone, Copy)]
struct Lease {
    run: u64,
    /// By the monotonic clock.
    renewed: Duration,
}

#[async_trait]
impl GarbageCollector for SqlModelRegistry {
    async fn collect_garbage(&self, options: &CollectGarbage) -> Result<GarbageReport> {
        self.authorize_on(&options.actor, Action::Delete, &all_models()).await?;
        self.index_old_packages().await?;
        let mut lease = None;
        if !options.dry_run {
            let mut held = on_conflict!(self.take_lease())?;
            self.finish_condemned(&mut held).await?;
            lease = Some(held);
        }
        let outcome = self.collect(options, lease.as_mut()).await;
        if let Some(lease) = lease {
            self.give_up_lease(&lease).await;
        }
        outcome
    }
}

impl SqlModelRegistry {
    async fn collect(&self, options: &CollectGarbage, mut lease: Option<&mut Lease>) -> Result<GarbageReport> {
        let mut report = GarbageReport::default();
        let cutoff = self.clock.now() - options.grace;
        let mut listing = self.blobs.list();
        let mut batch: Vec<BlobEntry> = Vec::with_capacity(BATCH);
        loop {
            let entry = listing.try_next().await?;
            let done = entry.is_none();
            if let Some(entry) = entry {
                report.stored.add(entry.bytes);
                match entry.stored > cutoff {
                    true => report.young.add(entry.bytes),
                    false => batch.push(entry),
                }
            }
            if batch.len() >= BATCH || (done && !batch.is_empty()) {
                self.collect_batch(&batch, lease.as_deref_mut(), options, &mut report).await?;
                batch.clear();
            }
            if done {
                return Ok(report);
            }
        }
    }

    async fn collect_batch(
        &self,
        batch: &[BlobEntry],
        lease: Option<&mut Lease>,
        options: &CollectGarbage,
        report: &mut GarbageReport,
    ) -> Result<()> {
        let held = lease.as_deref().copied();
        let garbage = on_conflict!(self.condemn(batch, held, options))?;
        for entry in batch {
            match garbage.contains(&entry.digest) {
                true => report.garbage.add(entry.bytes),
                false => report.reachable.add(entry.bytes),
            }
        }
        match lease {
            Some(lease) if !garbage.is_empty() => {
                lease.renewed = self.clock.monotonic();
                self.delete_condemned(&garbage, lease).await
            }
            _ => Ok(()),
        }
    }

    /// Which of the blobs are garbage; with a lease they are condemned. Without one nothing is written.
    async fn condemn(
        &self,
        batch: &[BlobEntry],
        lease: Option<Lease>,
        options: &CollectGarbage,
    ) -> Result<Vec<Digest>> {
        let mut tx = self.meta.begin().await?;
        if let Some(lease) = &lease {
            self.renew_lease(tx.as_mut(), lease).await?;
            void_old_pins(tx.as_mut(), self.clock.now() - UPLOAD_MAX).await?;
        }
        if !tx.query(&format!("{UNINDEXED} LIMIT 1"), &[]).await?.is_empty() {
            return Err(Error::failed_precondition(
                "an older program registered a version while garbage was collected; upgrade it, then collect again",
            ));
        }
        let (mut garbage, mut bytes) = (Vec::new(), 0_u64);
        for entry in batch {
            let blob = entry.digest.to_string();
            let needed = tx.query_opt(REACHABLE, params![&blob]).await?.is_some()
                || tx.query_opt(PINNED, params![&blob]).await?.is_some();
            if needed {
                continue;
            }
            if lease.is_some() {
                let sql = "INSERT INTO registry_condemned (blob) VALUES ($1) ON CONFLICT (blob) DO NOTHING";
                tx.execute(sql, params![&blob]).await?;
                tx.execute("DELETE FROM registry_package_blob WHERE package = $1", params![&blob]).await?;
            }
            garbage.push(entry.digest);
            bytes = bytes.saturating_add(entry.bytes);
        }
        if lease.is_some() {
            if !garbage.is_empty() {
                let details = [("garbage_blobs", garbage.len().to_string()), ("garbage_bytes", bytes.to_string())];
                self.record_on(tx.as_mut(), (&options.actor, Action::Delete, all_models()), details).await?;
            }
            tx.commit().await?;
        }
        Ok(garbage)
    }

    async fn delete_condemned(&self, blobs: &[Digest], lease: &Lease) -> Result<()> {
        let mut deletions: Vec<BoxFuture<'_, Result<()>>> = Vec::with_capacity(blobs.len());
        for blob in blobs {
            deletions.push(self.delete_within(blob, lease).boxed());
        }
        let mut deleted = stream::iter(deletions).buffer_unordered(DELETIONS_MAX);
        while deleted.try_next().await?.is_some() {}
        on_conflict!(self.forget_condemned(blobs))
    }

    async fn forget_condemned(&self, blobs: &[Digest]) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        for blob in blobs {
            tx.execute("DELETE FROM registry_condemned WHERE blob = $1", params![blob.to_string()]).await?;
        }
        tx.commit().await
    }

    async fn delete_within(&self, blob: &Digest, lease: &Lease) -> Result<()> {
        if self.clock.monotonic().saturating_sub(lease.renewed) > LEASE / 2 {
            return Err(Error::deadline_exceeded("a batch of garbage took too long to delete; collect again"));
        }
        self.blobs.delete(blob).await
    }

    /// Deletes what a collector that was cut off had condemned.
    async fn finish_condemned(&self, lease: &mut Lease) -> Result<()> {
        loop {
            let sql = format!("SELECT blob FROM registry_condemned ORDER BY blob LIMIT {BATCH}");
            let rows = self.meta.query(&sql, &[]).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let blobs = rows.iter().map(|row| row.get::<String>("blob")?.parse()).collect::<Result<Vec<_>>>()?;
            let held = *lease;
            on_conflict!(self.hold_lease(&held))?;
            lease.renewed = self.clock.monotonic();
            self.delete_condemned(&blobs, lease).await?;
        }
    }

    /// Writes down the blobs of packages that were registered before that was done.
    async fn index_old_packages(&self) -> Result<()> {
        for row in self.meta.query(UNINDEXED, &[]).await? {
            let package: Digest = row.get::<String>("digest")?.parse()?;
            let manifest = self.read_manifest(&package).await.context("what a version refers to cannot be known")?;
            let blobs: Vec<Digest> = manifest.files.into_values().chain([package]).collect();
            on_conflict!(self.index_old_package(&package, &blobs))?;
        }
        Ok(())
    }

    async fn index_old_package(&self, package: &Digest, blobs: &[Digest]) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        index_package(tx.as_mut(), package, blobs).await?;
        tx.commit().await
    }

    async fn hold_lease(&self, lease: &Lease) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        self.renew_lease(tx.as_mut(), lease).await?;
        tx.commit().await
    }

    async fn take_lease(&self) -> Result<Lease> {
        let mut tx = self.meta.begin().await?;
        let now = self.clock.now();
        let found = tx.query_opt("SELECT run, until FROM registry_collector WHERE id = 1", &[]).await?;
        let run = match found {
            None => 1,
            Some(row) => {
                let until: Timestamp = row.get("until")?;
                if until > now {
                    if until > now + LEASE {
                        // The clock has gone back. Nobody deletes for longer than this from now on.
                        let sql = "UPDATE registry_collector SET until = $1 WHERE id = 1";
                        tx.execute(sql, params![now + LEASE]).await?;
                        tx.commit().await?;
                    }
                    let until = until.min(now + LEASE);
                    return Err(Error::failed_precondition(format!(
                        "another collection of garbage runs, or was cut off; try again after {until}"
                    )));
                }
                row.get::<u64>("run")? + 1
            }
        };
        let sql = "INSERT INTO registry_collector (id, run, until) VALUES (1, $1, $2)
            ON CONFLICT (id) DO UPDATE SET run = excluded.run, until = excluded.until";
        tx.execute(sql, params![run, now + LEASE]).await?;
        tx.commit().await?;
        Ok(Lease { run, renewed: self.clock.monotonic() })
    }

    async fn renew_lease(&self, tx: &mut dyn Transaction, lease: &Lease) -> Result<()> {
        let sql = "UPDATE registry_collector SET until = $1 WHERE id = 1 AND run = $2";
        if tx.execute(sql, params![self.clock.now() + LEASE, lease.run]).await? == 0 {
            return Err(Error::failed_precondition("another collection of garbage took over; collect again later"));
        }
        Ok(())
    }

    /// Lets the next collector begin at once. Should this fail, it waits for the lease to end.
    async fn give_up_lease(&self, lease: &Lease) {
        let outcome = on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            let sql = "UPDATE registry_collector SET until = 0 WHERE id = 1 AND run = $1";
            tx.execute(sql, params![lease.run]).await?;
            tx.commit().await
        });
        if let Err(error) = outcome {
            tracing::warn!(error = %error.chain(), "the lease of a garbage collection stays until it ends");
        }
    }
}

/// Uploads that took too long cannot be registered any more (see `settle`).
async fn void_old_pins(tx: &mut dyn Transaction, before: Timestamp) -> Result<()> {
    let sql = "DELETE FROM registry_pin WHERE upload IN (SELECT id FROM registry_upload WHERE at < $1)";
    tx.execute(sql, params![before]).await?;
    tx.execute("DELETE FROM registry_upload WHERE at < $1", params![before]).await.map(drop)
}
