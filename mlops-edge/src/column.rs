//! Raw columns into the numbers that a network reads.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use crate::error::Error;

/// Standardized numbers beyond this are cut off, as in training.
const INPUT_MAX: f64 = 1e3;

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A number or a switch (0 or 1); NaN and infinities count as missing.
    Number(f64),
    /// A category.
    Text(&'a str),
    /// Nothing.
    Missing,
}

/// What happens to one raw column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub(crate) name: String,
    pub(crate) step: Step,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// `(value or fill - mean) / scale`, then 1 or 0 for missing if `indicator`.
    Number { fill: f64, mean: f64, scale: f64, indicator: bool },
    /// A number per category, one for unseen ones, and one for missing if `indicator` (else missing
    /// counts as unseen).
    OneHot { categories: Vec<String>, indicator: bool },
}

impl Column {
    /// A number: `(value or fill - mean) / scale`, followed by 1 for missing and 0 otherwise if
    /// `indicator`.
    #[must_use]
    pub fn number(name: &str, fill: f64, mean: f64, scale: f64, indicator: bool) -> Self {
        Self { name: name.to_string(), step: Step::Number { fill, mean, scale, indicator } }
    }

    /// A category: 1 in the place of its level, behind the levels for an unseen one, behind that
    /// for a missing one if `indicator`; else a missing one is unseen.
    #[must_use]
    pub fn one_hot<'a>(name: &str, categories: impl IntoIterator<Item = &'a str>, indicator: bool) -> Self {
        let categories = categories.into_iter().map(ToString::to_string).collect();
        Self { name: name.to_string(), step: Step::OneHot { categories, indicator } }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it holds text.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self.step, Step::OneHot { .. })
    }

    /// How many numbers it becomes.
    #[must_use]
    pub fn width(&self) -> usize {
        match &self.step {
            Step::Number { indicator, .. } => 1 + usize::from(*indicator),
            Step::OneHot { categories, indicator } => categories.len() + 1 + usize::from(*indicator),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let short = |length: usize| length <= usize::from(u16::MAX);
        let fits = match &self.step {
            Step::Number { fill, mean, scale, .. } => {
                fill.is_finite() && mean.is_finite() && scale.is_finite() && *scale != 0.0
            }
            Step::OneHot { categories, .. } => {
                short(categories.len()) && categories.iter().all(|category| short(category.len()))
            }
        };
        if fits && short(self.name.len()) { Ok(()) } else { Err(Error::Malformed("the numbers or names of a column")) }
    }

    /// Appends the numbers of a value.
    pub(crate) fn write(&self, value: Value<'_>, into: &mut Vec<f32>) -> Result<(), Error> {
        match (&self.step, value) {
            (Step::Number { fill, mean, scale, indicator }, Value::Number(_) | Value::Missing) => {
                let known = match value {
                    Value::Number(number) if number.is_finite() => Some(number),
                    _ => None,
                };
                let number = (known.unwrap_or(*fill) - mean) / scale;
                into.push(number.clamp(-INPUT_MAX, INPUT_MAX) as f32);
                if *indicator {
                    into.push(f32::from(u8::from(known.is_none())));
                }
            }
            (Step::OneHot { categories, indicator }, Value::Text(_) | Value::Missing) => {
                let place = match value {
                    Value::Text(text) => {
                        categories.iter().position(|category| category == text).unwrap_or(categories.len())
                    }
                    _ => categories.len() + usize::from(*indicator),
                };
                into.extend((0..self.width()).map(|at| f32::from(u8::from(at == place))));
            }
            _ => return Err(Error::Type { column: self.name.clone() }),
        }
        Ok(())
    }
}
