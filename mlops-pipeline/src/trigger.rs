//! When events add up to a reason to retrain: evidence, news, budget.
//!
//! Invariant: what a trigger decides depends on its settings, the event and the decisions in the
//! journal alone; time is the events' own. The same events give the same decisions in every
//! replay, and an event delivered again changes nothing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Digest, Error, Event, EventBus, EventHandler, Fact, FactKind, ModelName, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    journal::{DecisionJournal, Firing, FiringSource, Sighting, TriggerHistory},
    name::check_part,
};

/// Most firings that [`Trigger::recover`] announces in one call.
const RECOVER_MAX: u32 = 1_000;

/// How often a trigger may fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Firings within one period. Default 4.
    pub firings_max: u32,
    /// The period, in milliseconds; it slides. Default one week.
    pub period_ms: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { firings_max: 4, period_ms: 7 * 24 * 3_600 * 1_000 }
    }
}

/// When a trigger fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerSettings {
    /// Name, unique among the triggers of a journal.
    pub name: String,
    /// The model to train again. Facts about other models are not looked at.
    pub model: ModelName,
    /// The DAG to run; none to announce only.
    #[serde(default)]
    pub dag: Option<String>,
    /// Facts that count as evidence.
    pub evidence: Vec<FactKind>,
    /// Facts that take a place among the last events without being evidence.
    #[serde(default)]
    pub observed: Vec<FactKind>,
    /// Fires when at least so many... Default 1.
    #[serde(default = "one")]
    pub evidence_min: u32,
    /// ...of the last so many events are evidence. Events before the last firing do not count
    /// again. Default 1.
    #[serde(default = "one")]
    pub events_window: u32,
    /// Events older than this do not count, in milliseconds; none for no limit.
    #[serde(default)]
    pub age_max_ms: Option<u64>,
    /// Shortest time between two firings over the same thing, in milliseconds: a column of
    /// `DriftDetected`, the alert of `AlertRaised`, for other facts their kind. Drift that persists waits; drift that shows up
    /// somewhere new does not. Default one day.
    #[serde(default = "one_day")]
    pub cooldown_ms: u64,
    /// How often it may fire.
    #[serde(default)]
    pub budget: Budget,
}

fn one() -> u32 {
    1
}

fn one_day() -> u64 {
    24 * 3_600 * 1_000
}

impl TriggerSettings {
    /// Fires on any one fact of these kinds, with the default cool-down and budget.
    #[must_use]
    pub fn new(name: impl Into<String>, model: ModelName, evidence: impl Into<Vec<FactKind>>) -> Self {
        Self {
            name: name.into(),
            model,
            dag: None,
            evidence: evidence.into(),
            observed: Vec::new(),
            evidence_min: one(),
            events_window: one(),
            age_max_ms: None,
            cooldown_ms: one_day(),
            budget: Budget::default(),
        }
    }

    fn check(&self) -> Result<()> {
        let mut faults = Vec::new();
        faults.extend(check_part("trigger", &self.name).err().map(|error| error.message().to_owned()));
        faults.extend(self.dag.as_ref().and_then(|dag| check_part("DAG", dag).err()).map(|e| e.message().to_owned()));
        if self.evidence.is_empty() {
            faults.push("evidence is empty; name the kinds of facts that count".to_owned());
        }
        if self.evidence.contains(&FactKind::RetrainRequested) {
            faults.push("evidence has retrain_requested, which the trigger itself announces".to_owned());
        }
        if let Some(both) = self.evidence.iter().find(|kind| self.observed.contains(kind)) {
            faults.push(format!("{both:?} is both evidence and merely observed"));
        }
        if self.evidence_min == 0 || self.evidence_min > self.events_window {
            faults.push(format!(
                "evidence_min is {}; it must be from 1 to events_window, which is {}",
                self.evidence_min, self.events_window
            ));
        }
        if self.budget.firings_max == 0 {
            faults.push("budget.firings_max is 0: it could never fire".to_owned());
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("trigger {:?}: {}", self.name, faults.join("; "))))
    }
}

/// What a trigger made of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Retraining is asked for.
    Fired {
        /// Key of the run that is asked for.
        run_key: String,
        /// Why.
        reason: String,
    },
    /// Nothing is asked for.
    Held {
        /// Why not.
        reason: String,
    },
}

impl Decision {
    /// Whether retraining is asked for.
    #[must_use]
    pub fn is_fired(&self) -> bool {
        matches!(self, Self::Fired { .. })
    }

    /// Why, or why not.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Fired { reason, .. } | Self::Held { reason } => reason,
        }
    }
}

/// A decision as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The trigger.
    pub trigger: String,
    /// Digest of the event.
    pub event_key: Digest,
    /// When the event happened.
    pub at: Timestamp,
    /// What kind of fact it was.
    pub kind: FactKind,
    /// Whether it counted as evidence.
    pub evidence: bool,
    /// What it was about.
    pub topics: Vec<String>,
    /// What was decided.
    pub decision: Decision,
    /// Whether the firing was announced.
    pub announced: bool,
}

/// Turns events into decisions to retrain.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{Event, Fact, FactKind, ModelName, Timestamp, Version};
/// use mlops_pipeline::{SqlJournal, Trigger, TriggerSettings};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let journal = Arc::new(SqlJournal::open(Arc::new(SqliteMetaStore::in_memory().await?)).await?);
/// let fraud = ModelName::new("fraud")?;
/// let settings = TriggerSettings {
///     evidence_min: 2,
///     events_window: 3,
///     ..TriggerSettings::new("drift", fraud.clone(), [FactKind::DriftDetected])
/// };
/// let trigger = Trigger::builder(settings, journal).build()?;
/// let drift = |at: &str| {
///     let at: Timestamp = at.parse()?;
///     let fact =
///         Fact::DriftDetected { model: fraud.clone(), version: Version(1), columns: vec![], window_end: at };
///     Ok::<_, mlops_core::Error>(Event::new(at, fact))
/// };
/// let first = trigger.consider(&drift("2024-01-01")?).await?;
/// assert_eq!(first.unwrap().reason(), "1 of the last 1 events is evidence, 2 of 3 are needed");
/// let second = trigger.consider(&drift("2024-01-02")?).await?;
/// assert!(second.unwrap().is_fired());
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Trigger {
    settings: TriggerSettings,
    journal: Arc<dyn DecisionJournal>,
    bus: Option<Arc<dyn EventBus>>,
}

impl Trigger {
    /// Begins a trigger that keeps its decisions in `journal`.
    pub fn builder(settings: TriggerSettings, journal: Arc<dyn DecisionJournal>) -> TriggerBuilder {
        TriggerBuilder { settings, journal, bus: None }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &TriggerSettings {
        &self.settings
    }

    /// Decides upon an event; none when the event is not of this trigger's concern. The decision,
    /// and the firing of the DAG, are durable when it returns. `RetrainRequested` is published
    /// after a decision to fire; if that fails the error is returned, and giving the event again or
    /// [`Trigger::recover`] publishes it then.
    ///
    /// # Errors
    /// When the journal cannot be written or the bus cannot be reached.
    pub async fn consider(&self, event: &Event) -> Result<Option<Decision>> {
        let Some(sighting) = self.sighting(event)? else { return Ok(None) };
        let record = self.journal.decide(&sighting, &|history| self.decide(&sighting, history)).await?;
        self.announce(&record).await?;
        Ok(Some(record.decision))
    }

    /// Announces firings that were decided but not announced because the process died or the bus
    /// was away; returns how many. To be called once after a start.
    ///
    /// # Errors
    /// When the journal cannot be read or written or the bus cannot be reached.
    pub async fn recover(&self) -> Result<usize> {
        let records = self.journal.unannounced(&self.settings.name, RECOVER_MAX).await?;
        for record in &records {
            self.announce(record).await?;
        }
        Ok(records.len())
    }

    /// The latest decisions, newest event first, at most `limit`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn decisions(&self, limit: u32) -> Result<Vec<DecisionRecord>> {
        self.journal.decisions(&self.settings.name, limit).await
    }

    fn sighting(&self, event: &Event) -> Result<Option<Sighting>> {
        let kind = event.fact.kind();
        let evidence = self.settings.evidence.contains(&kind);
        let watched = evidence || self.settings.observed.contains(&kind);
        if !watched || model_of(&event.fact).is_some_and(|model| *model != self.settings.model) {
            return Ok(None);
        }
        let reach = Duration::from_millis(self.settings.budget.period_ms.max(self.settings.cooldown_ms));
        Ok(Some(Sighting {
            trigger: self.settings.name.clone(),
            event_key: event_key(event)?,
            at: event.at,
            kind,
            evidence,
            topics: topics_of(&event.fact),
            events_max: self.settings.events_window - 1,
            fired_since: event.at - reach,
        }))
    }

    /// The policy: evidence, then cool-down of what it is about, then budget.
    fn decide(&self, sighting: &Sighting, history: &TriggerHistory) -> (Decision, Option<Firing>) {
        match self.verdict(sighting, history) {
            Err(reason) => (Decision::Held { reason }, None),
            Ok(reason) => {
                let run_key = self.run_key(sighting);
                let firing = self.settings.dag.as_ref().map(|dag| Firing {
                    run_key: run_key.clone(),
                    dag: dag.clone(),
                    due_at: sighting.at,
                    source: FiringSource::Trigger,
                    params: json!({ "model": self.settings.model, "trigger": self.settings.name, "reason": reason }),
                    outcome: None,
                });
                (Decision::Fired { run_key, reason }, firing)
            }
        }
    }

    /// `Ok` is the reason to fire, `Err` the reason not to.
    fn verdict(&self, sighting: &Sighting, history: &TriggerHistory) -> Result<String, String> {
        let TriggerSettings { evidence_min, events_window, age_max_ms, budget, .. } = &self.settings;
        if !sighting.evidence {
            return Err("the event is no evidence".to_owned());
        }
        let oldest = age_max_ms.map_or(Timestamp::MIN, |age| sighting.at - Duration::from_millis(age));
        let young = history.events.iter().filter(|(at, _)| *at >= oldest);
        let (events, evidence) = young.fold((1_u32, 1_u32), |(n, k), (_, counts)| (n + 1, k + u32::from(*counts)));
        let (verb, count) =
            (if evidence == 1 { "is" } else { "are" }, format!("{evidence} of the last {events} events"));
        if evidence < *evidence_min {
            return Err(format!("{count} {verb} evidence, {evidence_min} of {events_window} are needed"));
        }
        let news = self.news(sighting, history)?;
        let period_start = sighting.at - Duration::from_millis(budget.period_ms);
        let spent = history.firings.iter().filter(|firing| firing.at > period_start).count();
        if spent >= usize::try_from(budget.firings_max).unwrap_or(usize::MAX) {
            return Err(format!("budget of {} firings in {} ms is spent", budget.firings_max, budget.period_ms));
        }
        Ok(format!("{count} {verb} evidence; new: {news}"))
    }

    /// What no firing was about within the cool-down; `Err` when there is nothing of that kind.
    fn news(&self, sighting: &Sighting, history: &TriggerHistory) -> Result<String, String> {
        let cooldown = Duration::from_millis(self.settings.cooldown_ms);
        let cooling_until = |topic: &String| {
            let about = history.firings.iter().filter(|firing| firing.topics.contains(topic));
            about.map(|firing| firing.at + cooldown).max().filter(|until| sighting.at < *until)
        };
        let news: Vec<&str> =
            sighting.topics.iter().filter(|topic| cooling_until(topic).is_none()).map(String::as_str).collect();
        match sighting.topics.iter().filter_map(cooling_until).min() {
            Some(until) if news.is_empty() => Err(format!("nothing new; cooling down until {until}")),
            _ => Ok(news.join(", ")),
        }
    }

    fn run_key(&self, sighting: &Sighting) -> String {
        let name = self.settings.dag.as_ref().unwrap_or(&self.settings.name);
        format!("{name}@{}+{}", sighting.at, sighting.event_key.short())
    }

    async fn announce(&self, record: &DecisionRecord) -> Result<()> {
        let (Decision::Fired { reason, .. }, false) = (&record.decision, record.announced) else { return Ok(()) };
        if let Some(bus) = &self.bus {
            let fact = Fact::RetrainRequested { model: self.settings.model.clone(), reason: reason.clone() };
            bus.publish(Event::new(record.at, fact)).await?;
        }
        self.journal.mark_announced(&record.trigger, &record.event_key).await
    }
}

#[async_trait]
impl EventHandler for Trigger {
    async fn handle(&self, event: &Event) -> Result<()> {
        self.consider(event).await.map(drop)
    }
}

/// Assembles a [`Trigger`].
#[derive(Debug)]
#[must_use]
pub struct TriggerBuilder {
    settings: TriggerSettings,
    journal: Arc<dyn DecisionJournal>,
    bus: Option<Arc<dyn EventBus>>,
}

impl TriggerBuilder {
    /// Publishes `RetrainRequested`. Default: decisions are only kept.
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming every fault at once.
    pub fn build(self) -> Result<Trigger> {
        self.settings.check()?;
        Ok(Trigger { settings: self.settings, journal: self.journal, bus: self.bus })
    }
}

/// Time and content make an event: what is delivered again has both the same.
fn event_key(event: &Event) -> Result<Digest> {
    let text = serde_json::to_vec(event).map_err(|error| Error::internal(format!("event is not JSON: {error}")))?;
    Ok(Digest::of(&text))
}

/// What the evidence is about; what cools down.
fn topics_of(fact: &Fact) -> Vec<String> {
    match fact {
        Fact::DriftDetected { columns, .. } if !columns.is_empty() => columns.clone(),
        Fact::AlertRaised { alert, .. } => vec![alert.clone()],
        _ => vec![format!("{:?}", fact.kind())],
    }
}

/// The model that a fact is about, when it is about one.
fn model_of(fact: &Fact) -> Option<&ModelName> {
    match fact {
        Fact::ModelVersionCreated { model, .. }
        | Fact::AliasMoved { model, .. }
        | Fact::RolloutChanged { model, .. }
        | Fact::DriftDetected { model, .. }
        | Fact::RetrainRequested { model, .. } => Some(model),
        _ => None,
    }
}
