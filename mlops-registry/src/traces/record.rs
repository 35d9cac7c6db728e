//! What is known of a trace as a whole: plain data, as stored.

use std::{collections::BTreeMap, fmt, str::FromStr};

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::Assessment;
use crate::{
    ExperimentId,
    limits::{
        METADATA_VALUE_MAX, PREVIEW_MAX, TRACE_ID_MAX, TRACE_TAG_VALUE_MAX, check_free_key, check_length, truncated,
    },
};

/// How a trace ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TraceState {
    /// Nobody said.
    #[default]
    #[serde(rename = "STATE_UNSPECIFIED")]
    Unspecified,
    /// Well.
    Ok,
    /// With an error.
    Error,
    /// It has not ended.
    InProgress,
}

impl TraceState {
    /// The name that MLflow gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "STATE_UNSPECIFIED",
            Self::Ok => "OK",
            Self::Error => "ERROR",
            Self::InProgress => "IN_PROGRESS",
        }
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TraceState {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Unspecified, Self::Ok, Self::Error, Self::InProgress];
        all.into_iter().find(|state| state.name() == text).ok_or_else(|| {
            Error::invalid_argument(format!(
                "state of a trace is {text:?}; it must be OK, ERROR, IN_PROGRESS or STATE_UNSPECIFIED"
            ))
        })
    }
}

/// A trace without its spans.
///
/// ```
/// use mlops_core::Timestamp;
/// use mlops_registry::{ExperimentId, TraceInfo, TraceState};
///
/// let mut info = TraceInfo::new("tr-0af7651916cd43dd8448eb211c80319c", ExperimentId(0), Timestamp::from_millis(5));
/// info.state = TraceState::Ok;
/// info.check()?;
/// assert!(TraceInfo::new("", ExperimentId(0), Timestamp::default()).check().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceInfo {
    /// Its id; `tr-` and 32 hexadecimal digits when MLflow's client or OpenTelemetry made it.
    pub id: String,
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// When it began, in whole milliseconds.
    pub started: Timestamp,
    /// How long it took in milliseconds; none while nobody knows.
    pub duration_ms: Option<i64>,
    /// How it ended.
    pub state: TraceState,
    /// The id that the caller of the application gave the request.
    pub client_request_id: Option<String>,
    /// The beginning of the request, for people.
    pub request_preview: Option<String>,
    /// The beginning of the response, for people.
    pub response_preview: Option<String>,
    /// What was known when it was made; it does not change afterwards.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What was said about it, oldest first. Reads give them; [`TraceStore::start`](super::TraceStore::start) adds them.
    pub assessments: Vec<Assessment>,
}

/// The last millisecond of the year 9999: times beyond it cannot be written as RFC 3339.
const MILLIS_MAX: i64 = 253_402_300_799_999;

impl TraceInfo {
    /// A trace of which nothing else is known.
    #[must_use]
    pub fn new(id: impl Into<String>, experiment: ExperimentId, started: Timestamp) -> Self {
        Self {
            id: id.into(),
            experiment,
            started,
            duration_ms: None,
            state: TraceState::default(),
            client_request_id: None,
            request_preview: None,
            response_preview: None,
            metadata: BTreeMap::new(),
            tags: BTreeMap::new(),
            assessments: Vec::new(),
        }
    }

    /// Checks ids, times and keys against the limits. Values that are too long are not refused: they are cut when stored.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        check_trace_id(&self.id)?;
        if !(0..=MILLIS_MAX).contains(&self.started.as_millis()) {
            return Err(Error::invalid_argument(format!(
                "request time of trace {:?} must be from 1970 to 9999, found {}",
                self.id, self.started
            )));
        }
        if let Some(duration) = self.duration_ms.filter(|duration| !(0..=MILLIS_MAX).contains(duration)) {
            return Err(Error::invalid_argument(format!(
                "execution duration of trace {:?} must be from 0 to {MILLIS_MAX} ms, found {duration}",
                self.id
            )));
        }
        check_length("client_request_id", self.client_request_id.as_deref().unwrap_or_default(), TRACE_ID_MAX)?;
        self.metadata.keys().try_for_each(|key| check_free_key("trace metadata key", key))?;
        self.tags.keys().try_for_each(|key| check_free_key("trace tag key", key))?;
        self.assessments.iter().try_for_each(|assessment| assessment.body().check())
    }

    /// Cuts what is too long to the limits.
    pub(crate) fn cut(mut self) -> Self {
        for preview in [&mut self.request_preview, &mut self.response_preview].into_iter().flatten() {
            shorten(preview, PREVIEW_MAX);
        }
        self.metadata.values_mut().for_each(|value| shorten(value, METADATA_VALUE_MAX));
        self.tags.values_mut().for_each(|value| shorten(value, TRACE_TAG_VALUE_MAX));
        self
    }
}

/// A duration such as `1.5s`, in milliseconds.
#[cfg(any(feature = "mlflow", feature = "remote"))]
pub(crate) fn duration_ms(text: &str) -> Result<i64> {
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
    let millis = seconds.map(|seconds| (seconds * 1_000.0).round()).filter(|millis| (0.0..1e15).contains(millis));
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    millis.map(|millis| millis as i64).ok_or_else(|| {
        Error::invalid_argument(format!(
            "Invalid value {text:?} for parameter 'execution_duration' supplied; write 1.5s"
        ))
    })
}

fn shorten(text: &mut String, max: usize) {
    let end = truncated(text, max).len();
    text.truncate(end);
}

/// Refuses an id that is empty, too long or has characters that paths cannot have.
pub(crate) fn check_trace_id(id: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > TRACE_ID_MAX || !id.chars().all(plain) || id.starts_with('.') {
        return Err(Error::invalid_argument(format!(
            "trace id {:?} must have 1 to {TRACE_ID_MAX} letters, digits, '-', '_' or '.' and not begin with '.'",
            truncated(id, TRACE_ID_MAX)
        )));
    }
    Ok(())
}

/// Which traces of an experiment to delete.
///
/// ```
/// use mlops_core::Timestamp;
/// use mlops_registry::TraceSelection;
///
/// let old = TraceSelection::until(Timestamp::from_millis(1_700_000_000_000)).with_max(100);
/// assert_eq!(old.max, Some(100));
/// assert_eq!(TraceSelection::of(["tr-1"]).ids.map(|ids| ids.len()), Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceSelection {
    /// Only these; absent: any.
    pub ids: Option<Vec<String>>,
    /// Only those that began then or before.
    pub until: Option<Timestamp>,
    /// At most so many, oldest first.
    pub max: Option<u64>,
}

impl TraceSelection {
    /// Traces by id.
    pub fn of(ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { ids: Some(ids.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// Traces that began at `time` or before.
    #[must_use]
    pub fn until(time: Timestamp) -> Self {
        Self { until: Some(time), ..Self::default() }
    }

    /// At most so many, oldest first.
    #[must_use]
    pub fn with_max(mut self, max: u64) -> Self {
        self.max = Some(max);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_of_the_wire() {
        for state in [TraceState::Unspecified, TraceState::Ok, TraceState::Error, TraceState::InProgress] {
            assert_eq!(state.name().parse::<TraceState>().unwrap(), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert!("ok".parse::<TraceState>().is_err());
    }

    #[test]
    fn what_cannot_be_told_back_is_refused_and_what_is_long_is_cut() {
        let info = |id: &str, at: i64| TraceInfo::new(id, ExperimentId(0), Timestamp::from_millis(at));
        for bad in ["", "a/b", "..", "a b", &"x".repeat(TRACE_ID_MAX + 1)] {
            assert!(info(bad, 0).check().is_err(), "{bad}");
        }
        assert!(info("t", -1).check().is_err());
        assert!(info("t", MILLIS_MAX + 1).check().is_err());
        assert!(TraceInfo { duration_ms: Some(-1), ..info("t", 0) }.check().is_err());
        let long = TraceInfo { request_preview: Some("é".repeat(PREVIEW_MAX + 1)), ..info("t", 0) };
        long.check().unwrap();
        assert_eq!(long.cut().request_preview.unwrap().chars().count(), PREVIEW_MAX);
    }

    #[test]
    fn durations_are_seconds_with_a_unit() {
        for (text, millis) in [("0s", 0), ("0.123s", 123), ("1.5s", 1_500), ("0.000999500s", 1), ("90s", 90_000)] {
            assert_eq!(duration_ms(text).unwrap(), millis, "{text}");
        }
        for bad in ["", "1", "s", "-1s", "NaNs", "infs", "1e300s", "1m"] {
            assert!(duration_ms(bad).is_err(), "{bad}");
        }
    }
}
