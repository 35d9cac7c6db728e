//! Driving rollouts: begin, step, resume, stop. The server counts and moves traffic; the application decides when
//! to ask for a step, stores the state, and moves the alias after a promotion.

use std::sync::Arc;

use mlops_core::{Error, Event, Fact, ModelName, Result, Version};

use super::{ActiveRollout, Server};
use crate::{
    repository::Entry,
    rollout::{Decision, Phase, Rollout, RolloutSettings, RolloutStats},
};

impl Server {
    /// Loads `candidate` if need be and begins its rollout against the version in service.
    ///
    /// # Errors
    /// `InvalidArgument` for wrong settings, `FailedPrecondition` when another rollout is in progress, nothing is in
    /// service, or the candidate's inputs and outputs differ; what kept the candidate from loading.
    pub async fn start_rollout(
        &self,
        name: &ModelName,
        candidate: Version,
        settings: RolloutSettings,
    ) -> Result<Rollout> {
        let entry = self.inner.repository.entry(name.as_str())?;
        let champion = entry.state().default.ok_or_else(|| {
            Error::failed_precondition(format!("model \"{name}\" has no version in service to compare with"))
        })?;
        let rollout = Rollout::new(name.clone(), champion, candidate, settings)?.started();
        self.install(&entry, rollout).await
    }

    /// Goes on with a rollout that was stored, after a restart; the counts of its step begin anew.
    ///
    /// # Errors
    /// As [`Server::start_rollout`].
    pub async fn resume_rollout(&self, rollout: Rollout) -> Result<Rollout> {
        rollout.settings.validate()?;
        let entry = self.inner.repository.entry(rollout.model.as_str())?;
        self.install(&entry, rollout).await
    }

    async fn install(&self, entry: &Entry, rollout: Rollout) -> Result<Rollout> {
        let name = &entry.config.name;
        let busy = |active: &ActiveRollout| matches!(active.rollout.phase, Phase::Shadow | Phase::Canary { .. });
        let refuse =
            || Error::failed_precondition(format!("model \"{name}\" has a rollout in progress; stop it first"));
        if entry.state().rollout.as_deref().is_some_and(busy) {
            return Err(refuse());
        }
        let candidate = self.inner.repository.ensure_version(entry, rollout.candidate).await?;
        let installed = rollout.clone();
        entry.update(|state| {
            if state.rollout.as_deref().is_some_and(busy) {
                return Err(refuse());
            }
            let Some(champion) = state.champion() else {
                return Err(Error::failed_precondition(format!("model \"{name}\" has no version in service")));
            };
            champion.check_replaceable_by(&candidate)?;
            state.versions.insert(candidate.version, candidate);
            state.rollout = Some(Arc::new(ActiveRollout::new(installed)));
            Ok(())
        })?;
        self.announce(&rollout).await;
        Ok(rollout)
    }

    /// What both arms did since the current step began.
    #[must_use]
    pub fn rollout_stats(&self, name: &ModelName) -> Option<RolloutStats> {
        let entry = self.inner.repository.entry(name.as_str()).ok()?;
        entry.state().rollout.as_ref().map(|active| active.stats())
    }

    /// Where the rollout of a model stands; store it to resume after a restart.
    #[must_use]
    pub fn rollout(&self, name: &ModelName) -> Option<Rollout> {
        self.inner.repository.rollout(name)
    }

    /// Judges the rollout on what was counted and does what was decided.
    ///
    /// # Errors
    /// `NotFound` without a rollout; `Conflict` when it changed meanwhile.
    pub async fn step_rollout(&self, name: &ModelName) -> Result<Decision> {
        let (entry, active) = self.active(name)?;
        let stats = active.stats();
        let decision = active.rollout.advance(&stats);
        if decision != Decision::Hold {
            self.replace(&entry, &active, active.rollout.apply(&decision, &stats)).await?;
        }
        Ok(decision)
    }

    /// Gives all traffic back to the champion.
    ///
    /// # Errors
    /// `NotFound` without a rollout; `Conflict` when it changed meanwhile.
    pub async fn roll_back(&self, name: &ModelName, reason: &str) -> Result<Rollout> {
        let (entry, active) = self.active(name)?;
        let next = active.rollout.apply(&Decision::RollBack(reason.to_owned()), &active.stats());
        self.replace(&entry, &active, next.clone()).await?;
        Ok(next)
    }

    fn active(&self, name: &ModelName) -> Result<(Arc<Entry>, Arc<ActiveRollout>)> {
        let entry = self.inner.repository.entry(name.as_str())?;
        let active = entry.state().rollout.clone();
        let active = active.ok_or_else(|| Error::not_found(format!("model \"{name}\" has no rollout")))?;
        Ok((entry, active))
    }

    async fn replace(&self, entry: &Entry, old: &Arc<ActiveRollout>, next: Rollout) -> Result<()> {
        let installed = next.clone();
        entry.update(|state| {
            if !state.rollout.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
                return Err(Error::conflict(format!(
                    "the rollout of model \"{}\" changed meanwhile",
                    entry.config.name
                )));
            }
            state.rollout = Some(Arc::new(ActiveRollout::new(installed)));
            Ok(())
        })?;
        self.announce(&next).await;
        Ok(())
    }

    async fn announce(&self, rollout: &Rollout) {
        let (model, candidate) = (rollout.model.clone(), rollout.candidate);
        let (state, weight) = (rollout.state_name().to_owned(), rollout.weight());
        tracing::info!(model = %model, version = %candidate, state, weight, "rollout changed");
        let Some(events) = &self.inner.events else { return };
        let fact = Fact::RolloutChanged { model, candidate, state, weight };
        // An event is a notice: traffic has moved already, so a deaf subscriber is logged, not fatal.
        if let Err(error) = events.publish(Event::new(self.inner.clock.now(), fact)).await {
            tracing::warn!(error = %error.chain(), "rollout change was not delivered");
        }
    }
}
