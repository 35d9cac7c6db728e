//! The one place where a request is allowed or refused.
//!
//! Invariant: an error of the authorizer is a refusal; an action that must be recorded does not happen when the record
//! cannot be kept.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mlops_core::{Action, AuditEntry, Error, ErrorKind, ModelName, Principal, Resource, Result, RunId};
use tokio::sync::OnceCell;

use super::{Auth, Parts, known::Known};
use crate::{
    Actor, ExperimentId, LoggedModel, LoggedModelId, LoggedModelStore, Page, PageRequest, RunHome, RunRecord,
    TrackingStore, View,
    access::{AccessStore, EVERY, Grant, Permission, ResourceKind, User},
};

/// Most pages that one filtered page is collected from.
const PAGES_MAX: usize = 1_000;

/// Which experiments runs and logged models belong to; neither ever moves.
#[derive(Debug, Default)]
pub(super) struct Homes {
    runs: Known<RunId, Arc<RunHome>>,
    models: Known<LoggedModelId, ExperimentId>,
}

/// Asks for one principal, or refuses for nobody.
pub(in crate::mlflow) struct Guard {
    parts: Arc<Parts>,
    principal: Option<Principal>,
    /// The principal as one of the users here, who is looked up once.
    user: OnceCell<Option<User>>,
    decided: Mutex<HashMap<(Action, Resource), bool>>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("principal", &self.principal).finish_non_exhaustive()
    }
}

pub(super) fn experiment(id: ExperimentId) -> Resource {
    Resource::new("experiment", id.to_string())
}

pub(super) fn model(name: &ModelName) -> Resource {
    Resource::new("model", name.as_str())
}

impl Guard {
    /// For a principal whom somebody else signed in, or for nobody.
    pub(in crate::mlflow) fn new(auth: &Auth, principal: Option<Principal>) -> Self {
        Self { parts: Arc::clone(&auth.parts), principal, user: OnceCell::new(), decided: Mutex::default() }
    }

    /// For one of the users here.
    pub(super) fn of_user(auth: &Auth, principal: Principal, user: User) -> Self {
        Self { user: OnceCell::new_with(Some(Some(user))), ..Self::new(auth, Some(principal)) }
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(super) fn principal(&self) -> Result<&Principal> {
        self.principal.as_ref().ok_or_else(|| Error::unauthenticated("You are not authenticated"))
    }

    /// The one of the users here who asks; none when the principal is none of them.
    pub(super) async fn user(&self) -> Result<Option<&User>> {
        let name = &self.principal()?.name;
        let Some(users) = &self.parts.users else { return Ok(None) };
        self.user.get_or_try_init(|| users.user(name)).await.map(Option::as_ref)
    }

    pub(super) fn actor(&self) -> Result<Actor> {
        self.principal().map(Actor::from)
    }

    /// Allows the action or refuses it.
    pub(in crate::mlflow) async fn check(&self, action: Action, resource: &Resource) -> Result<()> {
        if self.allows(action, resource).await? { Ok(()) } else { Err(self.refusal(action, resource)) }
    }

    /// Says that the action is not allowed on what is shown.
    pub(super) fn refusal(&self, action: Action, on: impl fmt::Display) -> Error {
        tracing::info!(principal = ?self.principal, ?action, %on, "refused");
        Error::permission_denied("Permission denied.")
    }

    /// Whether the action is allowed.
    pub(in crate::mlflow) async fn allows(&self, action: Action, resource: &Resource) -> Result<bool> {
        Ok(self.allows_each(action, std::slice::from_ref(resource)).await? == [true])
    }

    /// Whether the action is allowed on each of the resources, in their order; what is not known yet is asked at once.
    pub(super) async fn allows_each(&self, action: Action, resources: &[Resource]) -> Result<Vec<bool>> {
        let known = |resource: &Resource| self.decided().get(&(action, resource.clone())).copied();
        let mut open: Vec<Resource> = resources.iter().filter(|resource| known(resource).is_none()).cloned().collect();
        open.sort_unstable_by(|left, right| (&left.kind, &left.name).cmp(&(&right.kind, &right.name)));
        open.dedup();
        if !open.is_empty() {
            let decided = self.ask(action, &open).await?;
            self.decided().extend(open.into_iter().map(|resource| (action, resource)).zip(decided));
        }
        Ok(resources.iter().map(|resource| known(resource).unwrap_or(false)).collect())
    }

    fn decided(&self) -> MutexGuard<'_, HashMap<(Action, Resource), bool>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whoever decides.
    async fn ask(&self, action: Action, resources: &[Resource]) -> Result<Vec<bool>> {
        let principal = self.principal()?;
        if let Some(authorizer) = &self.parts.authorizer {
            let mut allowed = Vec::with_capacity(resources.len());
            for resource in resources {
                allowed.push(match authorizer.authorize(principal, action, resource).await {
                    Ok(()) => true,
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
                    Err(error) => return Err(error),
                });
            }
            return Ok(allowed);
        }
        match (&self.parts.permissions, self.user().await?) {
            (Some(permissions), Some(user)) => {
                let decided = permissions.decide(user, action, resources).await?;
                Ok(decided.into_iter().map(|decision| decision.is_ok()).collect())
            }
            _ => Ok(vec![false; resources.len()]),
        }
    }

    pub(in crate::mlflow) async fn check_experiment(&self, action: Action, id: ExperimentId) -> Result<()> {
        self.check(action, &experiment(id)).await
    }

    /// Allows the action on every one of the experiments, or refuses it.
    pub(super) async fn check_experiments(
        &self,
        action: Action,
        ids: impl IntoIterator<Item = ExperimentId>,
    ) -> Result<()> {
        let resources: Vec<Resource> = ids.into_iter().map(experiment).collect();
        let allowed = self.allows_each(action, &resources).await?;
        match resources.iter().zip(allowed).find(|(_, allowed)| !allowed) {
            Some((resource, _)) => Err(self.refusal(action, resource)),
            None => Ok(()),
        }
    }

    pub(in crate::mlflow) async fn check_model(&self, action: Action, name: &ModelName) -> Result<()> {
        match name.as_str() {
            // A grant on one that is called so, from before the name was refused, would be one on all of them.
            EVERY => self.check_admin().await,
            _ => self.check(action, &model(name)).await,
        }
    }

    /// Those of the experiments that may be read; the others are left out, as if they were empty.
    pub(super) async fn readable_experiments(&self, ids: &[ExperimentId]) -> Result<Vec<ExperimentId>> {
        let resources: Vec<Resource> = ids.iter().copied().map(experiment).collect();
        let allowed = self.allows_each(Action::Read, &resources).await?;
        Ok(ids.iter().zip(allowed).filter_map(|(id, allowed)| allowed.then_some(*id)).collect())
    }

    /// Allows what only administrators may.
    pub(in crate::mlflow) async fn check_admin(&self) -> Result<()> {
        if self.administers().await? { Ok(()) } else { Err(self.refusal(Action::Administer, "the server")) }
    }

    /// Whether what only administrators may is allowed.
    pub(super) async fn administers(&self) -> Result<bool> {
        Ok(self.is_admin().await? || self.allows(Action::Administer, &Resource::new("server", EVERY)).await?)
    }

    /// Whether the users here say so of the principal, or the role that the settings name. A role from elsewhere that
    /// happens to be called like one of ours says nothing.
    async fn is_admin(&self) -> Result<bool> {
        let (roles, named) = (&self.principal()?.roles, &self.parts.settings.admin_role);
        Ok(named.as_ref().is_some_and(|named| roles.contains(named))
            || self.user().await?.is_some_and(|user| user.admin))
    }

    /// Keeps the record of an action that is about to happen.
    pub(in crate::mlflow) async fn record<const N: usize>(
        &self,
        action: Action,
        resource: Resource,
        details: [(&str, String); N],
    ) -> Result<()> {
        let Some(audit) = &self.parts.audit else { return Ok(()) };
        let details = details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let principal = self.principal()?.clone();
        audit.append(AuditEntry { at: self.parts.clock.now(), principal, action, resource, details }).await
    }

    /// Where a run belongs.
    pub(super) async fn home(&self, tracking: &dyn TrackingStore, id: &RunId) -> Result<Arc<RunHome>> {
        if let Some(home) = self.homes(tracking, std::slice::from_ref(id)).await?.remove(id) {
            return Ok(home);
        }
        // The store knows best how to say that there is none.
        let run = tracking.run(id).await?;
        self.settle([&run]);
        Ok(Arc::new(RunHome::from(&run)))
    }

    /// Where those of the runs belong that exist; what is not known yet is looked up at once.
    pub(super) async fn homes(
        &self,
        tracking: &dyn TrackingStore,
        ids: &[RunId],
    ) -> Result<HashMap<RunId, Arc<RunHome>>> {
        let known = &self.parts.homes.runs;
        let mut homes: HashMap<RunId, Arc<RunHome>> =
            ids.iter().filter_map(|id| Some((id.clone(), known.get(id)?))).collect();
        let open: Vec<RunId> = ids.iter().filter(|id| !homes.contains_key(*id)).cloned().collect();
        if !open.is_empty() {
            let found = tracking.homes(&open).await?;
            homes.extend(found.into_iter().map(|home| (home.id.clone(), Arc::new(home))));
            known.keep(
                open.into_iter()
                    .filter_map(|id| homes.get_key_value(&id))
                    .map(|(id, home)| (id.clone(), Arc::clone(home))),
            );
        }
        Ok(homes)
    }

    /// Remembers where runs belong that were read.
    pub(super) fn settle<'a>(&self, runs: impl IntoIterator<Item = &'a RunRecord>) {
        self.parts.homes.runs.keep(runs.into_iter().map(|run| (run.id.clone(), Arc::new(RunHome::from(run)))));
    }

    /// Allows the action on every one of the runs that exist, or refuses it.
    pub(super) async fn check_runs(&self, action: Action, tracking: &dyn TrackingStore, ids: &[RunId]) -> Result<()> {
        let homes = self.homes(tracking, ids).await?;
        self.check_experiments(action, homes.values().map(|home| home.experiment)).await
    }

    /// The experiment of a logged model, deleted or not.
    pub(super) async fn home_of_model(
        &self,
        models: &dyn LoggedModelStore,
        id: &LoggedModelId,
    ) -> Result<ExperimentId> {
        match self.parts.homes.models.get(id) {
            Some(experiment) => Ok(experiment),
            None => Ok(self.settle_model(&models.logged_model(id, View::All).await?)),
        }
    }

    pub(super) fn settle_model(&self, model: &LoggedModel) -> ExperimentId {
        self.parts.homes.models.keep([(model.id.clone(), model.experiment)]);
        model.experiment
    }

    /// Lets whoever created something manage it.
    pub(super) async fn own(&self, kind: ResourceKind, resource: &str) -> Result<()> {
        let (Some(users), Some(user)) = (&self.parts.users, self.user().await?) else { return Ok(()) };
        let grant = Grant { kind, resource: resource.to_owned(), permission: Permission::Manage };
        users.grant(user.own_role, grant).await.map(drop)
    }

    /// Lets grants follow a new name, or forgets them.
    pub(super) async fn moved(&self, kind: ResourceKind, resource: &str, to: Option<&str>) -> Result<()> {
        match &self.parts.users {
            // What is granted on every one stays, should one of earlier days be called so.
            Some(users) if resource != EVERY => users.move_grants(kind, resource, to).await,
            _ => Ok(()),
        }
    }

    /// The items that may be read, page after page until the page that is asked for is full.
    pub(super) async fn readable<T, F>(
        &self,
        page: &PageRequest,
        resource: impl Fn(&T) -> Resource,
        next: impl Fn(PageRequest) -> F,
    ) -> Result<Page<T>>
    where
        F: Future<Output = Result<Page<T>>>,
    {
        let mut found = next(page.clone()).await?;
        let wanted = page.max_results.unwrap_or(found.items.len());
        let mut kept = Vec::new();
        for _ in 0..PAGES_MAX {
            let items = std::mem::take(&mut found.items);
            let resources: Vec<Resource> = items.iter().map(&resource).collect();
            let allowed = self.allows_each(Action::Read, &resources).await?;
            kept.extend(items.into_iter().zip(allowed).filter_map(|(item, allowed)| allowed.then_some(item)));
            let Some(token) = found.next_page_token.take_if(|_| kept.len() < wanted) else { break };
            found = next(PageRequest { max_results: Some(wanted - kept.len()), token: Some(token) }).await?;
        }
        Ok(Page { items: kept, next_page_token: found.next_page_token })
    }
}
