//! Which parameters to search, within which bounds, and which of them depend on another's value.

mod condition;
mod param;

use std::collections::BTreeMap;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub use self::condition::Condition;
pub use self::param::ParamSpace;
pub(crate) use self::param::Range;
use crate::{
    params::{ParamValue, Params},
    rng::SeededRng,
};

/// Parameters that one space may have.
const SIZE_MAX: usize = 1_000;

/// One parameter: its values, and when it exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    space: ParamSpace,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<Condition>,
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
pub struct SearchSpace(BTreeMap<String, Entry>);

impl SearchSpace {
    /// Nothing to search.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a parameter.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, space: ParamSpace) -> Self {
        self.0.insert(name.into(), Entry { space, when: None });
        self
    }

    /// Adds a real number.
    #[must_use]
    pub fn with_float(self, name: impl Into<String>, low: f64, high: f64) -> Self {
        self.with(name, ParamSpace::Float { low, high, log: false, step: None })
    }

    /// Adds a real number whose orders of magnitude count alike.
    #[must_use]
    pub fn with_log_float(self, name: impl Into<String>, low: f64, high: f64) -> Self {
        self.with(name, ParamSpace::Float { low, high, log: true, step: None })
    }

    /// Adds a whole number, bounds included.
    #[must_use]
    pub fn with_int(self, name: impl Into<String>, low: i64, high: i64) -> Self {
        self.with(name, ParamSpace::Int { low, high, log: false, step: 1 })
    }

    /// Adds a whole number whose orders of magnitude count alike, bounds included.
    #[must_use]
    pub fn with_log_int(self, name: impl Into<String>, low: i64, high: i64) -> Self {
        self.with(name, ParamSpace::Int { low, high, log: true, step: 1 })
    }

    /// Adds a real number that is `low` or a whole number of steps above it.
    #[must_use]
    pub fn with_stepped_float(self, name: impl Into<String>, low: f64, high: f64, step: f64) -> Self {
        self.with(name, ParamSpace::Float { low, high, log: false, step: Some(step) })
    }

    /// Adds a whole number that is `low` or a whole number of steps above it.
    #[must_use]
    pub fn with_stepped_int(self, name: impl Into<String>, low: i64, high: i64, step: i64) -> Self {
        self.with(name, ParamSpace::Int { low, high, log: false, step })
    }

    /// Lets a parameter exist only where another one has one of these values. Does nothing for a name that was not
    /// added before.
    ///
    /// ```
    /// use mlops_train::SearchSpace;
    ///
    /// let space = SearchSpace::new()
    ///     .with_categorical("kernel", ["linear", "rbf"])
    ///     .with_log_float("gamma", 1e-6, 10.0)
    ///     .with_condition("gamma", "kernel", ["rbf"]);
    /// space.validate()?;
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    #[must_use]
    pub fn with_condition<V: Into<ParamValue>>(
        mut self,
        name: &str,
        parent: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        if let Some(entry) = self.0.get_mut(name) {
            let is = values.into_iter().map(Into::into).collect();
            entry.when = Some(Condition { param: parent.into(), is });
        }
        self
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
        self.0.iter().map(|(name, entry)| (name.as_str(), &entry.space))
    }

    /// The values of one parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ParamSpace> {
        self.0.get(name).map(|entry| &entry.space)
    }

    /// When a parameter exists; none when it always does.
    #[must_use]
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        self.0.get(name)?.when.as_ref()
    }

    /// Whether any parameter depends on another.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.0.values().any(|entry| entry.when.is_some())
    }

    /// Checks all bounds and conditions.
    ///
    /// # Errors
    /// `InvalidArgument` naming every parameter whose bounds or condition make no sense; also for none at all.
    pub fn validate(&self) -> Result<()> {
        let mut faults: Vec<String> =
            self.iter().filter_map(|(name, space)| Some(format!("{name:?} {}", space.fault()?))).collect();
        faults.extend(self.0.iter().filter_map(|(name, entry)| self.condition_fault(name, entry.when.as_ref()?)));
        if !(1..=SIZE_MAX).contains(&self.len()) {
            faults.push(format!("from 1 to {SIZE_MAX} parameters are needed, found {}", self.len()));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("search space: {}", faults.join("; "))))
    }

    fn condition_fault(&self, name: &str, when: &Condition) -> Option<String> {
        let Some(parent) = self.get(&when.param) else {
            return Some(format!("{name:?} depends on {:?}, which is not in the space", when.param));
        };
        if when.is.is_empty() || when.is.iter().any(|value| parent.point(value).is_none()) {
            return Some(format!("{name:?} depends on values that {:?} cannot have", when.param));
        }
        let mut at = name;
        for _ in 0..=self.len() {
            match self.condition(at) {
                Some(above) => at = &above.param,
                None => return None,
            }
        }
        Some(format!("{name:?} depends on itself"))
    }

    /// Parents before those that depend on them, else by name.
    fn in_order(&self) -> Vec<(&str, &Entry)> {
        let depth = |name: &str| {
            let (mut at, mut depth) = (name, 0);
            while let Some(when) = self.condition(at).filter(|_| depth <= self.len()) {
                (at, depth) = (&when.param, depth + 1);
            }
            depth
        };
        let mut entries: Vec<(&str, &Entry)> = self.0.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
        if self.is_conditional() {
            entries.sort_by_key(|(name, _)| depth(name));
        }
        entries
    }

    /// Names of the parameters, parents before those that depend on them.
    pub(crate) fn names_in_order(&self) -> Vec<&str> {
        self.in_order().into_iter().map(|(name, _)| name).collect()
    }

    /// Values for the parameters that exist, parents first; `value` is asked for each of them once.
    pub(crate) fn fill(&self, mut value: impl FnMut(&str, &ParamSpace) -> ParamValue) -> Params {
        let mut params = Params::new();
        for (name, entry) in self.in_order() {
            if entry.when.as_ref().is_none_or(|when| when.holds(&params)) {
                params.insert(name, value(name, &entry.space));
            }
        }
        params
    }

    /// Whether every parameter that exists has a value that belongs to its space, and there are no others.
    #[must_use]
    pub fn contains(&self, params: &Params) -> bool {
        let exists = |entry: &Entry| entry.when.as_ref().is_none_or(|when| when.holds(params));
        let fits = |(name, entry): (&String, &Entry)| match params.get(name) {
            Some(value) => exists(entry) && entry.space.point(value).is_some(),
            None => !exists(entry),
        };
        self.0.iter().all(fits) && params.iter().all(|(name, _)| self.0.contains_key(name))
    }

    /// Parameters drawn evenly.
    pub(crate) fn draw(&self, rng: &mut SeededRng) -> Params {
        self.fill(|_, space| space.draw(rng))
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
        let bad = space().with_float("f", 1.0, 0.5).with_log_int("g", 0, 4).with_categorical("h", ["x", "x"]);
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

    #[test]
    fn steps_are_kept() {
        let space = SearchSpace::new().with_stepped_float("f", -1.0, 1.05, 0.3).with_stepped_int("i", 2, 9, 3);
        let mut rng = SeededRng::new(3, 0);
        for _ in 0..500 {
            let params = space.draw(&mut rng);
            assert!(space.contains(&params));
            let steps = (params.number("f").unwrap() + 1.0) / 0.3;
            assert!((steps - steps.round()).abs() < 1e-9 && (0.0..=6.0).contains(&steps.round()));
            assert!([2.0, 5.0, 8.0].contains(&params.number("i").unwrap()));
        }
        assert!(!space.contains(&Params::new().with("f", -0.9).with("i", 2)));
    }

    #[test]
    fn parameters_exist_where_their_condition_holds() {
        let space = SearchSpace::new()
            .with_categorical("z", ["a", "b"])
            .with_int("n", 1, 4)
            .with_condition("n", "z", ["b"])
            .with_float("a", 0.0, 1.0)
            .with_condition("a", "n", [3, 4]);
        space.validate().unwrap();
        let mut rng = SeededRng::new(3, 0);
        let mut sizes = [0; 4];
        for _ in 0..400 {
            let params = space.draw(&mut rng);
            assert!(space.contains(&params), "{params:?}");
            sizes[params.len()] += 1;
        }
        assert!(sizes[1] > 150 && sizes[2] > 60 && sizes[3] > 60, "{sizes:?}");
        assert!(!space.contains(&Params::new().with("z", "a").with("n", 1)));
        let json = serde_json::to_string(&space).unwrap();
        assert_eq!(serde_json::from_str::<SearchSpace>(&json).unwrap(), space);
        for bad in [("z", "n", vec![1]), ("n", "q", vec![1]), ("a", "n", vec![9])] {
            let error = space.clone().with_condition(bad.0, bad.1, bad.2).validate().unwrap_err();
            assert!(error.message().contains(&format!("{:?}", bad.0)), "{error}");
        }
    }
}
