//! Registered models as rows.

use mlops_core::{Action, Alias, Error, ErrorKind, ModelName, Result, Version};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, params};

use super::{SqlModelRegistry, read_tags, tag};
use crate::{
    access::{ResourceKind, check_own_name},
    limits::{DESCRIPTION_MAX, check_length, check_tags},
    registry::{
        change::ChangeKind,
        record::{Actor, CreateModel, RegisteredModel},
    },
    retry::{Statement, on_conflict},
    search::{Fields, Operand},
    sql_store::touched,
};

impl Fields for RegisteredModel {
    const GROUPS: &'static [(&'static str, &'static str)] = &[("tags", "tag")];
    const ATTRIBUTES: &'static [(&'static str, bool)] =
        &[("name", false), ("timestamp", true), ("last_updated_timestamp", true), ("creation_timestamp", true)];
    const LISTED: &'static [&'static str] = &["name"];
    const NULLABLE: &'static [&'static str] = &[];

    fn field(&self, group: &str, key: &str) -> Operand {
        match (group, key) {
            ("tags", key) => tag(&self.tags, key),
            (_, "name") => Operand::Text(self.name.to_string()),
            (_, "creation_timestamp") => Operand::Number(self.created.as_millis() as f64),
            (_, _) => Operand::Number(self.updated.as_millis() as f64),
        }
    }
}

fn unknown(model: &ModelName) -> Error {
    Error::not_found(format!("Registered Model with name={model} not found")).with("model", model)
}

impl SqlModelRegistry {
    pub(super) async fn require_model(&self, tx: &mut dyn Transaction, model: &ModelName) -> Result<()> {
        let found = tx.query_opt("SELECT name FROM registry_model WHERE name = $1", params![model.as_str()]).await?;
        found.map(drop).ok_or_else(|| unknown(model))
    }

    pub(super) async fn touch_model(&self, tx: &mut dyn Transaction, model: &ModelName) -> Result<()> {
        let (sql, values) = self.touch(model);
        tx.execute(&sql, &values).await.map(drop)
    }

    /// Says that a model has changed.
    fn touch(&self, model: &ModelName) -> Statement {
        let sql = format!("UPDATE registry_model SET {} WHERE name = $2", touched(1));
        (sql, params![self.now(), model.as_str()].to_vec())
    }

    pub(super) async fn insert_model(&self, name: &ModelName, options: &CreateModel) -> Result<RegisteredModel> {
        check_length("description", &options.description, DESCRIPTION_MAX)?;
        check_tags(&options.tags)?;
        check_own_name(ResourceKind::RegisteredModel, name.as_str())?;
        self.authorize(&options.actor, Action::Write, name).await?;
        let outcome = on_conflict!(self.try_insert_model(name, options));
        match outcome {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::already_exists(format!("Registered Model (name={name}) already exists")).with("model", name))
            }
            outcome => {
                outcome?;
                self.read_model(name).await
            }
        }
    }

    async fn try_insert_model(&self, name: &ModelName, options: &CreateModel) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        let sql =
            "INSERT INTO registry_model (name, description, created, updated, last_version) VALUES ($1, $2, $3, $3, 0)";
        tx.execute(sql, params![name.as_str(), &options.description, self.now()]).await?;
        for (key, value) in &options.tags {
            let (sql, values) = set_tag(name, key, value);
            tx.execute(&sql, &values).await?;
        }
        let created = ChangeKind::ModelCreated { tags: options.tags.clone(), description: options.description.clone() };
        self.note(tx.as_mut(), name, created).await?;
        tx.commit().await
    }

    pub(super) async fn read_model(&self, name: &ModelName) -> Result<RegisteredModel> {
        let row = self.meta.query_opt("SELECT * FROM registry_model WHERE name = $1", params![name.as_str()]).await?;
        self.complete_model(&row.ok_or_else(|| unknown(name))?).await
    }

    async fn complete_model(&self, row: &Row) -> Result<RegisteredModel> {
        let name: ModelName = row.get::<String>("name")?.parse()?;
        let sql = "SELECT key, value FROM registry_model_tag WHERE model = $1";
        let tags = read_tags(&self.meta.query(sql, params![name.as_str()]).await?)?;
        let sql = "SELECT alias, version FROM registry_alias WHERE model = $1";
        let aliases = self.meta.query(sql, params![name.as_str()]).await?;
        let pair = |row: &Row| -> Result<(Alias, Version)> {
            Ok((row.get::<String>("alias")?.parse()?, Version(row.get("version")?)))
        };
        Ok(RegisteredModel {
            description: row.get("description")?,
            created: row.get("created")?,
            updated: row.get("updated")?,
            last_version: row.get("last_version")?,
            tags,
            aliases: aliases.iter().map(pair).collect::<Result<_>>()?,
            name,
        })
    }

    /// Runs statements on an existing model and marks it as changed.
    pub(super) async fn change_model(
        &self,
        (name, actor): (&ModelName, &Actor),
        statements: Vec<Statement>,
    ) -> Result<()> {
        self.change_and_note((name, actor), statements, Vec::new()).await
    }

    /// The same, and tells what changes by it.
    pub(super) async fn change_and_note(
        &self,
        (name, actor): (&ModelName, &Actor),
        mut statements: Vec<Statement>,
        changes: Vec<ChangeKind>,
    ) -> Result<()> {
        statements.push(self.touch(name));
        self.change_below((name, actor), statements, changes).await
    }

    /// Runs statements on what belongs to an existing model, which they do not change, and tells what changes by it.
    pub(super) async fn change_below(
        &self,
        (name, actor): (&ModelName, &Actor),
        statements: Vec<Statement>,
        changes: Vec<ChangeKind>,
    ) -> Result<()> {
        self.authorize(actor, Action::Write, name).await?;
        on_conflict!(self.try_change_model(name, &statements, &changes))
    }

    async fn try_change_model(&self, name: &ModelName, statements: &[Statement], changes: &[ChangeKind]) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        self.require_model(tx.as_mut(), name).await?;
        for (sql, values) in statements {
            tx.execute(sql, values).await?;
        }
        for change in changes {
            self.note(tx.as_mut(), name, change.clone()).await?;
        }
        tx.commit().await
    }

    pub(super) async fn rename(
        &self,
        name: &ModelName,
        new_name: &ModelName,
        actor: &Actor,
    ) -> Result<RegisteredModel> {
        check_own_name(ResourceKind::RegisteredModel, new_name.as_str())?;
        self.authorize(actor, Action::Write, name).await?;
        match on_conflict!(self.try_rename(name, new_name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::already_exists(format!("Registered Model (name={new_name}) already exists")))
            }
            outcome => {
                outcome?;
                self.read_model(new_name).await
            }
        }
    }

    async fn try_rename(&self, name: &ModelName, new_name: &ModelName) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        self.require_model(tx.as_mut(), name).await?;
        self.touch_model(tx.as_mut(), name).await?;
        for (table, column) in TABLES.iter().chain(&KEPT_TABLES) {
            let sql = format!("UPDATE {table} SET {column} = $1 WHERE {column} = $2");
            tx.execute(&sql, params![new_name.as_str(), name.as_str()]).await?;
        }
        if name != new_name {
            self.copy_policies(tx.as_mut(), name, new_name).await?;
        }
        tx.commit().await
    }

    pub(super) async fn remove_model(&self, name: &ModelName, actor: &Actor) -> Result<()> {
        self.authorize(actor, Action::Delete, name).await?;
        on_conflict!(self.try_remove_model(name, actor))
    }

    async fn try_remove_model(&self, name: &ModelName, actor: &Actor) -> Result<()> {
        let mut tx = self.meta.begin().await?;
        self.require_model(tx.as_mut(), name).await?;
        self.throw_away(tx.as_mut(), name, actor).await?;
        self.void_approvals(tx.as_mut(), name).await?;
        let sql = "INSERT INTO registry_alias_move (model, alias, from_version, to_version, at, actor, reason)
                SELECT model, alias, version, NULL, $1, $2, 'model deleted' FROM registry_alias WHERE model = $3";
        tx.execute(sql, params![self.clock.now(), &actor.0.name, name.as_str()]).await?;
        for (table, column) in TABLES {
            tx.execute(&format!("DELETE FROM {table} WHERE {column} = $1"), params![name.as_str()]).await?;
        }
        self.record(tx.as_mut(), (actor, Action::Delete, name), []).await?;
        tx.commit().await
    }
}

/// Every table that names a model and is emptied of it when it is deleted, and the column that does.
const TABLES: [(&str, &str); 5] = [
    ("registry_model", "name"),
    ("registry_model_tag", "model"),
    ("registry_version", "model"),
    ("registry_version_tag", "model"),
    ("registry_alias", "model"),
];

/// Those that keep the history of a deleted model.
const KEPT_TABLES: [(&str, &str); 2] = [("registry_alias_move", "model"), ("registry_approval", "model")];

pub(super) fn set_tag(model: &ModelName, key: &str, value: &str) -> Statement {
    let sql = "INSERT INTO registry_model_tag (model, key, value) VALUES ($1, $2, $3)
        ON CONFLICT (model, key) DO UPDATE SET value = excluded.value";
    (sql.to_owned(), params![model.as_str(), key, value].to_vec())
}
