//! From observations to notifications: the state machines of all alerts, their groups, silences
//! and inhibitions.
//!
//! Invariant: it is pure. Time comes with each call, and the same calls in the same order give the
//! same notifications, so that a journal of calls is a journal of the state. Every collection is
//! bounded by a setting. It sends nothing; [`super::AlertCenter`] does.

use std::{collections::BTreeMap, mem};

use mlops_core::{Error, Event, Fact, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    group::Group,
    inhibit::Inhibitions,
    labels::{ALERT_NAME, Annotations, Fingerprint, Labels, SEVERITY},
    matcher::{Matcher, check_list},
    notification::{Alert, Notification, Status},
    observation::Observation,
    router_settings::RouterSettings,
    silence::Silence,
    state::{AlertState, CLOCK_SKEW, Phase, Reading, Step},
};

/// Added to the name of a rule for the alert that its data is missing.
const NO_DATA_SUFFIX: &str = "NoData";

/// Decides what is told, when.
///
/// ```
/// use std::time::Duration;
///
/// use mlops_core::Timestamp;
/// use mlops_monitor::alert::{AlertRouter, AlertRule, Labels, Observation, RouterSettings};
///
/// let settings = RouterSettings { default_rule: AlertRule::immediate(), ..RouterSettings::default() };
/// let mut router = AlertRouter::new(settings)?;
/// let labels = Labels::new([("alertname", "Drift"), ("model", "fraud"), ("feature", "amount")])?;
/// let now = Timestamp::from_millis(0);
/// router.observe(&Observation::new(labels, now, 0.3, 0.1).with_annotation("summary", "drift in amount"), now)?;
/// assert_eq!(router.take_events().len(), 1);
///
/// assert!(router.tick(now).is_empty()); // waits for others of the group
/// let told = router.tick(now + Duration::from_secs(30));
/// assert_eq!(told[0].title(), "[FIRING:1] {model=\"fraud\", severity=\"warning\"}: drift in amount");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AlertRouter {
    settings: RouterSettings,
    state: RouterState,
    events: Vec<Event>,
    /// Whether the last tick changed the state.
    moved: bool,
}

/// All that an [`AlertRouter`] knows; serialize it to continue after a restart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterState {
    entries: BTreeMap<Fingerprint, Entry>,
    /// By the fingerprint of the labels that the group has in common.
    groups: BTreeMap<Fingerprint, Group>,
    silences: BTreeMap<String, Silence>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    labels: Labels,
    annotations: Annotations,
    generator_url: String,
    state: AlertState,
    /// When something was last heard of it.
    heard_at: Timestamp,
}

/// An observation as the state machine takes it: what the value meant has been decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    labels: Labels,
    at: Timestamp,
    reading: Reading,
    annotations: Annotations,
    generator_url: String,
}

/// What an observation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The alert's identity.
    pub fingerprint: Fingerprint,
    /// What the window meant.
    pub reading: Reading,
    /// How the alert's state went on.
    pub step: Step,
}

impl AlertRouter {
    /// A router that knows of no alerts yet.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range.
    pub fn new(settings: RouterSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self { settings, state: RouterState::default(), events: Vec::new(), moved: false })
    }

    /// Goes on from a stored state, with settings that may have changed.
    #[must_use]
    pub fn with_state(mut self, state: RouterState) -> Self {
        let groups = state.groups;
        self.state = RouterState { groups: BTreeMap::new(), ..state };
        for group in groups.into_values() {
            self.adopt(group);
        }
        self
    }

    /// Takes a stored group in; members that are grouped otherwise by now go to their new groups.
    fn adopt(&mut self, mut group: Group) {
        let labels = group.labels().clone();
        let moving = group.take_if(|member| self.group_labels(member) != labels);
        for member in moving {
            let labels = self.group_labels(&member.alert.labels);
            let fingerprint = labels.fingerprint();
            let known = self.state.groups.entry(fingerprint);
            known.or_insert_with(|| Group::regrouped(labels, group.due())).insert(member);
        }
        if !group.is_empty() {
            match self.state.groups.get_mut(&group.labels().fingerprint()) {
                Some(known) => known.merge(group),
                None => drop(self.state.groups.insert(group.labels().fingerprint(), group)),
            }
        }
    }

    /// What to store.
    #[must_use]
    pub fn state(&self) -> &RouterState {
        &self.state
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &RouterSettings {
        &self.settings
    }

    /// Takes what was seen in one window.
    ///
    /// # Errors
    /// `InvalidArgument` without a label `alertname`, or when the window ends more than
    /// [`CLOCK_SKEW`] after `now`; `ResourceExhausted` when it would be one more identity than
    /// `alerts_max`.
    pub fn observe(&mut self, observation: &Observation, now: Timestamp) -> Result<Observed> {
        let sighting = self.read(observation, now)?;
        Ok(self.take(&sighting, now))
    }

    /// Checks an observation and decides what its value means.
    pub(crate) fn read(&self, observation: &Observation, now: Timestamp) -> Result<Sighting> {
        let Observation { labels, at, value, threshold, direction, significant, annotations, generator_url } =
            observation;
        let Some(name) = labels.get(ALERT_NAME) else {
            return Err(Error::invalid_argument(format!("observation {labels} needs the label {ALERT_NAME}")));
        };
        if *at > now + CLOCK_SKEW {
            return Err(Error::invalid_argument(format!(
                "observation {labels} is of a window that ends at {at}, after now ({now})"
            )));
        }
        let rule = self.settings.rule(name);
        let labels = match labels.get(SEVERITY) {
            Some(_) => labels.clone(),
            None => labels.with(SEVERITY, rule.severity.as_str())?,
        };
        let (known, limit) = (&self.state.entries, self.settings.alerts_max);
        if known.len() >= limit && !known.contains_key(&labels.fingerprint()) {
            return Err(Error::resource_exhausted(format!(
                "alert {labels} would be one more than alerts_max ({limit}); raise the setting, or label by fewer values"
            )));
        }
        let reading = rule.read(*value, *threshold, *direction, *significant);
        let (annotations, generator_url) = (annotations.clone(), generator_url.clone());
        Ok(Sighting { labels, at: *at, reading, annotations, generator_url })
    }

    /// Moves the state machine and the group.
    pub(crate) fn take(&mut self, sighting: &Sighting, now: Timestamp) -> Observed {
        let Sighting { labels, at, reading, annotations, generator_url } = sighting;
        let fingerprint = labels.fingerprint();
        let rule = self.settings.rule(labels.get(ALERT_NAME).unwrap_or_default());
        let entry = self.state.entries.entry(fingerprint).or_insert_with(|| Entry {
            labels: labels.clone(),
            annotations: Annotations::default(),
            generator_url: String::new(),
            state: AlertState::default(),
            heard_at: now,
        });
        let step = entry.state.observe(rule, *at, now, *reading);
        entry.heard_at = now;
        if !step.late && *reading != Reading::Missing {
            entry.annotations.clone_from(annotations);
            entry.generator_url.clone_from(generator_url);
        }
        let entry = entry.clone();
        self.follow(&entry, step, now);
        Observed { fingerprint, reading: *reading, step }
    }

    /// Brings the groups up to date with a step of an alert.
    fn follow(&mut self, entry: &Entry, step: Step, now: Timestamp) {
        if step.fired {
            self.begin(entry.alert(), now);
        } else if step.resolved {
            self.end(&entry.labels, entry.state.last_window().unwrap_or(now));
        } else if entry.state.is_firing() && !step.late {
            self.refresh(entry);
        }
        match (step.from == Phase::NoData, step.to == Phase::NoData) {
            (false, true) => self.begin_no_data(entry, now),
            (true, false) => self.end(&entry.no_data_labels(), entry.state.last_window().unwrap_or(now)),
            _ => {}
        }
    }

    fn begin(&mut self, alert: Alert, now: Timestamp) {
        if self.events.len() < self.settings.alerts_max {
            let (name, summary) = (alert.name().to_owned(), alert.annotations.summary());
            let message = if summary.is_empty() { alert.labels.to_string() } else { summary.to_owned() };
            self.events.push(Event::new(now, Fact::AlertRaised { alert: name, message }));
        }
        let labels = self.group_labels(&alert.labels);
        let group = self.state.groups.entry(labels.fingerprint());
        group.or_insert_with(|| Group::new(labels, now, &self.settings)).begin(alert);
    }

    fn begin_no_data(&mut self, entry: &Entry, now: Timestamp) {
        let name = entry.labels.get(ALERT_NAME).unwrap_or_default();
        if !self.settings.rule(name).alert_on_no_data {
            return;
        }
        let last = entry.state.last_window().map_or_else(|| "never".to_owned(), |last| last.to_string());
        let summary = format!("no data for {name} {}; last window ended at {last}", entry.labels);
        self.begin(
            Alert {
                labels: entry.no_data_labels(),
                annotations: Annotations::default().with("summary", summary).with("last_window", last),
                starts_at: now,
                ends_at: None,
                generator_url: entry.generator_url.clone(),
            },
            now,
        );
    }

    fn alert_mut(&mut self, labels: &Labels) -> Option<&mut Alert> {
        let group = self.group_labels(labels).fingerprint();
        self.state.groups.get_mut(&group)?.alert_mut(labels.fingerprint())
    }

    fn end(&mut self, labels: &Labels, at: Timestamp) {
        if let Some(alert) = self.alert_mut(labels) {
            alert.ends_at = alert.ends_at.or(Some(at));
        }
    }

    fn refresh(&mut self, entry: &Entry) {
        if let Some(alert) = self.alert_mut(&entry.labels) {
            alert.annotations.clone_from(&entry.annotations);
            alert.generator_url.clone_from(&entry.generator_url);
        }
    }

    fn group_labels(&self, labels: &Labels) -> Labels {
        let every = self.settings.groups_by_every_label();
        labels.filtered(|name, _| every || self.settings.group_by.iter().any(|wanted| wanted == name))
    }

    /// Lets time pass: notices missing data, forgets what is old, and gives what is to be told now.
    #[must_use]
    pub fn tick(&mut self, now: Timestamp) -> Vec<Notification> {
        self.moved = false;
        self.check_missed(now);
        self.forget_old(now);
        let Self { settings, state, moved, .. } = self;
        for group in state.groups.values_mut() {
            *moved |= group.mend_clock(now, settings);
        }
        if !state.groups.values().any(|group| group.due() <= now) {
            return Vec::new();
        }
        *moved = true;
        let firing: Vec<Labels> = state.groups.values().flat_map(Group::firing).map(|a| a.labels.clone()).collect();
        let inhibitions = Inhibitions::new(&settings.inhibit, firing.iter());
        let RouterState { groups, silences, .. } = state;
        let muted =
            |labels: &Labels| silences.values().any(|silence| silence.mutes(labels, now)) || inhibitions.mute(labels);
        let due = groups.values_mut().filter(|group| group.due() <= now);
        let told = due.filter_map(|group| group.look(now, settings, muted)).collect();
        groups.retain(|_, group| !group.is_empty());
        told
    }

    /// Whether the last tick changed the state, so that a journal needs it.
    pub(crate) fn moved(&self) -> bool {
        self.moved
    }

    fn check_missed(&mut self, now: Timestamp) {
        let mut lost = Vec::new();
        for entry in self.state.entries.values_mut() {
            let rule = self.settings.rule(entry.labels.get(ALERT_NAME).unwrap_or_default());
            if entry.state.check_missed(rule, now) {
                lost.push(entry.clone());
            }
        }
        self.moved |= !lost.is_empty();
        lost.iter().for_each(|entry| self.begin_no_data(entry, now));
    }

    fn forget_old(&mut self, now: Timestamp) {
        let retention = self.settings.retention();
        let old = |entry: &Entry| !entry.state.is_firing() && entry.heard_at + retention <= now;
        let forgotten: Vec<Entry> = self.state.entries.values().filter(|entry| old(entry)).cloned().collect();
        self.moved |= !forgotten.is_empty();
        self.drop_entries(&forgotten, now);
        self.state.silences.retain(|_, silence| silence.ends_at() + retention > now);
    }

    fn drop_entries(&mut self, entries: &[Entry], now: Timestamp) {
        for entry in entries {
            self.end(&entry.labels, now);
            self.end(&entry.no_data_labels(), now);
            self.state.entries.remove(&entry.labels.fingerprint());
        }
    }

    /// Ends and forgets every alert that all matchers match, such as those of a retired model.
    /// Gives how many there were.
    ///
    /// # Errors
    /// `InvalidArgument` when the matchers would match every alert, or are too many.
    pub fn retire(&mut self, matchers: &[Matcher], now: Timestamp) -> Result<usize> {
        check_list("the list of alerts to retire", matchers)?;
        let all = self.state.entries.values();
        let matching = all.filter(|entry| matchers.iter().all(|matcher| matcher.matches(&entry.labels)));
        let retired: Vec<Entry> = matching.cloned().collect();
        self.drop_entries(&retired, now);
        Ok(retired.len())
    }

    /// Adds a silence, and gives its id.
    ///
    /// # Errors
    /// `ResourceExhausted` when there are `silences_max` already.
    pub fn silence(&mut self, silence: Silence) -> Result<String> {
        let (known, limit) = (&self.state.silences, self.settings.silences_max);
        if known.len() >= limit && !known.contains_key(silence.id()) {
            return Err(Error::resource_exhausted(format!("there are {limit} silences already (silences_max)")));
        }
        let id = silence.id().to_owned();
        self.state.silences.insert(id.clone(), silence);
        Ok(id)
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// `NotFound` when there is none with this id.
    pub fn expire_silence(&mut self, id: &str, now: Timestamp) -> Result<()> {
        match self.state.silences.get_mut(id) {
            Some(silence) => {
                silence.expire(now);
                Ok(())
            }
            None => Err(Error::not_found(format!("there is no silence {id:?}"))),
        }
    }

    /// The silences, also those that are over and not yet forgotten.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.state.silences.values()
    }

    /// Where the alert with these labels (with its severity) stands; none when it is not known.
    #[must_use]
    pub fn phase(&self, labels: &Labels, now: Timestamp) -> Option<Phase> {
        let entry = self.state.entries.get(&labels.fingerprint())?;
        let silenced = || self.state.silences.values().any(|silence| silence.mutes(labels, now));
        Some(if entry.state.is_firing() && silenced() { Phase::Silenced } else { entry.state.phase() })
    }

    /// The alerts that fire, in order of groups, whether or not somebody was told.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.state.groups.values().flat_map(Group::firing)
    }

    /// The alerts that fire and of which receivers were told, for those that want to hear it again
    /// and again.
    pub(crate) fn told_firing(&self) -> Vec<Alert> {
        let members = self.state.groups.values().flat_map(Group::members);
        let told = members.filter(|member| member.told == Some(member.alert.starts_at));
        told.map(|member| &member.alert).filter(|alert| alert.status() == Status::Firing).cloned().collect()
    }

    /// The events since the last call, to be published: one [`Fact::AlertRaised`] for every alert
    /// that began to fire. At most `alerts_max` are kept.
    #[must_use]
    pub fn take_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.events)
    }
}

impl Entry {
    fn alert(&self) -> Alert {
        Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.state.firing_since().unwrap_or(self.heard_at),
            ends_at: None,
            generator_url: self.generator_url.clone(),
        }
    }

    /// The identity of the alert that this one has no data. A name that has no room for the suffix
    /// keeps its own identity.
    fn no_data_labels(&self) -> Labels {
        let name = self.labels.get(ALERT_NAME).unwrap_or_default();
        self.labels.with(ALERT_NAME, &format!("{name}{NO_DATA_SUFFIX}")).unwrap_or_else(|_| self.labels.clone())
    }
}

#[cfg(test)]
mod tests;
