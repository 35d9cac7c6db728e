//! Alias policies as rows, and their enforcement where aliases move.

use mlops_core::{Action, Alias, Digest, Error, ModelName, PackageManifest, Result, Version};
use mlops_store::{Row, Transaction, TransactionExt as _, params};

use super::{SqlModelRegistry, all_models, resource};
use crate::{
    approval::{AliasPolicy, ApprovalId, ApprovalTarget},
    limits::check_alias,
    registry::record::Actor,
    retry::on_conflict,
};

/// The name under which policies of every model are kept; no model has it.
const EVERY_MODEL: &str = "";

const POLICIES: &str = "SELECT policy FROM registry_alias_policy WHERE (model = $1 OR model = $2) AND alias = $3";

fn read_policy(row: &Row) -> Result<AliasPolicy> {
    serde_json::from_str(&row.get::<String>("policy")?)
        .map_err(|error| Error::data_loss("an alias policy is damaged; set it again").with_source(error))
}

fn total(rows: &[Row]) -> Result<AliasPolicy> {
    rows.iter().map(read_policy).try_fold(AliasPolicy::default(), |sum, next| Ok(sum.and(next?)))
}

/// What is known of the version that an alias is to point at.
pub(super) struct Candidate {
    pub(super) version: Version,
    pub(super) digest: Option<Digest>,
    pub(super) manifest: Option<PackageManifest>,
}

impl SqlModelRegistry {
    pub(super) async fn write_policy(
        &self,
        model: Option<&ModelName>,
        alias: &Alias,
        policy: Option<&AliasPolicy>,
        actor: &Actor,
    ) -> Result<()> {
        check_alias(alias)?;
        policy.map_or(Ok(()), AliasPolicy::check)?;
        let resource = model.map_or_else(all_models, resource);
        self.authorize_on(actor, Action::Administer, &resource).await?;
        on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            put_policy(tx.as_mut(), model.map_or(EVERY_MODEL, ModelName::as_str), alias.as_str(), policy).await?;
            let shown = policy.map_or_else(|| Ok(String::new()), json)?;
            let details = [("alias", alias.to_string()), ("policy", shown)];
            self.record_on(tx.as_mut(), (actor, Action::Administer, resource.clone()), details).await?;
            tx.commit().await
        })
    }

    pub(super) async fn policy_of(&self, model: &ModelName, alias: &Alias) -> Result<AliasPolicy> {
        total(&self.meta.query(POLICIES, params![model.as_str(), EVERY_MODEL, alias.as_str()]).await?)
    }

    /// What a policy of the alias would have to look at, read before the transaction: blobs are not read within one.
    pub(super) async fn candidate(
        &self,
        model: &ModelName,
        alias: &Alias,
        version: Version,
    ) -> Result<Option<Candidate>> {
        if self.policy_of(model, alias).await?.is_empty() {
            return Ok(None);
        }
        let digest = self.read_version(model, version).await?.source.digest();
        let manifest = match &digest {
            Some(digest) => Some(self.read_manifest(digest).await?),
            None => None,
        };
        Ok(Some(Candidate { version, digest, manifest }))
    }

    /// Lets a version take an alias, or says why not; gives the approval that this used up.
    pub(super) async fn admit(
        &self,
        tx: &mut dyn Transaction,
        (model, alias, actor): (&ModelName, &Alias, &Actor),
        candidate: Option<&Candidate>,
    ) -> Result<Option<ApprovalId>> {
        let policy = total(&tx.query(POLICIES, params![model.as_str(), EVERY_MODEL, alias.as_str()]).await?)?;
        if policy.is_empty() {
            return Ok(None);
        }
        let Some(candidate) = candidate else {
            return Err(Error::conflict(format!(
                "alias \"{alias}\" of model \"{model}\" was protected in this moment"
            )));
        };
        policy.admit((model, candidate.version), candidate.manifest.as_ref())?;
        match &candidate.digest {
            Some(digest) if policy.approval => {
                let target = ApprovalTarget::Alias(alias.clone());
                self.take_approval(tx, (model, digest, actor), &target).await.map(|approval| Some(approval.id))
            }
            _ => Ok(None),
        }
    }

    /// Policies stay with the old name, so that it is not without protection when it is taken again, and hold for the
    /// new one too.
    pub(super) async fn copy_policies(&self, tx: &mut dyn Transaction, from: &ModelName, to: &ModelName) -> Result<()> {
        let sql = "SELECT alias, policy FROM registry_alias_policy WHERE model = $1";
        for row in tx.query(sql, params![from.as_str()]).await? {
            let alias: String = row.get("alias")?;
            let sql = "SELECT policy FROM registry_alias_policy WHERE model = $1 AND alias = $2";
            let there = tx.query_opt(sql, params![to.as_str(), &alias]).await?;
            let there = there.as_ref().map(read_policy).transpose()?.unwrap_or_default();
            put_policy(tx, to.as_str(), &alias, Some(&read_policy(&row)?.and(there))).await?;
        }
        Ok(())
    }
}

fn json(policy: &AliasPolicy) -> Result<String> {
    serde_json::to_string(policy).map_err(|error| Error::internal("an alias policy is not JSON").with_source(error))
}

async fn put_policy(tx: &mut dyn Transaction, model: &str, alias: &str, policy: Option<&AliasPolicy>) -> Result<()> {
    match policy {
        Some(policy) => {
            let sql = "INSERT INTO registry_alias_policy (model, alias, policy) VALUES ($1, $2, $3)
                ON CONFLICT (model, alias) DO UPDATE SET policy = excluded.policy";
            tx.execute(sql, params![model, alias, json(policy)?]).await.map(drop)
        }
        None => {
            let sql = "DELETE FROM registry_alias_policy WHERE model = $1 AND alias = $2";
            tx.execute(sql, params![model, alias]).await.map(drop)
        }
    }
}
