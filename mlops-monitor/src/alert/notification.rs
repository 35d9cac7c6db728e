//! What is told to people and programs: a group of alerts at one moment.
//!
//! Invariant: a notification is complete in itself, so that it can be stored, sent again and
//! understood by a receiver that has seen none before.

use std::collections::BTreeMap;

use mlops_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    labels::{ALERT_NAME, Annotations, Fingerprint, Fnv1a, Labels, SEVERITY},
    rule::Severity,
};

/// Whether an alert goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It does.
    Firing,
    /// It is over.
    Resolved,
}

impl Status {
    /// The word in every format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One alert as receivers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its identity.
    pub labels: Labels,
    /// What is known about it.
    pub annotations: Annotations,
    /// End of the window at which it began to fire.
    pub starts_at: Timestamp,
    /// End of the window at which it was over; none while it fires.
    pub ends_at: Option<Timestamp>,
    /// Where the evidence can be looked at; may be empty.
    pub generator_url: String,
}

impl Alert {
    /// Whether it goes on.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.ends_at.is_some() { Status::Resolved } else { Status::Firing }
    }

    /// The name of its rule.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get(ALERT_NAME).unwrap_or_default()
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        Severity::of_label(self.labels.get(SEVERITY))
    }
}

/// A group of alerts, to be sent as one message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Name of the receiver, as the router's settings have it.
    pub receiver: String,
    /// The labels that the alerts were grouped by.
    pub group_labels: Labels,
    /// The alerts, news first.
    pub alerts: Vec<Alert>,
    /// How many more alerts of the group are left out here; news among them come next time.
    pub truncated: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Where this system can be looked at; may be empty.
    pub external_url: String,
}

impl Notification {
    /// Firing as long as one of its alerts does.
    #[must_use]
    pub fn status(&self) -> Status {
        let firing = self.alerts.iter().any(|alert| alert.status() == Status::Firing);
        if firing { Status::Firing } else { Status::Resolved }
    }

    /// The highest severity among its alerts that fire, or among all when none does.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let status = self.status();
        let alerts = self.alerts.iter().filter(|alert| alert.status() == status);
        alerts.map(Alert::severity).max().unwrap_or_default()
    }

    /// The key of the group in Alertmanager's form: the same for all notifications of one group.
    #[must_use]
    pub fn group_key(&self) -> String {
        format!("{{}}:{}", self.group_labels)
    }

    /// Sixteen hexadecimal digits that are the same for all notifications of one group and receiver.
    #[must_use]
    pub fn incident_key(&self) -> String {
        let mut hash = Fnv1a::default();
        hash.field(&self.receiver);
        hash.field(&self.group_key());
        format!("{:016x}", hash.finish())
    }

    /// Sixteen hexadecimal digits that are the same each time this notification is sent, and differ
    /// from those of any other.
    #[must_use]
    pub fn dedup_key(&self) -> String {
        let mut hash = Fnv1a::default();
        for text in [&self.receiver, &self.group_key(), &self.at.as_micros().to_string()] {
            hash.field(text);
        }
        for alert in &self.alerts {
            hash.field(&alert.labels.fingerprint().to_string());
            hash.field(&alert.starts_at.as_micros().to_string());
            hash.field(alert.status().as_str());
        }
        format!("{:016x}", hash.finish())
    }

    /// The labels that all alerts have in common.
    #[must_use]
    pub fn common_labels(&self) -> Labels {
        let Some((first, others)) = self.alerts.split_first() else { return Labels::default() };
        first.labels.filtered(|name, value| others.iter().all(|alert| alert.labels.get(name) == Some(value)))
    }

    /// The annotations that all alerts have in common.
    #[must_use]
    pub fn common_annotations(&self) -> BTreeMap<&str, &str> {
        let Some((first, others)) = self.alerts.split_first() else { return BTreeMap::new() };
        let common = |name: &str, value: &str| others.iter().all(|alert| alert.annotations.get(name) == Some(value));
        first.annotations.iter().filter(|(name, value)| common(name, value)).collect()
    }

    /// One line for people, such as `[FIRING:2] {model="fraud", severity="warning"}: drift in amount`.
    #[must_use]
    pub fn title(&self) -> String {
        let status = self.status();
        let alerts = || self.alerts.iter().filter(move |alert| alert.status() == status);
        let what = alerts().map(|alert| alert.annotations.summary()).find(|text| !text.is_empty());
        let what = what.or_else(|| alerts().map(Alert::name).next()).unwrap_or_default();
        format!("[{}:{}] {}: {what}", status.as_str().to_uppercase(), alerts().count(), self.group_labels)
    }

    /// The alerts' identities.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.alerts.iter().map(|alert| alert.labels.fingerprint())
    }
}
