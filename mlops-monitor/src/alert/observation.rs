//! What a monitor saw in one window: the entry through which every kind of evidence becomes alerts.

use mlops_core::Timestamp;

use super::{
    labels::{Annotations, Labels},
    rule::Direction,
};

/// One value of one window against its threshold.
///
/// Labels say which alert it speaks about and must contain `alertname`; report the good windows
/// too, or the alert is never over.
///
/// ```
/// use mlops_core::Timestamp;
/// use mlops_monitor::alert::{Direction, Labels, Observation};
///
/// let labels = Labels::new([("alertname", "AccuracyLow"), ("model", "fraud"), ("monitor", "performance")])?;
/// let observation = Observation::new(labels, Timestamp::from_millis(0), 0.91, 0.85)
///     .with_direction(Direction::Below)
///     .with_annotation("summary", "accuracy of fraud is 0.91");
/// assert!(observation.significant);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Which alert.
    pub labels: Labels,
    /// End of the window.
    pub at: Timestamp,
    /// What was measured, in any unit. NaN is a window without a value.
    pub value: f64,
    /// From where on it is a breach, in the same unit; finite.
    pub threshold: f64,
    /// On which side of the threshold trouble lies.
    pub direction: Direction,
    /// Whether a value beyond the threshold is more than chance. When not, the window counts
    /// neither as breached nor as clear.
    pub significant: bool,
    /// What to tell people.
    pub annotations: Annotations,
    /// Where the evidence can be looked at; empty for nowhere.
    pub generator_url: String,
}

impl Observation {
    /// A significant value that is bad from `threshold` upward.
    #[must_use]
    pub fn new(labels: Labels, at: Timestamp, value: f64, threshold: f64) -> Self {
        Self {
            labels,
            at,
            value,
            threshold,
            direction: Direction::Above,
            significant: true,
            annotations: Annotations::default(),
            generator_url: String::new(),
        }
    }

    /// On which side of the threshold trouble lies.
    #[must_use]
    pub fn with_direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Whether the value is more than chance.
    #[must_use]
    pub fn with_significance(mut self, significant: bool) -> Self {
        self.significant = significant;
        self
    }

    /// Adds or replaces an annotation, see [`Annotations::with`].
    #[must_use]
    pub fn with_annotation(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.annotations = self.annotations.with(name, value);
        self
    }

    /// Where the evidence can be looked at.
    #[must_use]
    pub fn with_generator_url(mut self, url: impl Into<String>) -> Self {
        self.generator_url = url.into();
        self
    }
}
