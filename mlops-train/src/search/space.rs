//! Which parameters to search, and within which bounds.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    params::{ParamValue, Params},
    rng::SeededRng,
};

/// Parameters that one space may have, and choices that one parameter may have.
const SIZE_MAX: usize = 1_000;

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
        /// Whether orders of magnitude count alike.
        log: bool,
    },
    /// A whole number from `low` to `high`, both included.
    Int {
        /// Least value.
        low: i64,
        /// Largest value.
        high: i64,
        /// Whether orders of magnitude count alike.
        log: bool,
    },
    /// One of several values without order.
    Categorical {
        /// The values.
        choices: Vec<ParamValue>,
    },
}

impl ParamSpace {
    /// Ends of the interval in which samplers work: logarithms where `log` is set, and half a unit
    /// wider for whole numbers, so that rounding gives each the same room. None for choices.
    pub(crate) fn interval(&self) -> Option<(f64, f64)> {
        let (low, high, log) = match self {
            Self::Float { low, high, log } => (*low, *high, *log),
            Self::Int { low, high, log } => (*low as f64 - 0.5, *high as f64 + 0.5, *log),
            Self::Categorical { .. } => return None,
        };
        Some(if log { (low.ln(), high.ln()) } else { (low, high) })
    }

    /// The value at a point of the interval.
    pub(crate) fn at(&self, point: f64) -> ParamValue {
        match self {
            Self::Float { low, high, log } => {
                ParamValue::Float(if *log { point.exp() } else { point }.clamp(*low, *high))
            }
            Self::Int { low, high, log } => {
                let value = if *log { point.exp() } else { point };
                ParamValue::Int((value.round() as i64).clamp(*low, *high))
            }
            Self::Categorical { choices } => self.choice(choices, point as usize),
        }
    }

    fn choice(&self, choices: &[ParamValue], index: usize) -> ParamValue {
        choices.get(index).or(choices.last()).cloned().unwrap_or(ParamValue::Int(0))
    }

    /// The point of a value: its place in the interval or its index among the choices. None when
    /// the value does not belong to the space.
    pub(crate) fn point(&self, value: &ParamValue) -> Option<f64> {
        match self {
            Self::Categorical { choices } => {
                choices.iter().position(|choice| choice == value).map(|index| index as f64)
            }
            Self::Float { low, high, log } => {
                let value = value.as_f64().filter(|value| (*low..=*high).contains(value))?;
                Some(if *log { value.ln() } else { value })
            }
            Self::Int { low, high, log } => {
                let value = value.as_f64().filter(|value| (*low as f64..=*high as f64).contains(value))?;
                Some(if *log { value.ln() } else { value })
            }
        }
    }

    /// A value drawn evenly.
    pub(crate) fn draw(&self, rng: &mut SeededRng) -> ParamValue {
        match (self.interval(), self) {
            (Some((low, high)), _) => self.at(low + (high - low) * rng.uniform()),
            (None, Self::Categorical { choices }) => self.choice(choices, rng.below(choices.len())),
            (None, _) => ParamValue::Int(0),
        }
    }

    fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Float { low, high, log } => {
                let ordered = low.is_finite() && high.is_finite() && low < high && (high - low).is_finite();
                (!ordered || (*log && *low <= 0.0)).then_some("needs finite low < high, and low > 0 with log")
            }
            Self::Int { low, high, log } => {
                let exact = low.unsigned_abs() <= 1 << 52 && high.unsigned_abs() <= 1 << 52;
                (!exact || low > high || (*log && *low < 1))
                    .then_some("needs low <= high within 2^52, low >= 1 with log")
            }
            Self::Categorical { choices } => {
                let distinct = choices
                    .iter()
                    .enumerate()
                    .all(|(index, choice)| !choices.iter().skip(index + 1).any(|other| other == choice));
                let sized = (1..=SIZE_MAX).contains(&choices.len());
                (!distinct || !sized).then_some("needs from 1 to 1000 distinct choices")
            }
        }
    }
}

/// Parameters by name with the values they may take.
///
/// ```
/// use mlops_train::SearchSpace;
///
/// let space = SearchSpace::new()
///     .with_log_float("learning_rate", 1e-3, 0.3)
///     .with_int("max_depth", 3, 10)
///     .with_categorical("encoding", ["ordinal", "one_hot"]);
/// space.validate()?;
/// assert_eq!(space.len(), 3);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SearchSpace(BTreeMap<String, ParamSpace>);

impl SearchSpace {
    /// Nothing to search.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a parameter.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, space: ParamSpace) -> Self {
        self.0.insert(name.into(), space);
        self
    }

    /// Adds a real number.
    #[must_use]
    pub fn with_float(self, name: impl Into<String>, low: f64, high: f64) -> Self {
        self.with(name, ParamSpace::Float { low, high, log: false })
    }

    /// Adds a real number whose orders of magnitude count alike.
    #[must_use]
    pub fn with_log_float(self, name: impl Into<String>, low: f64, high: f64) -> Self {
        self.with(name, ParamSpace::Float { low, high, log: true })
    }

    /// Adds a whole number, bounds included.
    #[must_use]
    pub fn with_int(self, name: impl Into<String>, low: i64, high: i64) -> Self {
        self.with(name, ParamSpace::Int { low, high, log: false })
    }

    /// Adds a whole number whose orders of magnitude count alike, bounds included.
    #[must_use]
    pub fn with_log_int(self, name: impl Into<String>, low: i64, high: i64) -> Self {
        self.with(name, ParamSpace::Int { low, high, log: true })
    }

    /// Adds a choice.
    #[must_use]
    pub fn with_categorical<V: Into<ParamValue>>(
        self,
        name: impl Into<String>,
        choices: impl IntoIterator<Item = V>,
    ) -> Self {
        self.with(name, ParamSpace::Categorical { choices: choices.into_iter().map(Into::into).collect() })
    }

    /// How many parameters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to search.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parameters in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ParamSpace)> {
        self.0.iter().map(|(name, space)| (name.as_str(), space))
    }

    /// Checks all bounds.
    ///
    /// # Errors
    /// `InvalidArgument` naming every parameter whose bounds make no sense; also for none at all.
    pub fn validate(&self) -> Result<()> {
        let mut faults: Vec<String> =
            self.iter().filter_map(|(name, space)| Some(format!("{name:?} {}", space.fault()?))).collect();
        if !(1..=SIZE_MAX).contains(&self.len()) {
            faults.push(format!("from 1 to {SIZE_MAX} parameters are needed, found {}", self.len()));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("search space: {}", faults.join("; "))))
    }

    /// Whether every parameter has a value that belongs to its space, and there are no others.
    #[must_use]
    pub fn contains(&self, params: &Params) -> bool {
        let inside = |(name, space): (&str, &ParamSpace)| params.get(name).is_some_and(|v| space.point(v).is_some());
        params.len() == self.len() && self.iter().all(inside)
    }

    /// Parameters drawn evenly.
    pub(crate) fn draw(&self, rng: &mut SeededRng) -> Params {
        self.iter().map(|(name, space)| (name, space.draw(rng))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> SearchSpace {
        SearchSpace::new()
            .with_float("a", -1.0, 2.0)
            .with_log_float("b", 1e-4, 1.0)
            .with_int("c", 1, 3)
            .with_log_int("d", 1, 100)
            .with_categorical("e", ["x", "y"])
    }

    #[test]
    fn draws_belong_to_the_space_and_points_read_back() {
        let mut rng = SeededRng::new(1, 0);
        let mut counts = BTreeMap::new();
        for _ in 0..3_000 {
            let params = space().draw(&mut rng);
            assert!(space().contains(&params), "{params:?}");
            *counts.entry(params.get("c").unwrap().to_string()).or_insert(0) += 1;
            for (name, range) in space().iter() {
                let value = params.get(name).unwrap();
                let back = range.at(range.point(value).unwrap());
                assert!((back.as_f64().unwrap_or(0.0) - value.as_f64().unwrap_or(0.0)).abs() < 1e-12);
            }
        }
        assert!(counts.values().all(|&count| (900..1_100).contains(&count)), "{counts:?}");
    }

    #[test]
    fn every_fault_is_named() {
        let bad = space().with_float("f", 1.0, 1.0).with_log_int("g", 0, 4).with_categorical("h", ["x", "x"]);
        let error = bad.validate().unwrap_err();
        for name in ["\"f\"", "\"g\"", "\"h\""] {
            assert!(error.message().contains(name), "{error}");
        }
        assert!(SearchSpace::new().validate().is_err());
        space().validate().unwrap();
    }

    #[test]
    fn foreign_values_do_not_belong() {
        let params = space().draw(&mut SeededRng::new(2, 0));
        assert!(!space().contains(&params.clone().with("c", 4)));
        assert!(!space().contains(&params.clone().with("e", "z")));
        assert!(!space().contains(&params.with("z", 1)));
    }
}
