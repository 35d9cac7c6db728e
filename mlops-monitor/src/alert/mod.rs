//! Alerts: from evidence to people and programs, so that nothing is lost and little is told twice.
//!
//! Monitors report [`Observation`]s; each belongs to an alert, whose labels are its identity. An
//! [`AlertCenter`] keeps the state of all alerts, groups what is to be told and hands it to its
//! sinks. What it acknowledged survives `kill -9`; after a crash a sink may be told the same once
//! more, under the same key.
//!
//! | look for | in |
//! |---|---|
//! | when an alert fires and is over | [`AlertRule`], [`AlertState`] |
//! | identity and what is known | [`Labels`], [`Annotations`] |
//! | what to report | [`Observation`] |
//! | a drift report as observations | [`DriftAlerts`] |
//! | grouping, repetition, silences, inhibition | [`AlertRouter`], [`RouterSettings`], [`Silence`] |
//! | running it, durably | [`AlertCenter`] |
//! | where it goes | [`AlertSink`] and its implementations |

mod center;
mod evidence;
mod group;
mod inhibit;
mod labels;
mod matcher;
mod notification;
mod observation;
mod rfc3339;
mod router;
mod router_settings;
mod rule;
mod silence;
mod sink;
mod state;

pub use center::{AlertCenter, AlertCenterBuilder, CenterHealth, CenterSettings, DeadLetter, RetrySettings};
pub use evidence::{DriftAlerts, Granularity, quality_observation};
pub use inhibit::InhibitRule;
pub use labels::{
    ALERT_NAME, ANNOTATION_BYTES_MAX, ANNOTATIONS_MAX, Annotations, Fingerprint, LABEL_NAME_BYTES_MAX,
    LABEL_VALUE_BYTES_MAX, LABELS_MAX, Labels, SEVERITY,
};
pub use matcher::{MATCHERS_MAX, Matcher};
pub use notification::{Alert, Notification, Status};
pub use observation::Observation;
pub use router::{AlertRouter, Observed, RouterState};
pub use router_settings::RouterSettings;
pub use rule::{AlertRule, Direction, Severity, WINDOWS_MAX};
pub use silence::Silence;
#[cfg(any(test, feature = "conformance"))]
pub use sink::conformance;
pub use sink::{AlertSink, RETRY_AFTER_MS, SinkCapabilities, TracingSink};
#[cfg(feature = "alerts-http")]
pub use sink::{
    AlertmanagerSink, CloudEventsSink, HttpEndpoint, PAGER_DUTY_EVENTS, PagerDutySink, Secret, SlackSink, WebhookAlert,
    WebhookPayload, WebhookSink,
};
pub use state::{AlertState, CLOCK_SKEW, Phase, Reading, Step};
