//! Confidence sequences: intervals that keep their coverage however often one looks and whenever one stops.
//!
//! | of | sequence | memory per stream |
//! |---|---|---|
//! | the mean of bounded values | [`Betting`], the narrowest | its grid |
//! | the mean of bounded values | [`EmpiricalBernstein`] | ten numbers |
//! | a proportion | [`BetaBinomial`] | eight numbers |
//! | the difference of two means | [`MeanDifference`] | twice that |
//! | the difference of two proportions | [`ProportionDifference`] | twice that |
//!
//! With probability at least 1 - alpha the interval holds the true value after every one of endlessly many values at
//! once. An interval for a fixed number of values, looked at after each, misses it sooner or later for certain. The
//! values may depend on each other, so long as each has the same mean given those before it.
//!
//! Invariant: intervals only shrink (the running intersection); the state is plain data, so that a sequence that is
//! serialised and read back goes on as if nothing had happened. When no value is left that fits, the mean has moved,
//! or the accident of probability alpha has happened: [`ConfidenceSequence::is_contradicted`] says so from then on
//! and the last interval stays.
//!
//! ```
//! use mlops_monitor::sequential::{BettingSettings, ConfidenceSequence, MeanDifference};
//!
//! // Is the new model's absolute error, at most 10, lower than the old one's? Look after every batch, stop when sure.
//! let settings = BettingSettings { high: 10.0, ..BettingSettings::default() };
//! let mut difference = MeanDifference::new(settings)?;
//! let batches = (1..100).find(|batch| {
//!     let errors = |scale: f64| (0..50).map(move |i| scale * f64::from((i * 7 + batch) % 50) / 50.0);
//!     let old = difference.update_reference(errors(8.0));
//!     let new = difference.update_current(errors(4.0));
//!     old.and(new).is_ok() && difference.interval().1 < 0.0
//! });
//! assert_eq!(batches, Some(2));
//! # Ok::<(), mlops_core::Error>(())
//! ```

mod beta_binomial;
mod betting;
mod difference;
mod empirical_bernstein;
mod narrowing;
mod plug_in;
mod range;
#[cfg(test)]
mod tests;

use mlops_core::Result;

pub use beta_binomial::{BetaBinomial, BetaBinomialSettings};
pub use betting::{Betting, BettingSettings, GRID_MAX};
pub use difference::{Difference, MeanDifference, ProportionDifference};
pub use empirical_bernstein::{EmpiricalBernstein, EmpiricalBernsteinSettings};

/// An interval for a value that is unknown, narrowed by every observation.
pub trait ConfidenceSequence {
    /// What is observed: a number, or whether something was so.
    type Value;

    /// Takes the next value.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not finite or lies outside the range of the settings; it then does not count.
    fn update(&mut self, value: Self::Value) -> Result<()>;

    /// Takes values one after the other.
    ///
    /// # Errors
    /// `InvalidArgument` with the `place`, from 0, of the first that [`ConfidenceSequence::update`] refuses; those before it
    /// count, those after it do not.
    fn update_many(&mut self, values: impl IntoIterator<Item = Self::Value>) -> Result<()>
    where
        Self: Sized,
    {
        for (place, value) in values.into_iter().enumerate() {
            self.update(value).map_err(|error| error.with("place", place))?;
        }
        Ok(())
    }

    /// The lowest and the highest value that fit all that was seen; all of the range before the first.
    fn interval(&self) -> (f64, f64);

    /// How many values counted.
    fn n(&self) -> u64;

    /// Whether no value fits any more.
    fn is_contradicted(&self) -> bool;
}
