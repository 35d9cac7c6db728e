//! Who agreed to which package being used where, and which aliases ask for it.
//!
//! Invariant: an approval is for the bytes, not the number: it holds the digest of a package, was given by somebody
//! else than who asked, admits one move, and expires. Not an authorization: who may ask, agree and move at all is the
//! [`mlops_core::Authorizer`]'s matter.

mod policy;
mod record;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Alias, ModelName, Result, Version};

pub use policy::{AliasPolicy, METRIC_GATES_MAX, MetricGate};
pub(crate) use record::REASON_MAX;
pub use record::{
    Approval, ApprovalFilter, ApprovalId, ApprovalState, ApprovalTarget, Decide, Decision, RequestApproval,
};

use crate::{
    registry::Actor,
    search::{Page, PageRequest},
};

/// Most approvals of one model that are pending or approved and unused.
pub const OPEN_APPROVALS_MAX: usize = 1_000;

/// Keeps approvals. Every write is one transaction with its audit row: when the record cannot be written, it does not
/// happen.
///
/// Errors common to all calls: `Unavailable`; on writes `PermissionDenied` when an authorizer refuses the actor.
#[async_trait]
pub trait Approvals: fmt::Debug + Send + Sync + 'static {
    /// Asks for a version to be used at a target. Bound to the digest of the version's package: another package under
    /// the same target is not approved, the same package under another number is. Asking again for the same while the
    /// first is pending gives the first.
    ///
    /// # Errors
    /// `NotFound` for a version that does not exist, `FailedPrecondition` when the version is only a link (its bytes
    /// could change), `InvalidArgument` when the request is out of range, `ResourceExhausted` beyond
    /// [`OPEN_APPROVALS_MAX`].
    async fn request_approval(&self, model: &ModelName, version: Version, request: RequestApproval)
    -> Result<Approval>;

    /// Approves or rejects a pending request. The authorizer is asked for [`mlops_core::Action::Approve`]. Of several
    /// deciders exactly one wins; who repeats the own decision gets it again.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` when the actor is who asked; `FailedPrecondition` when the request expired, was
    /// withdrawn or is decided already.
    async fn decide(&self, id: ApprovalId, decision: Decision, options: Decide) -> Result<Approval>;

    /// Takes back a request that was not used. Only who asked may do so.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` when the actor is not who asked; `FailedPrecondition` when it was used,
    /// rejected, withdrawn, or expired.
    async fn withdraw_approval(&self, id: ApprovalId, actor: &Actor) -> Result<Approval>;

    /// One approval.
    ///
    /// # Errors
    /// `NotFound`.
    async fn approval(&self, id: ApprovalId) -> Result<Approval>;

    /// Approvals that match, oldest first: open ones and the whole history.
    ///
    /// # Errors
    /// `InvalidArgument` for a page token that is not ours.
    async fn approvals(&self, filter: &ApprovalFilter, page: &PageRequest) -> Result<Page<Approval>>;

    /// Uses the approval of a version for an environment. A promotion spans two registries and so more than one
    /// transaction: when it is repeated after a crash, the same actor gets the approval that it used for this package
    /// and environment again.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` when no unexpired approval is left for the digest of the version.
    async fn use_approval(
        &self,
        model: &ModelName,
        version: Version,
        environment: &str,
        actor: &Actor,
    ) -> Result<Approval>;

    /// Protects an alias of a model, or of every model, and those not registered yet, when `model` is none; no policy
    /// lifts the protection. What is asked for every model and for the one holds together. Protection belongs to the
    /// name: it stays when the model is deleted, and a renamed model takes a copy along.
    ///
    /// The authorizer is asked for [`mlops_core::Action::Administer`].
    ///
    /// # Errors
    /// `InvalidArgument` when the policy is not valid.
    async fn set_alias_policy(
        &self,
        model: Option<&ModelName>,
        alias: &Alias,
        policy: Option<&AliasPolicy>,
        actor: &Actor,
    ) -> Result<()>;

    /// What an alias of a model asks for, with what is asked for every model; the default policy asks for nothing.
    ///
    /// # Errors
    /// Only the common ones.
    async fn alias_policy(&self, model: &ModelName, alias: &Alias) -> Result<AliasPolicy>;
}

#[async_trait]
impl<T: Approvals + ?Sized> Approvals for Arc<T> {
    async fn request_approval(
        &self,
        model: &ModelName,
        version: Version,
        request: RequestApproval,
    ) -> Result<Approval> {
        (**self).request_approval(model, version, request).await
    }
    async fn decide(&self, id: ApprovalId, decision: Decision, options: Decide) -> Result<Approval> {
        (**self).decide(id, decision, options).await
    }
    async fn withdraw_approval(&self, id: ApprovalId, actor: &Actor) -> Result<Approval> {
        (**self).withdraw_approval(id, actor).await
    }
    async fn approval(&self, id: ApprovalId) -> Result<Approval> {
        (**self).approval(id).await
    }
    async fn approvals(&self, filter: &ApprovalFilter, page: &PageRequest) -> Result<Page<Approval>> {
        (**self).approvals(filter, page).await
    }
    async fn use_approval(
        &self,
        model: &ModelName,
        version: Version,
        environment: &str,
        actor: &Actor,
    ) -> Result<Approval> {
        (**self).use_approval(model, version, environment, actor).await
    }
    async fn set_alias_policy(
        &self,
        model: Option<&ModelName>,
        alias: &Alias,
        policy: Option<&AliasPolicy>,
        actor: &Actor,
    ) -> Result<()> {
        (**self).set_alias_policy(model, alias, policy, actor).await
    }
    async fn alias_policy(&self, model: &ModelName, alias: &Alias) -> Result<AliasPolicy> {
        (**self).alias_policy(model, alias).await
    }
}
