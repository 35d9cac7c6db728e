//! Moving aliases: compare-and-set, history and audit in one transaction.

use mlops_core::{Action, Alias, Error, Fact, ModelName, Result, Timestamp, Version};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, params};

use super::SqlModelRegistry;
use crate::{
    limits::check_alias,
    registry::{
        change::ChangeKind,
        record::{AliasMove, MoveAlias},
    },
    retry::on_conflict,
    search::{Page, PageRequest, cut},
};

/// What a move came to: done, not needed, or lost the comparison.
enum Moved {
    Done(AliasMove),
    Already(AliasMove),
    Refused(Error),
}

pub(super) fn read_move(row: &Row) -> Result<AliasMove> {
    Ok(AliasMove {
        model: row.get::<String>("model")?.parse()?,
        alias: row.get::<String>("alias")?.parse()?,
        from: row.get::<Option<u64>>("from_version")?.map(Version),
        to: row.get::<Option<u64>>("to_version")?.map(Version),
        at: row.get("at")?,
        actor: row.get("actor")?,
        reason: row.get("reason")?,
    })
}

pub(super) async fn current(tx: &mut dyn Transaction, model: &ModelName, alias: &Alias) -> Result<Option<Version>> {
    let sql = "SELECT version FROM registry_alias WHERE model = $1 AND alias = $2";
    let row = tx.query_opt(sql, params![model.as_str(), alias.as_str()]).await?;
    row.map(|row| row.get("version").map(Version)).transpose()
}

impl SqlModelRegistry {
    pub(super) async fn move_alias(
        &self,
        model: &ModelName,
        alias: &Alias,
        to: Option<Version>,
        options: MoveAlias,
    ) -> Result<Option<AliasMove>> {
        check_alias(alias)?;
        self.authorize(&options.actor, Action::Promote, model).await?;
        match on_conflict!(self.try_move(model, alias, to, &options))? {
            Moved::Refused(error) => Err(error),
            Moved::Already(alias_move) => Ok(to.map(|_| alias_move)),
            Moved::Done(alias_move) => {
                let (from, to) = (alias_move.from, alias_move.to);
                self.announce(Fact::AliasMoved { model: model.clone(), alias: alias.clone(), from, to }).await;
                Ok(Some(alias_move))
            }
        }
    }

    async fn try_move(
        &self,
        model: &ModelName,
        alias: &Alias,
        to: Option<Version>,
        options: &MoveAlias,
    ) -> Result<Moved> {
        let candidate = match to {
            Some(version) => self.candidate(model, alias, version).await?,
            None => None,
        };
        let mut tx = self.meta.begin().await?;
        self.require_model(tx.as_mut(), model).await?;
        if let Some(version) = to {
            self.require_version(tx.as_mut(), model, version).await?;
        }
        let from = current(tx.as_mut(), model, alias).await?;
        if let Some(expected) = options.expected.filter(|expected| *expected != from) {
            return Ok(Moved::Refused(expectation_failed(model, alias, expected, from)));
        }
        let alias_move = AliasMove {
            model: model.clone(),
            alias: alias.clone(),
            from,
            to,
            at: self.clock.now(),
            actor: options.actor.0.name.clone(),
            reason: options.reason.clone(),
        };
        if from == to {
            return Ok(Moved::Already(alias_move));
        }
        let approval = match to {
            Some(_) => self.admit(tx.as_mut(), (model, alias, &options.actor), candidate.as_ref()).await?,
            None => None,
        };
        write_alias(tx.as_mut(), &alias_move).await?;
        write_move(tx.as_mut(), &alias_move).await?;
        self.touch_model(tx.as_mut(), model).await?;
        let shown = |version: Option<Version>| version.map_or_else(String::new, |version| version.to_string());
        let details = [
            ("alias", alias.to_string()),
            ("from", shown(from)),
            ("to", shown(to)),
            ("reason", options.reason.clone()),
        ];
        let details = details.into_iter().chain(approval.map(|approval| ("approval", approval.to_string())));
        self.record(tx.as_mut(), (&options.actor, Action::Promote, model), details).await?;
        self.note(tx.as_mut(), model, ChangeKind::Alias { alias: alias.clone(), to }).await?;
        tx.commit().await?;
        Ok(Moved::Done(alias_move))
    }

    pub(super) async fn alias_version(&self, model: &ModelName, alias: &Alias) -> Result<Version> {
        let sql = "SELECT version FROM registry_alias WHERE model = $1 AND alias = $2";
        let row = self.meta.query_opt(sql, params![model.as_str(), alias.as_str()]).await?;
        let Some(row) = row else {
            // Which of the two is missing makes a difference to the caller.
            self.read_model(model).await?;
            return Err(Error::not_found(format!("Registered model alias {alias} not found for model \"{model}\"")));
        };
        row.get("version").map(Version)
    }

    pub(super) async fn alias_version_at(
        &self,
        model: &ModelName,
        alias: &Alias,
        at: Timestamp,
    ) -> Result<Option<Version>> {
        let sql = "SELECT to_version FROM registry_alias_move WHERE model = $1 AND alias = $2 AND at <= $3
            ORDER BY seq DESC LIMIT 1";
        let row = self.meta.query_opt(sql, params![model.as_str(), alias.as_str(), at]).await?;
        let to: Option<Option<u64>> = row.map(|row| row.get("to_version")).transpose()?;
        Ok(to.flatten().map(Version))
    }

    pub(super) async fn moves(&self, model: &ModelName, page: &PageRequest) -> Result<Page<AliasMove>> {
        let sql = "SELECT * FROM registry_alias_move WHERE model = $1 ORDER BY seq";
        let rows = self.meta.query(sql, params![model.as_str()]).await?;
        cut(rows.iter().map(read_move).collect::<Result<_>>()?, page, &format!("moves of {model}"))
    }
}

fn expectation_failed(model: &ModelName, alias: &Alias, expected: Option<Version>, found: Option<Version>) -> Error {
    let shown = |version: Option<Version>| version.map_or_else(|| "nowhere".to_owned(), |v| format!("at version {v}"));
    Error::conflict(format!(
        "alias \"{alias}\" of model \"{model}\" points {}, expected {}; read it again and decide anew",
        shown(found),
        shown(expected)
    ))
}

pub(super) async fn write_alias(tx: &mut dyn Transaction, alias_move: &AliasMove) -> Result<()> {
    let (model, alias) = (alias_move.model.as_str(), alias_move.alias.as_str());
    match alias_move.to {
        Some(version) => {
            let sql = "INSERT INTO registry_alias (model, alias, version) VALUES ($1, $2, $3)
                ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version";
            tx.execute(sql, params![model, alias, version.0]).await.map(drop)
        }
        None => {
            let sql = "DELETE FROM registry_alias WHERE model = $1 AND alias = $2";
            tx.execute(sql, params![model, alias]).await.map(drop)
        }
    }
}

pub(super) async fn write_move(tx: &mut dyn Transaction, alias_move: &AliasMove) -> Result<()> {
    let sql = "INSERT INTO registry_alias_move (model, alias, from_version, to_version, at, actor, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let number = |version: Option<Version>| version.map(|version| i64::try_from(version.0).unwrap_or(i64::MAX));
    let values = params![
        alias_move.model.as_str(),
        alias_move.alias.as_str(),
        number(alias_move.from),
        number(alias_move.to),
        alias_move.at,
        &alias_move.actor,
        &alias_move.reason
    ];
    tx.execute(sql, values).await.map(drop)
}
