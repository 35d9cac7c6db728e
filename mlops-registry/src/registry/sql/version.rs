//! Versions: numbered without gaps, registered once per idempotency key, fetched by digest.

use std::collections::BTreeMap;

use mlops_core::{Action, Alias, Digest, Error, Fact, ModelName, ModelRef, ModelVersionId, Result, Selector, Version};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, params};

use super::{
    SqlModelRegistry, read_tags, tag,
    upload::{Upload, settle},
};
use crate::{
    limits::{DESCRIPTION_MAX, IDEMPOTENCY_KEY_MAX, LOCATION_MAX, check_length, check_tags},
    promotion::PROMOTED_FROM_TAG,
    registry::{
        change::ChangeKind,
        record::{Actor, CreateVersion, ModelVersion, VersionSource},
        stage::refuse_stage_tag,
    },
    retry::{Statement, on_conflict},
    search::{Fields, Operand},
    sql_store::touched,
};

impl Fields for ModelVersion {
    const GROUPS: &'static [(&'static str, &'static str)] = &[("tags", "tag")];
    const ATTRIBUTES: &'static [(&'static str, bool)] = &[
        ("name", false),
        ("run_id", false),
        ("source_path", false),
        ("version_number", true),
        ("creation_timestamp", true),
        ("last_updated_timestamp", true),
    ];
    const LISTED: &'static [&'static str] = &["name", "run_id"];
    const NULLABLE: &'static [&'static str] = &[];

    fn field(&self, group: &str, key: &str) -> Operand {
        match (group, key) {
            ("tags", key) => tag(&self.tags, key),
            (_, "name") => Operand::Text(self.model.to_string()),
            (_, "run_id") => self.run_id.as_ref().map_or(Operand::Missing, |id| Operand::Text(id.to_string())),
            (_, "source_path") => Operand::Text(self.source.to_uri()),
            (_, "version_number") => Operand::Number(self.version.0 as f64),
            (_, "creation_timestamp") => Operand::Number(self.created.as_millis() as f64),
            (_, _) => Operand::Number(self.updated.as_millis() as f64),
        }
    }
}

/// The values of column `deleted`: deleted and restorable; only the number is left.
pub(super) const DELETED: i64 = 1;
pub(super) const PURGED: i64 = 2;

pub(super) fn unknown(model: &ModelName, version: Version) -> Error {
    Error::not_found(format!("Model Version (name={model}, version={version}) not found"))
        .with("model", model)
        .with("version", version)
}

/// The row of an earlier registration with the same key: its version, or why it cannot be given again.
fn repeated(row: &Row, uri: &str, key: &str) -> Result<Version> {
    let purged = row.get::<i64>("deleted")? == PURGED;
    if !purged && row.get::<String>("source")? != uri {
        return Err(Error::already_exists(format!("idempotency key {key:?} was used for another package")));
    }
    if row.get::<bool>("deleted")? {
        return Err(Error::failed_precondition(format!("the version registered under key {key:?} was deleted")));
    }
    row.get("version").map(Version)
}

impl SqlModelRegistry {
    /// The digest of a version's package; none when the version is only a link.
    pub(super) async fn require_version(
        &self,
        tx: &mut dyn Transaction,
        model: &ModelName,
        version: Version,
    ) -> Result<Option<Digest>> {
        let sql = "SELECT digest FROM registry_version WHERE model = $1 AND version = $2 AND deleted = 0";
        let found = tx.query_opt(sql, params![model.as_str(), version.0]).await?;
        let digest: Option<String> = found.ok_or_else(|| unknown(model, version))?.get("digest")?;
        digest.map(|digest| digest.parse()).transpose()
    }

    /// Refuses what cannot be registered before bytes are moved for it.
    pub(super) async fn admit_version(
        &self,
        model: &ModelName,
        source: &VersionSource,
        options: &CreateVersion,
    ) -> Result<()> {
        check_length("description", &options.description, DESCRIPTION_MAX)?;
        check_length("run_link", &options.run_link, LOCATION_MAX)?;
        check_length("source", &source.to_uri(), LOCATION_MAX)?;
        check_length("idempotency_key", options.idempotency_key.as_deref().unwrap_or_default(), IDEMPOTENCY_KEY_MAX)?;
        check_tags(&options.tags)?;
        refuse_stage_tag(options.tags.keys().map(String::as_str))?;
        self.authorize(&options.actor, Action::Write, model).await?;
        self.read_model(model).await.map(drop)
    }

    /// The version, and whether it is new. Nothing is checked that [`Self::admit_version`] checks.
    pub(super) async fn register(
        &self,
        model: &ModelName,
        source: VersionSource,
        options: &CreateVersion,
        upload: Option<&Upload>,
    ) -> Result<(ModelVersion, bool)> {
        let (version, fresh) = on_conflict!(self.try_register(model, &source, options, upload))?;
        if let (true, Some(digest)) = (fresh, source.digest()) {
            self.announce(Fact::ModelVersionCreated { model: model.clone(), version, digest }).await;
        }
        Ok((self.read_version(model, version).await?, fresh))
    }

    async fn try_register(
        &self,
        model: &ModelName,
        source: &VersionSource,
        options: &CreateVersion,
        upload: Option<&Upload>,
    ) -> Result<(Version, bool)> {
        let mut tx = self.meta.begin().await?;
        self.require_model(tx.as_mut(), model).await?;
        if let Some(key) = &options.idempotency_key {
            let sql = "SELECT version, source, deleted FROM registry_version WHERE model = $1 AND idempotency_key = $2";
            if let Some(row) = tx.query_opt(sql, params![model.as_str(), key]).await? {
                return Ok((repeated(&row, &source.to_uri(), key)?, false));
            }
        }
        if let Some(upload) = upload {
            settle(tx.as_mut(), upload).await?;
        }
        let sql = format!(
            "UPDATE registry_model SET last_version = last_version + 1, {} WHERE name = $2 RETURNING last_version",
            touched(1)
        );
        let version: u64 = tx.query_one(&sql, params![self.now(), model.as_str()]).await?.get("last_version")?;
        let sql =
            "INSERT INTO registry_version (model, version, source, digest, run_id, run_link, description, created_by,
            created, updated, idempotency_key, deleted) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, 0)";
        let values = params![
            model.as_str(),
            version,
            source.to_uri(),
            source.digest().map(|digest| digest.to_string()),
            options.run_id.as_ref().map(|id| id.to_string()),
            &options.run_link,
            &options.description,
            &options.actor.0.name,
            self.now(),
            options.idempotency_key.clone()
        ];
        tx.execute(sql, values).await?;
        for (key, value) in &options.tags {
            let (sql, values) = set_version_tag(model, Version(version), key, value);
            tx.execute(&sql, &values).await?;
        }
        let details = [("version", version.to_string()), ("source", source.to_uri())];
        let origin = options.tags.get(PROMOTED_FROM_TAG).map(|from| ("promoted_from", from.clone()));
        self.record(tx.as_mut(), (&options.actor, Action::Write, model), details.into_iter().chain(origin)).await?;
        let created = ChangeKind::VersionCreated {
            version: Version(version),
            source: source.to_uri(),
            run_id: options.run_id.clone(),
            tags: options.tags.clone(),
            description: options.description.clone(),
        };
        self.note(tx.as_mut(), model, created).await?;
        tx.commit().await?;
        Ok((Version(version), true))
    }

    pub(super) async fn read_version(&self, model: &ModelName, version: Version) -> Result<ModelVersion> {
        let sql = "SELECT * FROM registry_version WHERE model = $1 AND version = $2 AND deleted = 0";
        let row = self.meta.query_opt(sql, params![model.as_str(), version.0]).await?;
        self.complete_version(&row.ok_or_else(|| unknown(model, version))?).await
    }

    pub(super) async fn complete_version(&self, row: &Row) -> Result<ModelVersion> {
        let (model, version): (ModelName, u64) = (row.get::<String>("model")?.parse()?, row.get("version")?);
        let sql = "SELECT key, value FROM registry_version_tag WHERE model = $1 AND version = $2";
        let tags = read_tags(&self.meta.query(sql, params![model.as_str(), version]).await?)?;
        let sql = "SELECT alias FROM registry_alias WHERE model = $1 AND version = $2 ORDER BY alias";
        let aliases = self.meta.query(sql, params![model.as_str(), version]).await?;
        let aliases = aliases.iter().map(|row| row.get::<String>("alias")?.parse()).collect::<Result<_>>()?;
        read_row(row, tags, aliases)
    }

    /// Says that a version has changed.
    pub(super) fn touch_version(&self, model: &ModelName, version: Version) -> Statement {
        let sql = format!("UPDATE registry_version SET {} WHERE model = $2 AND version = $3", touched(1));
        (sql, params![self.now(), model.as_str(), version.0].to_vec())
    }

    /// Runs statements on an existing version, marks it as changed, and tells what changes by it.
    pub(super) async fn change_version(
        &self,
        (model, version, actor): (&ModelName, Version, &Actor),
        statements: Vec<Statement>,
        changes: Vec<ChangeKind>,
    ) -> Result<()> {
        self.read_version(model, version).await?;
        let touch = self.touch_version(model, version);
        self.change_below((model, actor), statements.into_iter().chain([touch]).collect(), changes).await
    }

    pub(super) async fn remove_version(&self, model: &ModelName, version: Version, actor: &Actor) -> Result<()> {
        self.authorize(actor, Action::Delete, model).await?;
        on_conflict!(self.try_remove_version(model, version, actor))
    }

    async fn try_remove_version(&self, model: &ModelName, version: Version, actor: &Actor) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        self.require_version(tx.as_mut(), model, version).await?;
        let sql = "SELECT alias FROM registry_alias WHERE model = $1 AND version = $2 LIMIT 1";
        if let Some(row) = tx.query_opt(sql, params![model.as_str(), version.0]).await? {
            return Err(Error::failed_precondition(format!(
                "alias {:?} points at version {version} of model \"{model}\"; move or delete it first",
                row.get::<String>("alias")?
            )));
        }
        let sql = format!(
            "UPDATE registry_version SET deleted = $1, deleted_at = $2, deleted_by = $3, {}
            WHERE model = $4 AND version = $5",
            touched(2)
        );
        tx.execute(&sql, params![DELETED, self.now(), &actor.0.name, model.as_str(), version.0]).await?;
        let details = [("version", version.to_string())];
        self.record(tx.as_mut(), (actor, Action::Delete, model), details).await?;
        self.touch_model(tx.as_mut(), model).await?;
        tx.commit().await
    }

    pub(super) async fn resolve_reference(&self, reference: &ModelRef) -> Result<ModelVersionId> {
        let version = match &reference.selector {
            Selector::Version(version) => *version,
            Selector::Alias(alias) => self.alias_version(&reference.name, alias).await?,
            Selector::Latest => {
                let sql = "SELECT MAX(version) AS version FROM registry_version WHERE model = $1 AND deleted = 0";
                let row = self.meta.query_one(sql, params![reference.name.as_str()]).await?;
                let latest: Option<u64> = row.get("version")?;
                Version(latest.ok_or_else(|| Error::not_found(format!("model \"{}\" has no version", reference.name)))?)
            }
        };
        let found = self.read_version(&reference.name, version).await?;
        let digest = found.source.digest().ok_or_else(|| {
            Error::failed_precondition(format!(
                "version {version} of model \"{}\" is only a link to {}",
                found.model,
                found.source.to_uri()
            ))
        })?;
        Ok(ModelVersionId { name: found.model, version, digest })
    }
}

/// The version of a row, with what other tables hold of it.
pub(super) fn read_row(row: &Row, tags: BTreeMap<String, String>, aliases: Vec<Alias>) -> Result<ModelVersion> {
    let source = match row.get::<Option<String>>("digest")? {
        Some(digest) => VersionSource::Package(digest.parse()?),
        None => VersionSource::Uri(row.get("source")?),
    };
    Ok(ModelVersion {
        model: row.get::<String>("model")?.parse()?,
        version: Version(row.get("version")?),
        source,
        run_id: row.get::<Option<String>>("run_id")?.map(|id| id.parse()).transpose()?,
        run_link: row.get("run_link")?,
        description: row.get("description")?,
        created_by: row.get("created_by")?,
        created: row.get("created")?,
        updated: row.get("updated")?,
        tags,
        aliases,
    })
}

pub(super) fn set_version_tag(model: &ModelName, version: Version, key: &str, value: &str) -> Statement {
    let sql = "INSERT INTO registry_version_tag (model, version, key, value) VALUES ($1, $2, $3, $4)
        ON CONFLICT (model, version, key) DO UPDATE SET value = excluded.value";
    (sql.to_owned(), params![model.as_str(), version.0, key, value].to_vec())
}
