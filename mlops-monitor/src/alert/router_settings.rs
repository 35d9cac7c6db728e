//! How alerts are grouped, timed, repeated and held back.

use std::{collections::BTreeMap, time::Duration};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{inhibit::InhibitRule, labels::is_label_name, rule::AlertRule};

/// The knobs of an [`super::AlertRouter`]; times are those that Alertmanager starts with.
///
/// ```
/// use mlops_monitor::alert::RouterSettings;
///
/// let json = r#"{"group_by": ["model"], "rules": {"SchemaBroken": {"breaches_min": 1, "severity": "critical"}}}"#;
/// let settings: RouterSettings = serde_json::from_str(json)?;
/// assert_eq!(settings.rules["SchemaBroken"].windows, 3);
/// settings.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterSettings {
    /// Name of the receiver in notifications.
    pub receiver: String,
    /// Alerts with equal values of these labels share a notification; `...` alone means every
    /// label. Default `model` and `severity`.
    pub group_by: Vec<String>,
    /// How long the first alert of a group waits for others, in milliseconds. Default 30 s.
    pub group_wait_ms: u64,
    /// Time between looks at a group after that, in milliseconds, above 0. Default 5 min.
    pub group_interval_ms: u64,
    /// A group that goes on firing without news is sent again after this long, in milliseconds,
    /// above 0. Default 4 h.
    pub repeat_interval_ms: u64,
    /// Which alerts make others pointless. Default [`InhibitRule::quality_before_drift`].
    pub inhibit: Vec<InhibitRule>,
    /// The rule of alerts whose name is not in `rules`.
    pub default_rule: AlertRule,
    /// Rules by alert name (the label `alertname`).
    pub rules: BTreeMap<String, AlertRule>,
    /// Where this system can be looked at, for people who read a notification; may be empty.
    pub external_url: String,
    /// Most alert identities that are kept at once. Default 10 000.
    pub alerts_max: usize,
    /// Most silences that are kept at once. Default 1 000.
    pub silences_max: usize,
    /// Most alerts in one notification, at least 1; the rest comes in the next. Default 100.
    pub notification_alerts_max: usize,
    /// An identity that does not fire and was not seen for this long is forgotten, in milliseconds;
    /// as is a silence that ended so long ago. Default 7 days.
    pub retention_ms: u64,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            receiver: "mlops".to_owned(),
            group_by: vec!["model".to_owned(), "severity".to_owned()],
            group_wait_ms: 30_000,
            group_interval_ms: 300_000,
            repeat_interval_ms: 4 * 3_600_000,
            inhibit: vec![InhibitRule::quality_before_drift()],
            default_rule: AlertRule::default(),
            rules: BTreeMap::new(),
            external_url: String::new(),
            alerts_max: 10_000,
            silences_max: 1_000,
            notification_alerts_max: 100,
            retention_ms: 7 * 86_400_000,
        }
    }
}

impl RouterSettings {
    /// No waiting: what fires is sent at the next tick. For tests and for receivers that group
    /// themselves.
    #[must_use]
    pub fn without_delay(mut self) -> Self {
        (self.group_wait_ms, self.group_interval_ms) = (0, 1);
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        let every = self.group_by.iter().any(|name| name == EVERY_LABEL);
        if every && self.group_by.len() > 1 {
            faults.push("group_by must have either \"...\" alone or label names".to_owned());
        }
        faults.extend(
            self.group_by
                .iter()
                .filter(|name| *name != EVERY_LABEL && !is_label_name(name))
                .map(|name| format!("group_by has {name:?}: that is no label name")),
        );
        for (name, value) in [
            ("group_interval_ms", self.group_interval_ms),
            ("repeat_interval_ms", self.repeat_interval_ms),
            ("alerts_max", u64::try_from(self.alerts_max).unwrap_or(u64::MAX)),
            ("notification_alerts_max", u64::try_from(self.notification_alerts_max).unwrap_or(u64::MAX)),
        ] {
            if value == 0 {
                faults.push(format!("{name} must be above 0"));
            }
        }
        let inhibitions = self.inhibit.iter().map(InhibitRule::validate);
        let rules = self.rules.values().chain([&self.default_rule]).map(AlertRule::validate);
        faults.extend(inhibitions.chain(rules).filter_map(Result::err).map(|error| error.message().to_owned()));
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("alert router settings: {}", faults.join("; "))))
    }

    pub(crate) fn rule(&self, name: &str) -> &AlertRule {
        self.rules.get(name).unwrap_or(&self.default_rule)
    }

    pub(crate) fn groups_by_every_label(&self) -> bool {
        self.group_by.iter().any(|name| name == EVERY_LABEL)
    }

    pub(crate) fn group_wait(&self) -> Duration {
        Duration::from_millis(self.group_wait_ms)
    }

    pub(crate) fn group_interval(&self) -> Duration {
        Duration::from_millis(self.group_interval_ms)
    }

    pub(crate) fn repeat_interval(&self) -> Duration {
        Duration::from_millis(self.repeat_interval_ms)
    }

    pub(crate) fn retention(&self) -> Duration {
        Duration::from_millis(self.retention_ms)
    }
}

/// Alertmanager's word for grouping by every label.
const EVERY_LABEL: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        let settings = RouterSettings {
            group_by: vec!["...".into(), "a b".into()],
            group_interval_ms: 0,
            default_rule: AlertRule { windows: 0, ..AlertRule::default() },
            inhibit: vec![InhibitRule { source: vec![], target: vec![], equal: vec![] }],
            ..RouterSettings::default()
        };
        let error = settings.validate().unwrap_err();
        for word in ["alone", "\"a b\"", "group_interval_ms", "windows", "inhibition"] {
            assert!(error.message().contains(word), "{error}");
        }
        let default = RouterSettings::default();
        default.validate().unwrap();
        assert_eq!(default.inhibit.len(), 1);
    }
}
