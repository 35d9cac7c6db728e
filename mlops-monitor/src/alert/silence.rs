//! A time during which certain alerts stay quiet, such as a planned retraining.
//!
//! Invariant: a silence keeps notifications back and touches nothing else: the state machines
//! beneath go on. Its JSON form is that of Alertmanager's API.

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    labels::{Fnv1a, Labels, cut},
    matcher::{Matcher, check_list},
    rfc3339,
};

/// Longest comment or name in bytes that is kept.
const TEXT_BYTES_MAX: usize = 1024;

/// Keeps the notifications of matching alerts back from `starts_at` (inclusive) to `ends_at`
/// (exclusive).
///
/// ```
/// use mlops_monitor::alert::{Labels, Matcher, Silence};
///
/// let retraining = Silence::new(
///     [Matcher::equal("model", "fraud")?],
///     "2026-01-01T00:00:00Z".parse()?.."2026-01-01T06:00:00Z".parse()?,
///     "ana",
///     "planned retraining",
/// )?;
/// let labels = Labels::new([("alertname", "Drift"), ("model", "fraud")])?;
/// assert!(retraining.mutes(&labels, "2026-01-01T03:00:00Z".parse()?));
/// assert!(!retraining.mutes(&labels, "2026-01-01T06:00:00Z".parse()?));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Silence {
    id: String,
    matchers: Vec<Matcher>,
    #[serde(with = "rfc3339")]
    starts_at: Timestamp,
    #[serde(with = "rfc3339")]
    ends_at: Timestamp,
    created_by: String,
    comment: String,
}

impl Silence {
    /// Checks and keeps it. Its id follows from its content, so that the same silence added twice
    /// is one.
    ///
    /// # Errors
    /// `InvalidArgument` when it would match every alert, has too many matchers, or ends before it
    /// starts.
    pub fn new(
        matchers: impl Into<Vec<Matcher>>,
        during: std::ops::Range<Timestamp>,
        created_by: &str,
        comment: &str,
    ) -> Result<Self> {
        let matchers = matchers.into();
        check_list("the silence", &matchers)?;
        if during.end <= during.start {
            let (start, end) = (during.start, during.end);
            return Err(Error::invalid_argument(format!(
                "the silence must end after it starts ({start}), found {end}"
            )));
        }
        let mut hash = Fnv1a::default();
        matchers.iter().for_each(|matcher| hash.field(&matcher.to_string()));
        for text in [&during.start.to_string(), &during.end.to_string(), created_by, comment] {
            hash.field(text);
        }
        let keep = |text: &str| cut(text, TEXT_BYTES_MAX).to_owned();
        Ok(Self {
            id: format!("{:016x}", hash.finish()),
            matchers,
            starts_at: during.start,
            ends_at: during.end,
            created_by: keep(created_by),
            comment: keep(comment),
        })
    }

    /// The id by which it can be ended.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its matchers; all must match.
    #[must_use]
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// From when.
    #[must_use]
    pub fn starts_at(&self) -> Timestamp {
        self.starts_at
    }

    /// Until when.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.ends_at
    }

    /// Who wanted it.
    #[must_use]
    pub fn created_by(&self) -> &str {
        &self.created_by
    }

    /// Why.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Whether it keeps an alert with these labels quiet now.
    #[must_use]
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> bool {
        self.starts_at <= now && now < self.ends_at && self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// Ends it now, unless it is over already.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.ends_at = self.ends_at.min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_the_json_of_alertmanager() {
        let during = "2026-01-01T00:00:00Z".parse().unwrap().."2026-01-02T00:00:00Z".parse().unwrap();
        let silence = Silence::new([Matcher::equal("model", "fraud").unwrap()], during.clone(), "ana", "why").unwrap();
        let json = serde_json::to_value(&silence).unwrap();
        assert_eq!(json["startsAt"], "2026-01-01T00:00:00Z");
        assert_eq!(json["matchers"][0]["isEqual"], true);
        assert_eq!(serde_json::from_value::<Silence>(json).unwrap(), silence);
        assert!(Silence::new([], during.clone(), "ana", "all").is_err());
        let matchers = [Matcher::equal("a", "b").unwrap()];
        assert!(Silence::new(matchers, during.end..during.start, "ana", "").is_err());
    }
}
