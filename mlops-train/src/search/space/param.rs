//! The values that one parameter may take, and the interval in which samplers see them.
//!
//! Invariant: a *point* is a number in the interval of a parameter (its logarithm where `log` is set, half a step wider
//! than the bounds where there are steps) or the index of a choice; [`ParamSpace::at`] of any point is a value inside.

use serde::{Deserialize, Serialize};

use crate::{params::ParamValue, rng::SeededRng};

/// Choices that one parameter may have.
const CHOICES_MAX: usize = 1_000;

/// How far from a step a stored value may lie, as a share of the step: values pass through decimal text.
const STEP_SLACK: f64 = 1e-6;

/// The values that one parameter may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ParamSpace {
    /// A real number from `low` to `high`; with `log`, evenly in its logarithm.
    Float {
        /// Least value.
        low: f64,
        /// Largest value.
        high: f64,
        /// Whether orders of magnitude count alike; excludes a step.
        #[serde(default)]
        log: bool,
        /// Only `low`, `low + step`, `low + 2 step`... up to `high`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<f64>,
    },
    /// A whole number from `low` to `high`, both included.
    Int {
        /// Least value.
        low: i64,
        /// Largest value.
        high: i64,
        /// Whether orders of magnitude count alike; excludes a step other than one.
        #[serde(default)]
        log: bool,
        /// Only `low`, `low + step`, `low + 2 step`... up to `high`.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        step: i64,
    },
    /// One of several values without order.
    Categorical {
        /// The values.
        choices: Vec<ParamValue>,
    },
}

fn one() -> i64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_one(step: &i64) -> bool {
    *step == 1
}

/// A number's bounds as real numbers: the ends that can be reached, and the step if there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) step: Option<f64>,
    pub(crate) log: bool,
}

impl Range {
    /// A real number to its place on the axis of the sampler.
    pub(crate) fn axis(self, value: f64) -> f64 {
        if self.log { value.ln() } else { value }
    }

    /// The nearest value that may be taken.
    fn snap(self, value: f64) -> f64 {
        let value = match self.step {
            Some(step) => self.low + ((value - self.low) / step).round() * step,
            None => value,
        };
        value.clamp(self.low, self.high)
    }

    /// How many values there are, where they can be counted.
    pub(crate) fn count(self) -> Option<f64> {
        if self.low == self.high {
            return Some(1.0);
        }
        self.step.map(|step| ((self.high - self.low) / step).round() + 1.0)
    }
}

impl ParamSpace {
    /// Bounds of a number; none for choices. The upper one is the last that steps reach.
    pub(crate) fn range(&self) -> Option<Range> {
        match self {
            Self::Float { low, high, log, step } => {
                let reached = step.map_or(*high, |step| low + ((high - low) / step + STEP_SLACK).floor() * step);
                Some(Range { low: *low, high: reached.min(*high), step: *step, log: *log })
            }
            Self::Int { low, high, log, step } => {
                let reached = low + (high - low) / step * step;
                Some(Range { low: *low as f64, high: reached as f64, step: Some(*step as f64), log: *log })
            }
            Self::Categorical { .. } => None,
        }
    }

    /// Ends of the interval in which samplers work. None for choices.
    pub(crate) fn interval(&self) -> Option<(f64, f64)> {
        let range = self.range()?;
        let half = range.step.unwrap_or(0.0) / 2.0;
        Some((range.axis(range.low - half), range.axis(range.high + half)))
    }

    /// Whether there is nothing to choose.
    pub(crate) fn is_single(&self) -> bool {
        match self {
            Self::Categorical { choices } => choices.len() == 1,
            _ => self.range().is_some_and(|range| range.low == range.high),
        }
    }

    /// How many values there are; none where they cannot be counted.
    pub(crate) fn count(&self) -> Option<f64> {
        match (self, self.range()) {
            (Self::Categorical { choices }, _) => Some(choices.len() as f64),
            (_, Some(range)) => range.count(),
            (_, None) => None,
        }
    }

    /// The value at a point.
    pub(crate) fn at(&self, point: f64) -> ParamValue {
        let Some(range) = self.range() else { return self.choice(point as usize) };
        let value = range.snap(if range.log { point.exp() } else { point });
        match self {
            Self::Int { .. } => ParamValue::Int(value.round() as i64),
            _ => ParamValue::Float(value),
        }
    }

    /// The value at a place in [0, 1]: the ends of the interval, or choices side by side.
    pub(crate) fn at_unit(&self, unit: f64) -> ParamValue {
        match (self, self.interval()) {
            (Self::Categorical { choices }, _) => {
                self.choice(((unit * choices.len() as f64) as usize).min(choices.len().saturating_sub(1)))
            }
            (_, Some((low, high))) => self.at(low + (high - low) * unit),
            (_, None) => self.choice(0),
        }
    }

    /// The place in [0, 1] of a point; one half where there is nothing to choose.
    pub(crate) fn unit(&self, point: f64) -> f64 {
        match (self, self.interval()) {
            (Self::Categorical { choices }, _) => (point + 0.5) / choices.len() as f64,
            (_, Some((low, high))) if low < high => ((point - low) / (high - low)).clamp(0.0, 1.0),
            _ => 0.5,
        }
    }

    /// The choice at an index, the last one beyond the end.
    fn choice(&self, index: usize) -> ParamValue {
        let choices = match self {
            Self::Categorical { choices } => choices.as_slice(),
            _ => &[],
        };
        choices.get(index).or(choices.last()).cloned().unwrap_or(ParamValue::Int(0))
    }

    /// The point of a value. None when the value does not belong to the space.
    pub(crate) fn point(&self, value: &ParamValue) -> Option<f64> {
        if let Self::Categorical { choices } = self {
            return choices.iter().position(|choice| choice == value).map(|index| index as f64);
        }
        let range = self.range()?;
        let number = value.as_f64().filter(|number| (range.low..=range.high).contains(number))?;
        if let Some(step) = range.step {
            let steps = (number - range.low) / step;
            if (steps - steps.round()).abs() > STEP_SLACK {
                return None;
            }
        }
        Some(range.axis(number))
    }

    /// The nearest point that belongs to a value of the space.
    pub(crate) fn snap(&self, point: f64) -> f64 {
        match self.range() {
            Some(range) => range.axis(range.snap(if range.log { point.exp() } else { point })),
            None => point.round(),
        }
    }

    /// A value drawn evenly.
    pub(crate) fn draw(&self, rng: &mut SeededRng) -> ParamValue {
        match (self.interval(), self) {
            (Some((low, high)), _) => self.at(low + (high - low) * rng.uniform()),
            (None, Self::Categorical { choices }) => self.choice(rng.below(choices.len())),
            (None, _) => self.choice(0),
        }
    }

    /// What is wrong with the bounds.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Float { low, high, log, step } => {
                let ordered = low.is_finite() && high.is_finite() && low <= high && (high - low).is_finite();
                let stepped = step.is_none_or(|step| step.is_finite() && step > 0.0 && !*log);
                (!ordered || (*log && *low <= 0.0) || !stepped)
                    .then_some("needs finite low <= high, low > 0 with log, and a step > 0 only without log")
            }
            Self::Int { low, high, log, step } => {
                let exact = low.unsigned_abs() <= 1 << 52 && high.unsigned_abs() <= 1 << 52;
                (!exact || low > high || (*log && *low < 1) || *step < 1 || (*log && *step != 1))
                    .then_some("needs low <= high within 2^52, low >= 1 with log, and a step > 1 only without log")
            }
            Self::Categorical { choices } => {
                let distinct = choices
                    .iter()
                    .enumerate()
                    .all(|(index, choice)| !choices.iter().skip(index + 1).any(|other| other == choice));
                let sized = (1..=CHOICES_MAX).contains(&choices.len());
                (!distinct || !sized).then_some("needs from 1 to 1000 distinct choices")
            }
        }
    }
}
