//! A model read and written as one value.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use mlops_core::{Action, Alias, Digest, Error, ErrorKind, Fact, ModelName, PackageManifest, Result, Version};
use mlops_store::{Row, Transaction, TransactionExt as _, Value, params};

use super::{
    SqlModelRegistry,
    alias::{current, read_move, write_alias, write_move},
    model::set_tag,
    policy::Candidate,
    read_tags,
    upload::{Upload, settle},
    version::{DELETED, PURGED, read_row, set_version_tag},
};
use crate::{
    access::{ResourceKind, check_own_name},
    bundle::{Bundles, Deletion, ImportModel, Imported, ModelRecord, VersionRecord},
    registry::{
        package::{BlobSource, read_manifest},
        record::{Actor, AliasMove, RegisteredModel},
    },
    retry::on_conflict,
};

#[async_trait]
impl Bundles for SqlModelRegistry {
    async fn export_model(&self, model: &ModelName) -> Result<ModelRecord> {
        let mut tx = self.meta.begin().await?;
        let mut record = self.read_record(tx.as_mut(), model).await?;
        record.versions.retain(|version| version.deletion.is_none());
        Ok(record)
    }

    async fn import_model(
        &self,
        record: &ModelRecord,
        from: &dyn BlobSource,
        options: &ImportModel,
    ) -> Result<Imported> {
        record.check()?;
        let name = &record.model.name;
        self.authorize(&options.actor, Action::Write, name).await?;
        if options.aliases && !record.model.aliases.is_empty() {
            self.authorize(&options.actor, Action::Promote, name).await?;
        }
        let mut imported = Imported::default();
        let mut packages = Packages::default();
        let outcome = async {
            for digest in record.packages() {
                let (manifest, _) = read_manifest(from, &digest).await?;
                let upload = self.pin(&digest, &manifest).await?;
                packages.manifests.insert(digest, manifest);
                packages.uploads.push(upload);
                let Some(upload) = packages.uploads.last() else { continue };
                let copied = self.copy_blobs(upload, from).await?;
                imported.blobs_copied += copied.blobs;
                imported.bytes_copied += copied.bytes;
            }
            on_conflict!(self.try_import(record, &packages, options))
        };
        let outcome = outcome.await;
        if outcome.is_err() {
            for upload in &packages.uploads {
                self.abandon(upload).await;
            }
        }
        self.announce_import(record, &outcome?, &mut imported).await;
        Ok(imported)
    }

    fn as_blob_source(&self) -> &dyn BlobSource {
        self
    }
}

/// The packages of a record, copied and pinned.
#[derive(Debug, Default)]
struct Packages {
    manifests: BTreeMap<Digest, PackageManifest>,
    uploads: Vec<Upload>,
}

impl SqlModelRegistry {
    /// Everything about a model, deleted versions included.
    pub(super) async fn read_record(&self, tx: &mut dyn Transaction, model: &ModelName) -> Result<ModelRecord> {
        self.require_model(tx, model).await?;
        let name: &[Value] = params![model.as_str()];
        let row = tx.query_one("SELECT * FROM registry_model WHERE name = $1", name).await?;
        let tags = tx.query("SELECT key, value FROM registry_model_tag WHERE model = $1", name).await?;
        let aliases =
            tx.query("SELECT alias, version FROM registry_alias WHERE model = $1 ORDER BY alias", name).await?;
        let pair = |row: &Row| -> Result<(Alias, Version)> {
            Ok((row.get::<String>("alias")?.parse()?, Version(row.get("version")?)))
        };
        let aliases: BTreeMap<Alias, Version> = aliases.iter().map(pair).collect::<Result<_>>()?;
        let versions = read_versions(tx, name, &aliases).await?;
        let moves = tx.query("SELECT * FROM registry_alias_move WHERE model = $1 ORDER BY seq", name).await?;
        let model = RegisteredModel {
            name: model.clone(),
            description: row.get("description")?,
            created: row.get("created")?,
            updated: row.get("updated")?,
            last_version: row.get("last_version")?,
            tags: read_tags(&tags)?,
            aliases,
        };
        Ok(ModelRecord { model, versions, moves: moves.iter().map(read_move).collect::<Result<_>>()? })
    }

    /// Writes a record in one transaction; gives the numbers that are new.
    async fn try_import(
        &self,
        record: &ModelRecord,
        packages: &Packages,
        options: &ImportModel,
    ) -> Result<Vec<Version>> {
        let mut tx = self.meta.begin().await?;
        for upload in &packages.uploads {
            settle(tx.as_mut(), upload).await?;
        }
        self.write_model(tx.as_mut(), &record.model).await?;
        let added = write_versions(tx.as_mut(), record).await?;
        if options.history {
            write_moves(tx.as_mut(), record).await?;
        }
        if options.aliases {
            self.import_aliases(tx.as_mut(), (record, packages), &options.actor).await?;
        }
        let details = [
            ("imported", added.len().to_string()),
            ("versions", record.versions.len().to_string()),
            ("aliases", if options.aliases { record.model.aliases.len().to_string() } else { "0".to_owned() }),
        ];
        self.record(tx.as_mut(), (&options.actor, Action::Write, &record.model.name), details).await?;
        tx.commit().await?;
        Ok(added)
    }

    /// Creates the model, or leaves the one that is there but for its highest number.
    pub(super) async fn write_model(&self, tx: &mut dyn Transaction, model: &RegisteredModel) -> Result<()> {
        let name = model.name.as_str();
        let found = tx.query_opt("SELECT name FROM registry_model WHERE name = $1", params![name]).await?;
        if found.is_some() {
            let sql = "UPDATE registry_model SET last_version = $1 WHERE name = $2 AND last_version < $1";
            return tx.execute(sql, params![model.last_version, name]).await.map(drop);
        }
        check_own_name(ResourceKind::RegisteredModel, name)?;
        let sql = "INSERT INTO registry_model (name, description, created, updated, last_version)
            VALUES ($1, $2, $3, $4, $5)";
        tx.execute(sql, params![name, &model.description, model.created, model.updated, model.last_version]).await?;
        for (key, value) in &model.tags {
            let (sql, values) = set_tag(&model.name, key, value);
            tx.execute(&sql, &values).await?;
        }
        Ok(())
    }

    async fn import_aliases(
        &self,
        tx: &mut dyn Transaction,
        (record, packages): (&ModelRecord, &Packages),
        actor: &Actor,
    ) -> Result<()> {
        let model = &record.model.name;
        for (alias, version) in &record.model.aliases {
            let from = current(tx, model, alias).await?;
            if from == Some(*version) {
                continue;
            }
            if let Some(other) = from {
                return Err(Error::already_exists(format!(
                    "alias \"{alias}\" of model \"{model}\" points at version {other}, in the bundle at {version}; \
                     delete it first, or import without aliases"
                )));
            }
            let found = record.versions.iter().find(|found| found.version.version == *version);
            let digest = found.and_then(|found| found.version.source.digest());
            let manifest = digest.and_then(|digest| packages.manifests.get(&digest)).cloned();
            let candidate = Candidate { version: *version, digest, manifest };
            let approval = self.admit(tx, (model, alias, actor), Some(&candidate)).await?;
            let alias_move = AliasMove {
                model: model.clone(),
                alias: alias.clone(),
                from: None,
                to: Some(*version),
                at: self.clock.now(),
                actor: actor.0.name.clone(),
                reason: "imported".to_owned(),
            };
            write_alias(tx, &alias_move).await?;
            // The history of the bundle ends with this move already when it came along.
            let last = record.moves.iter().rev().find(|step| step.alias == *alias);
            if last.is_none_or(|step| step.to != Some(*version)) {
                write_move(tx, &alias_move).await?;
            }
            let details = [("alias", alias.to_string()), ("from", String::new()), ("to", version.to_string())];
            let details = details.into_iter().chain([("reason", "imported".to_owned())]);
            let details = details.chain(approval.map(|approval| ("approval", approval.to_string())));
            self.record(tx, (actor, Action::Promote, model), details).await?;
        }
        Ok(())
    }

    async fn announce_import(&self, record: &ModelRecord, added: &[Version], imported: &mut Imported) {
        imported.versions_added = added.len() as u64;
        imported.versions_present = (record.versions.len() - added.len()) as u64;
        for found in record.versions.iter().map(|found| &found.version) {
            if let (true, Some(digest)) = (added.contains(&found.version), found.source.digest()) {
                let (model, version) = (found.model.clone(), found.version);
                self.announce(Fact::ModelVersionCreated { model, version, digest }).await;
            }
        }
    }
}

async fn read_versions(
    tx: &mut dyn Transaction,
    name: &[Value],
    aliases: &BTreeMap<Alias, Version>,
) -> Result<Vec<VersionRecord>> {
    let mut tags: BTreeMap<u64, BTreeMap<String, String>> = BTreeMap::new();
    for row in tx.query("SELECT version, key, value FROM registry_version_tag WHERE model = $1", name).await? {
        tags.entry(row.get("version")?).or_default().insert(row.get("key")?, row.get("value")?);
    }
    let sql = "SELECT * FROM registry_version WHERE model = $1 AND deleted < 2 ORDER BY version";
    let read = |row: &Row| -> Result<VersionRecord> {
        let number: u64 = row.get("version")?;
        let names = aliases.iter().filter(|(_, to)| to.0 == number).map(|(alias, _)| alias.clone()).collect();
        Ok(VersionRecord {
            version: read_row(row, tags.get(&number).cloned().unwrap_or_default(), names)?,
            idempotency_key: row.get("idempotency_key")?,
            deletion: read_deletion(row)?,
        })
    };
    tx.query(sql, name).await?.iter().map(read).collect()
}

/// Who deleted a version; versions deleted by an older program do not say.
pub(super) fn read_deletion(row: &Row) -> Result<Option<Deletion>> {
    if !row.get::<bool>("deleted")? {
        return Ok(None);
    }
    let at = match row.get("deleted_at")? {
        Some(at) => at,
        None => row.get("updated")?,
    };
    Ok(Some(Deletion { at, by: row.get::<Option<String>>("deleted_by")?.unwrap_or_default() }))
}

/// Writes the versions that are not there yet, under their numbers.
pub(super) async fn write_versions(tx: &mut dyn Transaction, record: &ModelRecord) -> Result<Vec<Version>> {
    let mut added = Vec::new();
    for found in &record.versions {
        let version = &found.version;
        let (model, number) = (&version.model, version.version);
        let sql = "SELECT source, deleted FROM registry_version WHERE model = $1 AND version = $2";
        if let Some(row) = tx.query_opt(sql, params![model.as_str(), number.0]).await? {
            if row.get::<i64>("deleted")? != PURGED && row.get::<String>("source")? != version.source.to_uri() {
                return Err(Error::already_exists(format!(
                    "version {number} of model \"{model}\" is another one here; import under another name"
                )));
            }
            continue;
        }
        insert_version(tx, found).await.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Error::already_exists(format!(
                "the idempotency key of version {number} of model \"{model}\" was used for another version here"
            )),
            _ => error,
        })?;
        added.push(number);
    }
    Ok(added)
}

async fn insert_version(tx: &mut dyn Transaction, record: &VersionRecord) -> Result<()> {
    let version = &record.version;
    let sql = "INSERT INTO registry_version (model, version, source, digest, run_id, run_link, description, created_by,
        created, updated, idempotency_key, deleted, deleted_at, deleted_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let deletion = record.deletion.as_ref();
    let values = params![
        version.model.as_str(),
        version.version.0,
        version.source.to_uri(),
        version.source.digest().map(|digest| digest.to_string()),
        version.run_id.as_ref().map(|id| id.to_string()),
        &version.run_link,
        &version.description,
        &version.created_by,
        version.created,
        version.updated,
        record.idempotency_key.clone(),
        deletion.map_or(0, |_| DELETED),
        deletion.map(|deletion| deletion.at),
        deletion.map(|deletion| deletion.by.clone())
    ];
    tx.execute(sql, values).await?;
    for (key, value) in &version.tags {
        let (sql, values) = set_version_tag(&version.model, version.version, key, value);
        tx.execute(&sql, &values).await?;
    }
    Ok(())
}

/// Writes the moves that are not there yet.
async fn write_moves(tx: &mut dyn Transaction, record: &ModelRecord) -> Result<()> {
    let sql = "SELECT * FROM registry_alias_move WHERE model = $1 ORDER BY seq";
    let there = tx.query(sql, params![record.model.name.as_str()]).await?;
    let there: HashSet<AliasMove> = there.iter().map(read_move).collect::<Result<_>>()?;
    for step in record.moves.iter().filter(|step| !there.contains(step)) {
        write_move(tx, step).await?;
    }
    Ok(())
}
