//! Approvals as rows: each step is one transaction with its audit row.

use async_trait::async_trait;
use mlops_core::{Action, Alias, Digest, Error, ModelName, Result, Timestamp, Version};
use mlops_store::{MetaStoreExt as _, Row, Transaction, TransactionExt as _, Value, params};

use super::SqlModelRegistry;
use crate::{
    approval::{
        AliasPolicy, Approval, ApprovalFilter, ApprovalId, ApprovalState, ApprovalTarget, Approvals, Decide, Decision,
        OPEN_APPROVALS_MAX, RequestApproval,
    },
    limits::{check_length, check_plain_name},
    registry::record::Actor,
    retry::on_conflict,
    search::{Page, PageRequest, cut},
};

/// The row as an approval; one that is open past its time is expired.
fn read(row: &Row, now: Timestamp) -> Result<Approval> {
    let expires: Timestamp = row.get("expires")?;
    let state = match ApprovalState::parse(&row.get::<String>("state")?)? {
        ApprovalState::Pending | ApprovalState::Approved if expires <= now => ApprovalState::Expired,
        state => state,
    };
    Ok(Approval {
        id: ApprovalId(row.get("id")?),
        model: row.get::<String>("model")?.parse()?,
        version: Version(row.get("version")?),
        digest: row.get::<String>("digest")?.parse()?,
        target: ApprovalTarget::from_parts(&row.get::<String>("target_kind")?, row.get("target")?)?,
        reason: row.get("reason")?,
        requested_by: row.get("requested_by")?,
        requested: row.get("requested")?,
        expires,
        state,
        decided_by: row.get("decided_by")?,
        decided: row.get("decided")?,
        comment: row.get("comment")?,
        used_by: row.get("used_by")?,
        used: row.get("used")?,
    })
}

fn unknown(id: ApprovalId) -> Error {
    Error::not_found(format!("approval {id} not found")).with("approval", id)
}

fn is_not_open(approval: &Approval) -> Error {
    let (id, state) = (approval.id, approval.state.name());
    Error::failed_precondition(format!("approval {id} is {state}; request a new one")).with("approval", id)
}

fn details(approval: &Approval, step: &str) -> [(&'static str, String); 5] {
    [
        ("approval", approval.id.to_string()),
        ("step", step.to_owned()),
        ("version", approval.version.to_string()),
        ("digest", approval.digest.to_string()),
        ("target", approval.target.to_string()),
    ]
}

#[async_trait]
impl Approvals for SqlModelRegistry {
    async fn request_approval(
        &self,
        model: &ModelName,
        version: Version,
        request: RequestApproval,
    ) -> Result<Approval> {
        request.check()?;
        self.authorize(&request.actor, Action::Write, model).await?;
        on_conflict!(self.try_request(model, version, &request))
    }

    async fn decide(&self, id: ApprovalId, decision: Decision, options: Decide) -> Result<Approval> {
        check_length("comment", &options.comment, crate::approval::REASON_MAX)?;
        let model = self.approval(id).await?.model;
        self.authorize(&options.actor, Action::Approve, &model).await?;
        on_conflict!(self.try_decide(id, decision, &options))
    }

    async fn withdraw_approval(&self, id: ApprovalId, actor: &Actor) -> Result<Approval> {
        let model = self.approval(id).await?.model;
        self.authorize(actor, Action::Write, &model).await?;
        on_conflict!(self.try_withdraw(id, actor))
    }

    async fn approval(&self, id: ApprovalId) -> Result<Approval> {
        let row = self.meta.query_opt("SELECT * FROM registry_approval WHERE id = $1", params![id.0]).await?;
        read(&row.ok_or_else(|| unknown(id))?, self.clock.now())
    }

    async fn approvals(&self, filter: &ApprovalFilter, page: &PageRequest) -> Result<Page<Approval>> {
        let rows = match &filter.model {
            Some(model) => {
                let sql = "SELECT * FROM registry_approval WHERE model = $1 ORDER BY id";
                self.meta.query(sql, params![model.as_str()]).await?
            }
            None => self.meta.query("SELECT * FROM registry_approval ORDER BY id", &[]).await?,
        };
        let now = self.clock.now();
        let all = rows.iter().map(|row| read(row, now)).collect::<Result<Vec<_>>>()?;
        let found = all.into_iter().filter(|found| filter.state.is_none_or(|state| found.state == state)).collect();
        cut(found, page, &format!("approvals {:?} {:?}", filter.model, filter.state))
    }

    async fn use_approval(
        &self,
        model: &ModelName,
        version: Version,
        environment: &str,
        actor: &Actor,
    ) -> Result<Approval> {
        check_plain_name("environment", environment)?;
        self.authorize(actor, Action::Promote, model).await?;
        on_conflict!(self.try_use(model, version, environment, actor))
    }

    async fn set_alias_policy(
        &self,
        model: Option<&ModelName>,
        alias: &Alias,
        policy: Option<&AliasPolicy>,
        actor: &Actor,
    ) -> Result<()> {
        self.write_policy(model, alias, policy, actor).await
    }

    async fn alias_policy(&self, model: &ModelName, alias: &Alias) -> Result<AliasPolicy> {
        self.policy_of(model, alias).await
    }
}

impl SqlModelRegistry {
    async fn try_request(&self, model: &ModelName, version: Version, request: &RequestApproval) -> Result<Approval> {
        let mut tx = self.meta.begin().await?;
        let Some(digest) = self.require_version(tx.as_mut(), model, version).await? else {
            return Err(Error::failed_precondition(format!(
                "version {version} of model \"{model}\" is only a link; register its package to have it approved"
            )));
        };
        let now = self.clock.now();
        let open = open_approvals(tx.as_mut(), model, now).await?;
        let same = |found: &&Approval| {
            found.state == ApprovalState::Pending
                && (found.digest, &found.target, &found.requested_by)
                    == (digest, &request.target, &request.actor.0.name)
        };
        if let Some(found) = open.iter().find(same) {
            return Ok(found.clone());
        }
        if open.len() >= OPEN_APPROVALS_MAX {
            return Err(Error::resource_exhausted(format!(
                "model \"{model}\" has {OPEN_APPROVALS_MAX} open approvals; decide, use or withdraw some"
            )));
        }
        let sql = "INSERT INTO registry_approval (model, version, digest, target_kind, target, reason, requested_by,
                requested, expires, state, comment) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '') RETURNING *";
        let (kind, target) = request.target.parts();
        let values = params![
            model.as_str(),
            version.0,
            digest.to_string(),
            kind,
            target,
            &request.reason,
            &request.actor.0.name,
            now,
            now + request.valid_for,
            ApprovalState::Pending.name()
        ];
        let approval = read(&tx.query_one(sql, values).await?, now)?;
        let details = details(&approval, "requested").into_iter().chain([("reason", request.reason.clone())]);
        self.record(tx.as_mut(), (&request.actor, Action::Write, model), details).await?;
        tx.commit().await?;
        Ok(approval)
    }

    async fn try_decide(&self, id: ApprovalId, decision: Decision, options: &Decide) -> Result<Approval> {
        let mut tx = self.meta.begin().await?;
        let approval = self.require_approval(tx.as_mut(), id).await?;
        let who = &options.actor.0.name;
        if approval.requested_by == *who {
            return Err(Error::permission_denied(format!(
                "{who} asked for approval {id} and cannot decide it; somebody else must"
            )));
        }
        let state = match decision {
            Decision::Approve => ApprovalState::Approved,
            Decision::Reject => ApprovalState::Rejected,
        };
        if approval.state == state && approval.decided_by.as_ref() == Some(who) {
            return Ok(approval);
        }
        if approval.state != ApprovalState::Pending {
            return Err(is_not_open(&approval));
        }
        let sql = "UPDATE registry_approval SET state = $1, decided_by = $2, decided = $3, comment = $4
            WHERE id = $5 RETURNING *";
        // Not before it was asked for, where the clock went back.
        let now = self.clock.now().max(approval.requested);
        let values = params![state.name(), who, now, &options.comment, id.0];
        let approval = read(&tx.query_one(sql, values).await?, now)?;
        let details = details(&approval, state.name()).into_iter().chain([("comment", options.comment.clone())]);
        self.record(tx.as_mut(), (&options.actor, Action::Approve, &approval.model), details).await?;
        tx.commit().await?;
        Ok(approval)
    }

    async fn try_withdraw(&self, id: ApprovalId, actor: &Actor) -> Result<Approval> {
        let mut tx = self.meta.begin().await?;
        let approval = self.require_approval(tx.as_mut(), id).await?;
        if approval.requested_by != actor.0.name {
            return Err(Error::permission_denied(format!(
                "approval {id} was requested by {}; only they can withdraw it",
                approval.requested_by
            )));
        }
        if !matches!(approval.state, ApprovalState::Pending | ApprovalState::Approved) {
            return Err(is_not_open(&approval));
        }
        let sql = "UPDATE registry_approval SET state = $1 WHERE id = $2 RETURNING *";
        let values = params![ApprovalState::Withdrawn.name(), id.0];
        let approval = read(&tx.query_one(sql, values).await?, self.clock.now())?;
        self.record(tx.as_mut(), (actor, Action::Write, &approval.model), details(&approval, "withdrawn")).await?;
        tx.commit().await?;
        Ok(approval)
    }

    async fn try_use(&self, model: &ModelName, version: Version, environment: &str, actor: &Actor) -> Result<Approval> {
        let mut tx = self.meta.begin().await?;
        let Some(digest) = self.require_version(tx.as_mut(), model, version).await? else {
            return Err(Error::failed_precondition(format!("version {version} of model \"{model}\" is only a link")));
        };
        let target = ApprovalTarget::Environment(environment.to_owned());
        let sql = "SELECT * FROM registry_approval WHERE model = $1 AND digest = $2 AND target_kind = 'environment'
            AND target = $3 AND state = 'used' AND used_by = $4 ORDER BY id DESC LIMIT 1";
        let values = params![model.as_str(), digest.to_string(), environment, &actor.0.name];
        if let Some(row) = tx.query_opt(sql, values).await? {
            return read(&row, self.clock.now());
        }
        let approval = self.take_approval(tx.as_mut(), (model, &digest, actor), &target).await?;
        self.record(tx.as_mut(), (actor, Action::Promote, model), details(&approval, "used")).await?;
        tx.commit().await?;
        Ok(approval)
    }

    /// Uses up an approval within the transaction of the move it admits.
    pub(super) async fn take_approval(
        &self,
        tx: &mut dyn Transaction,
        (model, digest, actor): (&ModelName, &Digest, &Actor),
        target: &ApprovalTarget,
    ) -> Result<Approval> {
        let now = self.clock.now();
        let open = open_approvals(tx, model, now).await?;
        let fits = |found: &&Approval| found.target == *target && found.state == ApprovalState::Approved;
        let Some(found) = open.iter().filter(fits).find(|found| found.digest == *digest) else {
            let why = match open.iter().find(fits) {
                Some(other) => format!("approval {} is for package {}", other.id, other.digest.short()),
                None => "no approval is open".to_owned(),
            };
            return Err(Error::failed_precondition(format!(
                "package {} of model \"{model}\" is not approved for {target} ({why}); request approval and have \
                 somebody else approve it",
                digest.short()
            )));
        };
        let sql = "UPDATE registry_approval SET state = $1, used_by = $2, used = $3 WHERE id = $4 RETURNING *";
        let used = now.max(found.decided.unwrap_or(now));
        let values = params![ApprovalState::Used.name(), &actor.0.name, used, found.id.0];
        read(&tx.query_one(sql, values).await?, now)
    }

    /// Voids what is open for a model that is deleted.
    pub(super) async fn void_approvals(&self, tx: &mut dyn Transaction, model: &ModelName) -> Result<()> {
        let sql = "UPDATE registry_approval SET state = $1 WHERE model = $2 AND state IN ('pending', 'approved')";
        tx.execute(sql, params![ApprovalState::Withdrawn.name(), model.as_str()]).await.map(drop)
    }

    async fn require_approval(&self, tx: &mut dyn Transaction, id: ApprovalId) -> Result<Approval> {
        let row = tx.query_opt("SELECT * FROM registry_approval WHERE id = $1", params![id.0]).await?;
        read(&row.ok_or_else(|| unknown(id))?, self.clock.now())
    }
}

/// What is pending or approved and not expired, oldest first.
async fn open_approvals(tx: &mut dyn Transaction, model: &ModelName, now: Timestamp) -> Result<Vec<Approval>> {
    let sql = "SELECT * FROM registry_approval WHERE model = $1 AND state IN ('pending', 'approved') AND expires > $2
        ORDER BY id";
    let values: &[Value] = params![model.as_str(), now];
    tx.query(sql, values).await?.iter().map(|row| read(row, now)).collect()
}
