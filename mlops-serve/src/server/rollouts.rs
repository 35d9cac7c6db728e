//! Driving rollouts: begin, look, step, command, recover. The server counts and moves traffic; the application moves the
//! alias after a promotion.
//!
//! Invariant: a step is recorded before traffic moves: an entry in the audit log, then the new state in the store, then
//! the swap, then the event. Whoever dies in between finds, after [`Server::recover_rollouts`], the old state or the new one.
//! The one exception is the safe direction: traffic goes back to the champion even when that cannot be recorded, and
//! the error says so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mlops_core::{Action, AuditEntry, Error, Event, Fact, ModelName, Principal, Resource, Result, ResultExt, Version};

use super::{ActiveRollout, Server};
use crate::{
    repository::{Entry, LoadedVersion, Watcher},
    rollout::{Command, Decision, Look, Rollout, RolloutSettings, RolloutStats, bandit::RewardedChoice},
};

/// Who acts in the audit log when nobody asked.
const SERVER: &str = "mlops-serve";

/// What has to be written down of a step.
struct Step<'a> {
    next: Rollout,
    by: &'a Principal,
    action: Action,
    /// Whether it only gives traffic back to the champion.
    is_retreat: bool,
}

impl Server {
    /// Loads `candidate` if need be and begins its rollout against the version in service.
    ///
    /// # Errors
    /// `InvalidArgument` for wrong settings, `FailedPrecondition` when another rollout is in progress, nothing is in
    /// service, or the candidate's inputs and outputs differ; what kept the candidate from loading, or the rollout from
    /// being recorded.
    pub async fn start_rollout(
        &self,
        name: &ModelName,
        candidate: Version,
        settings: RolloutSettings,
    ) -> Result<Rollout> {
        self.start_experiment(name, [candidate], settings).await
    }

    /// The same for several candidates, which the settings give shares or leave to a bandit.
    ///
    /// # Errors
    /// As [`Server::start_rollout`].
    pub async fn start_experiment(
        &self,
        name: &ModelName,
        candidates: impl Into<Vec<Version>> + Send,
        settings: RolloutSettings,
    ) -> Result<Rollout> {
        let entry = self.inner.repository.entry(name.as_str())?;
        let champion = entry.state().default.ok_or_else(|| {
            Error::failed_precondition(format!("model \"{name}\" has no version in service to compare with"))
        })?;
        let rollout = Rollout::with_candidates(name.clone(), champion, candidates, settings)?;
        self.install(&entry, rollout.started(self.inner.clock.now())).await
    }

    /// Goes on with a rollout that the application kept; what its last look had counted counts.
    ///
    /// # Errors
    /// As [`Server::start_rollout`].
    pub async fn resume_rollout(&self, rollout: Rollout) -> Result<Rollout> {
        rollout.validate()?;
        let entry = self.inner.repository.entry(rollout.model.as_str())?;
        self.install(&entry, rollout).await
    }

    /// Goes on with every rollout in the store, after a restart; call it when the models are loaded, before traffic comes.
    ///
    /// A rollout whose candidate is in service by now is over and forgotten (a server that runs forgets it at the next
    /// step). One that cannot go on, since a candidate
    /// cannot be loaded or another version is in service, is rolled back, and the store says why. Models that are not
    /// served here, or not in service yet, are left alone. Gives the rollouts as they stand.
    ///
    /// # Errors
    /// What kept a rollout from being read, after the others went on; what kept the store from being read, or a step from
    /// being recorded. Traffic then is the champion's.
    pub async fn recover_rollouts(&self) -> Result<Vec<Rollout>> {
        let _one_step_at_a_time = self.inner.rollouts.steps.lock().await;
        let Some(store) = &self.inner.rollouts.store else { return Ok(Vec::new()) };
        let (mut standing, mut unread) = (Vec::new(), None);
        for rollout in store.list_each().await? {
            let rollout = match rollout {
                Ok(rollout) => rollout,
                Err(error) => {
                    tracing::error!(error = %error.chain(), "a stored rollout cannot be read; its model is served by its champion");
                    unread = Some(error);
                    continue;
                }
            };
            let Ok(entry) = self.inner.repository.entry(rollout.model.as_str()) else { continue };
            let state = entry.state();
            let Some(in_service) = state.default else { continue };
            if rollout.candidates.contains(&in_service) {
                store.remove(&rollout.model).await?;
            } else if let Some(active) = &state.rollout {
                standing.push(active.snapshot());
            } else if rollout.is_active() {
                standing.push(self.recover(&entry, rollout, in_service).await?);
            } else {
                standing.push(rollout);
            }
        }
        unread.map_or(Ok(standing), Err)
    }

    async fn recover(&self, entry: &Entry, rollout: Rollout, in_service: Version) -> Result<Rollout> {
        let refused = if in_service == rollout.champion {
            match rollout.validate() {
                Ok(()) => self.load_candidates(entry, &rollout).await.map_err(|error| error.chain()),
                Err(error) => Err(error.chain()),
            }
        } else {
            Err(champion_changed(&rollout, Some(in_service)))
        };
        let reason = match refused {
            Ok(loaded) => {
                tracing::info!(model = %rollout.model, state = rollout.state_name(), "rollout goes on");
                self.inner.rollouts.keep(&rollout.model);
                put(entry, rollout.clone(), loaded);
                return Ok(rollout);
            }
            Err(reason) => reason,
        };
        let decision = Decision::RollBack(format!("it could not go on after a restart: {reason}"));
        let next = rollout.apply(&decision, &rollout.seen, self.inner.clock.now());
        let by = Principal::new(SERVER);
        self.record(&Step { next: next.clone(), by: &by, action: Action::Write, is_retreat: true }).await?;
        self.announce(&next).await;
        Ok(next)
    }

    async fn install(&self, entry: &Entry, rollout: Rollout) -> Result<Rollout> {
        let _one_step_at_a_time = self.inner.rollouts.steps.lock().await;
        if entry.state().rollout.as_deref().is_some_and(|active| active.rollout.is_open()) {
            let name = &entry.config.name;
            return Err(Error::failed_precondition(format!(
                "model \"{name}\" has a rollout in progress; stop it first"
            )));
        }
        let loaded = self.load_candidates(entry, &rollout).await?;
        let by = Principal::new(SERVER);
        self.record(&Step { next: rollout.clone(), by: &by, action: Action::Promote, is_retreat: false }).await?;
        put(entry, rollout.clone(), loaded);
        self.announce(&rollout).await;
        Ok(rollout)
    }

    /// Loads what the rollout needs and checks that it fits, before anything is written down.
    async fn load_candidates(&self, entry: &Entry, rollout: &Rollout) -> Result<Vec<Arc<LoadedVersion>>> {
        let mut loaded = Vec::with_capacity(rollout.candidates.len());
        for candidate in &rollout.candidates {
            let candidate = self.inner.repository.ensure_version(entry, *candidate).await?;
            let state = entry.state();
            let Some(champion) = state.champion() else {
                let name = &entry.config.name;
                return Err(Error::failed_precondition(format!("model \"{name}\" has no version in service")));
            };
            champion.check_replaceable_by(&candidate)?;
            loaded.push(candidate);
        }
        Ok(loaded)
    }

    /// What the arms did since the current stage began.
    #[must_use]
    pub fn rollout_stats(&self, name: &ModelName) -> Option<RolloutStats> {
        let entry = self.inner.repository.entry(name.as_str()).ok()?;
        entry.state().rollout.as_ref().map(|active| active.stats())
    }

    /// Where the rollout of a model stands.
    #[must_use]
    pub fn rollout(&self, name: &ModelName) -> Option<Rollout> {
        let entry = self.inner.repository.entry(name.as_str()).ok()?;
        entry.state().rollout.as_ref().map(|active| active.snapshot())
    }

    /// Judges the rollout on what was counted, and does nothing.
    ///
    /// # Errors
    /// `NotFound` without a rollout.
    pub fn look_at_rollout(&self, name: &ModelName) -> Result<Look> {
        let (_, active) = self.active(name)?;
        Ok(active.snapshot().look(&active.stats(), self.inner.clock.now()))
    }

    /// Judges the rollout on what was counted and does what was decided. What was counted and learnt is kept in the store
    /// either way.
    ///
    /// # Errors
    /// `NotFound` without a rollout; `Conflict` when the repository changed it meanwhile; what kept the step from being
    /// recorded, and then only a step back to the champion was made.
    pub async fn step_rollout(&self, name: &ModelName) -> Result<Decision> {
        let _one_step_at_a_time = self.inner.rollouts.steps.lock().await;
        self.forget_settled(name).await?;
        let (entry, active) = self.active(name)?;
        let (current, stats, now) = (active.snapshot(), active.stats(), self.inner.clock.now());
        let in_service = entry.state().default;
        let mut look = current.look(&stats, now);
        if current.is_open() && in_service != Some(current.champion) {
            look.decision = Decision::RollBack(champion_changed(&current, in_service));
        }
        let next = current.after(&look, &stats, now);
        let by = Principal::new(SERVER);
        if look.decision == Decision::Hold {
            if let Some(store) = self.inner.rollouts.store.as_ref().filter(|_| current.is_open()) {
                store.save(&next).await?;
            }
            return Ok(Decision::Hold);
        }
        self.make(&entry, &active, next, &look.decision, &by).await?;
        Ok(look.decision)
    }

    /// Does what a person asks for, in whose name it is recorded.
    ///
    /// # Errors
    /// `NotFound` without a rollout; `FailedPrecondition` and `InvalidArgument` as [`Rollout::command`]; what kept it from
    /// being recorded.
    pub async fn command_rollout(&self, name: &ModelName, command: &Command, by: &Principal) -> Result<Rollout> {
        let _one_step_at_a_time = self.inner.rollouts.steps.lock().await;
        let (entry, active) = self.active(name)?;
        let current = active.snapshot();
        let decision = current.command(command)?;
        let next = current.apply(&decision, &active.stats(), self.inner.clock.now());
        self.make(&entry, &active, next.clone(), &decision, by).await?;
        Ok(next)
    }

    /// Gives all traffic back to the champion.
    ///
    /// # Errors
    /// As [`Server::command_rollout`].
    pub async fn roll_back(&self, name: &ModelName, reason: &str) -> Result<Rollout> {
        let command = Command::RollBack { reason: reason.to_owned() };
        self.command_rollout(name, &command, &Principal::new(SERVER)).await
    }

    /// Takes what came of an answer: a figure that a guardrail, a goal or a bandit judges by. False when the figure was
    /// reported for that answer before; it then counts once.
    ///
    /// # Errors
    /// `NotFound` without a rollout, or when the answer is not one of its newest
    /// [`outcomes_pending_max`](RolloutSettings::outcomes_pending_max); `InvalidArgument` for a value that is not finite or
    /// no reward of the bandit; `ResourceExhausted` for too many different figures.
    pub fn record_outcome(&self, name: &ModelName, request_id: &str, kpi: &str, value: f64) -> Result<bool> {
        let (_, active) = self.active(name)?;
        active.take_outcome(request_id, kpi, value)
    }

    /// Takes the choices of a bandit that were rewarded since the last call, oldest first, for off-policy estimates. The newest
    /// [`outcomes_pending_max`](RolloutSettings::outcomes_pending_max) wait for it; keeping them is the application's part.
    ///
    /// # Errors
    /// `NotFound` without a rollout.
    pub fn take_rewarded_choices(&self, name: &ModelName) -> Result<Vec<RewardedChoice>> {
        let (_, active) = self.active(name)?;
        Ok(active.take_rewarded())
    }

    /// Steps every open rollout again and again, the first time at once. Failures are logged; the next step tries
    /// again.
    #[must_use = "dropping the watcher stops it"]
    pub fn watch_rollouts(&self, period: Duration) -> Watcher {
        let server = self.clone();
        Watcher::every(period, move || {
            let server = server.clone();
            async move { server.step_all().await }
        })
    }

    async fn step_all(&self) {
        for name in self.inner.repository.names() {
            let stepped = match self.active(&name) {
                Ok((_, active)) if active.rollout.is_open() => self.step_rollout(&name).await.map(drop),
                Ok(_) => Ok(()),
                Err(_) => self.forget_settled(&name).await,
            };
            if let Err(error) = stepped {
                tracing::warn!(model = %name, error = %error.chain(), "rollout was not stepped");
            }
        }
    }

    /// Takes a rollout out of the store that ended because the alias moved to its candidate.
    async fn forget_settled(&self, name: &ModelName) -> Result<()> {
        let settled = self.active(name).is_err() && self.inner.rollouts.is_kept(name);
        let Some(store) = self.inner.rollouts.store.as_ref().filter(|_| settled) else { return Ok(()) };
        store.remove(name).await?;
        self.inner.rollouts.forget(name);
        Ok(())
    }

    fn active(&self, name: &ModelName) -> Result<(Arc<Entry>, Arc<ActiveRollout>)> {
        let entry = self.inner.repository.entry(name.as_str())?;
        let active = entry.state().rollout.clone();
        let active = active.ok_or_else(|| Error::not_found(format!("model \"{name}\" has no rollout")))?;
        Ok((entry, active))
    }

    /// Records a step and moves traffic. A step back moves it whether or not it could be recorded.
    async fn make(
        &self,
        entry: &Entry,
        old: &Arc<ActiveRollout>,
        next: Rollout,
        decision: &Decision,
        by: &Principal,
    ) -> Result<()> {
        let is_retreat = matches!(decision, Decision::RollBack(_) | Decision::Stop(..));
        let raises = matches!(decision, Decision::Advance(_) | Decision::Promote(_));
        let action = if raises { Action::Promote } else { Action::Write };
        let step = Step { next, by, action, is_retreat };
        let recorded = self.record(&step).await;
        if !is_retreat {
            recorded?;
            self.swap(entry, old, &step.next)?;
            self.announce(&step.next).await;
            return Ok(());
        }
        self.swap(entry, old, &step.next)?;
        self.announce(&step.next).await;
        recorded.context("traffic went back to the champion, but that could not be recorded")
    }

    /// The audit log first, for what is not in it must not happen; then the store.
    async fn record(&self, step: &Step<'_>) -> Result<()> {
        let audited = match &self.inner.rollouts.audit {
            Some(audit) => audit.append(self.audit_entry(step)).await,
            None => Ok(()),
        };
        // A step back must outlive a restart even when the log is away.
        if !step.is_retreat {
            audited?;
            return self.save(&step.next).await;
        }
        let saved = self.save(&step.next).await;
        audited.and(saved)
    }

    async fn save(&self, rollout: &Rollout) -> Result<()> {
        match &self.inner.rollouts.store {
            Some(store) => {
                self.inner.rollouts.keep(&rollout.model);
                store.save(rollout).await
            }
            None => Ok(()),
        }
    }

    fn audit_entry(&self, step: &Step<'_>) -> AuditEntry {
        let next = &step.next;
        let mut details = BTreeMap::from([
            ("champion".to_owned(), next.champion.to_string()),
            ("candidates".to_owned(), words(&next.candidates)),
            ("state".to_owned(), next.state_name().to_owned()),
            ("weight".to_owned(), format!("{:.4}", next.weight())),
        ]);
        if let Some(reason) = next.reason() {
            details.insert("reason".to_owned(), reason.to_owned());
        }
        if !next.stopped.is_empty() {
            details.insert("stopped".to_owned(), words(&next.stopped));
        }
        let said = next.findings.iter().map(|finding| format!("{:?} {}", finding.verdict, finding.reason));
        let findings = said.collect::<Vec<_>>().join("; ");
        if !findings.is_empty() {
            details.insert("findings".to_owned(), findings);
        }
        AuditEntry {
            at: self.inner.clock.now(),
            principal: step.by.clone(),
            action: step.action,
            resource: Resource::new("model", next.model.as_str()),
            details,
        }
    }

    fn swap(&self, entry: &Entry, old: &Arc<ActiveRollout>, next: &Rollout) -> Result<()> {
        entry.update(|state| {
            if !state.rollout.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
                return Err(Error::conflict(format!(
                    "the rollout of model \"{}\" changed meanwhile",
                    entry.config.name
                )));
            }
            state.rollout = Some(Arc::new(old.succeeded_by(next.clone())));
            Ok(())
        })
    }

    async fn announce(&self, rollout: &Rollout) {
        let (model, candidate) = (rollout.model.clone(), rollout.leading());
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

/// Swaps in a rollout with its candidates, which it keeps loaded from here on.
fn put(entry: &Entry, rollout: Rollout, loaded: Vec<Arc<LoadedVersion>>) {
    entry.update(|state| {
        state.versions.extend(loaded.into_iter().map(|candidate| (candidate.version, candidate)));
        state.rollout = Some(Arc::new(ActiveRollout::new(rollout)));
    });
}

fn champion_changed(rollout: &Rollout, in_service: Option<Version>) -> String {
    let now = in_service.map_or("none".to_owned(), |version| version.to_string());
    format!("it began against version {}; in service now is {now}", rollout.champion)
}

fn words(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
