//! Alerts that are told together, and when.
//!
//! Invariant: news (an alert that began, or one that was told of and is over) is told at the next
//! look at the group and exactly once while nothing is muted; without news the group is repeated
//! only after the repeat interval. What does not fit into one notification comes in the next.

use std::{cmp::Reverse, collections::BTreeMap, mem};

use mlops_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    labels::{Fingerprint, Labels},
    notification::{Alert, Notification, Status},
    router_settings::RouterSettings,
};

/// An alert within its group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) alert: Alert,
    /// The beginning of the alert of which receivers were told last; none when never.
    pub(super) told: Option<Timestamp>,
}

impl Member {
    fn is_news(&self) -> bool {
        match self.alert.status() {
            Status::Firing => self.told != Some(self.alert.starts_at),
            Status::Resolved => self.told.is_some(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    labels: Labels,
    members: BTreeMap<Fingerprint, Member>,
    /// When it is looked at next.
    due: Timestamp,
    told_at: Option<Timestamp>,
}

impl Group {
    pub(super) fn new(labels: Labels, now: Timestamp, settings: &RouterSettings) -> Self {
        Self { labels, members: BTreeMap::new(), due: now + settings.group_wait(), told_at: None }
    }

    /// For members that were in another group, due when that was.
    pub(super) fn regrouped(labels: Labels, due: Timestamp) -> Self {
        Self { labels, members: BTreeMap::new(), due, told_at: None }
    }

    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    pub(super) fn due(&self) -> Timestamp {
        self.due
    }

    /// Takes the members out whose labels satisfy `wanted`.
    pub(super) fn take_if(&mut self, wanted: impl Fn(&Labels) -> bool) -> Vec<Member> {
        let (taken, kept) = mem::take(&mut self.members).into_iter().partition(|(_, m)| wanted(&m.alert.labels));
        self.members = kept;
        let taken: BTreeMap<Fingerprint, Member> = taken;
        taken.into_values().collect()
    }

    pub(super) fn insert(&mut self, member: Member) {
        self.members.insert(member.alert.labels.fingerprint(), member);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.due = self.due.min(other.due);
        self.told_at = self.told_at.max(other.told_at);
        self.members.extend(other.members);
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.members.values().map(|member| &member.alert).filter(|alert| alert.status() == Status::Firing)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Begins an alert, or begins it again.
    pub(super) fn begin(&mut self, alert: Alert) {
        let told = self.members.get(&alert.labels.fingerprint()).and_then(|member| member.told);
        self.members.insert(alert.labels.fingerprint(), Member { alert, told });
    }

    pub(super) fn alert_mut(&mut self, fingerprint: Fingerprint) -> Option<&mut Alert> {
        self.members.get_mut(&fingerprint).map(|member| &mut member.alert)
    }

    /// A clock that was set back must not hold the group up for longer than a wait or interval.
    /// Gives whether it would have.
    pub(super) fn mend_clock(&mut self, now: Timestamp, settings: &RouterSettings) -> bool {
        let latest = now + settings.group_wait().max(settings.group_interval());
        let late = self.due > latest;
        self.due = self.due.min(latest);
        late
    }

    /// The next notification of a group that is due, if there is something to tell.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        settings: &RouterSettings,
        muted: impl Fn(&Labels) -> bool,
    ) -> Option<Notification> {
        self.due = now + settings.group_interval();
        // What nobody was told of and is over is nobody's business. What people were told of is
        // told to be over even under a silence: else an incident would stay open for ever.
        self.members.retain(|_, member| member.alert.status() == Status::Firing || member.told.is_some());
        let spoken = |member: &&mut Member| member.alert.status() == Status::Resolved || !muted(&member.alert.labels);
        let mut members: Vec<&mut Member> = self.members.values_mut().filter(spoken).collect();
        let told_at = self.told_at.filter(|told_at| *told_at <= now);
        let repeat = told_at.is_none_or(|told_at| told_at + settings.repeat_interval() <= now);
        let repeated = repeat && members.iter().any(|member| member.alert.status() == Status::Firing);
        if !repeated && !members.iter().any(|member| member.is_news()) {
            return None;
        }
        members.sort_by_key(|member| {
            (!member.is_news(), Reverse(member.alert.severity()), member.alert.labels.fingerprint())
        });
        let truncated = members.len().saturating_sub(settings.notification_alerts_max);
        members.truncate(settings.notification_alerts_max);
        let alerts: Vec<Alert> = members.iter().map(|member| member.alert.clone()).collect();
        for member in members {
            member.told = Some(member.alert.starts_at);
        }
        for over in alerts.iter().filter(|alert| alert.status() == Status::Resolved) {
            self.members.remove(&over.labels.fingerprint());
        }
        self.told_at = Some(now);
        Some(Notification {
            receiver: settings.receiver.clone(),
            group_labels: self.labels.clone(),
            alerts,
            truncated: u64::try_from(truncated).unwrap_or(u64::MAX),
            at: now,
            external_url: settings.external_url.clone(),
        })
    }
}
