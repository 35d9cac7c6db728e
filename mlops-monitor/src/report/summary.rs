//! What a reader wants to know of a column beside its tests: where its values lie, which levels moved.
//!
//! Invariant: bounded, and no level is named that the caller did not allow to be named.

use crate::{
    sample::{CategoricalSample, ColumnSample, Values},
    stats::{float, moments, quantile},
};

/// Most levels in a list of those that changed.
pub(crate) const LEVELS_MAX: usize = 8;

/// Where the numbers of one side lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with n - 1 in the denominator.
    pub std: f64,
    /// The quantiles at [`Spread::LEVELS`], type 7 of Hyndman and Fan (The American Statistician 50, 1996).
    pub quantiles: [f64; 7],
}

impl Spread {
    /// Smallest value, 5 %, quartiles, 95 %, largest value.
    pub const LEVELS: [f64; 7] = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];

    /// `None` where there are no numbers.
    pub(crate) fn of(sample: &ColumnSample) -> Option<Self> {
        let Values::Numeric(numbers) = sample.values() else { return None };
        let moments = moments(numbers.values())?;
        let quantiles = Self::LEVELS.map(|q| quantile(numbers.values(), q).unwrap_or(f64::NAN));
        Some(Self { mean: moments.mean, std: moments.variance.sqrt(), quantiles })
    }
}

/// Mean and standard deviation of a column whose levels are numbers (`true` counts as 1).
pub(crate) fn level_center(sample: &ColumnSample) -> Option<(f64, f64)> {
    match sample.values() {
        Values::Categorical(levels) => {
            let numbers: Option<Vec<(f64, f64)>> =
                levels.levels().map(|(level, count)| Some((level_number(level)?, float(count)))).collect();
            let (numbers, n) = (numbers?, float(levels.total()));
            if levels.other() > 0 || n == 0.0 {
                return None;
            }
            let mean = numbers.iter().map(|(value, count)| value * count).sum::<f64>() / n;
            let squares = numbers.iter().map(|(value, count)| (value - mean).powi(2) * count).sum::<f64>();
            Some((mean, (squares / (n - 1.0).max(1.0)).sqrt()))
        }
        Values::Numeric(_) | Values::Opaque => None,
    }
}

fn level_number(level: &str) -> Option<f64> {
    match level {
        "true" => Some(1.0),
        "false" => Some(0.0),
        _ => level.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// How often a level occurs on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelShift {
    /// The level.
    pub level: String,
    /// Its share of the reference.
    pub reference: f64,
    /// Its share of the window.
    pub current: f64,
}

impl LevelShift {
    /// Change of the share.
    #[must_use]
    pub fn change(&self) -> f64 {
        self.current - self.reference
    }

    /// The levels whose shares changed most, largest change first. Levels that the reference does not have are only
    /// among them when they are in `unseen`.
    pub(crate) fn largest(reference: &ColumnSample, current: &ColumnSample, unseen: &[String]) -> Vec<Self> {
        let (Values::Categorical(left), Values::Categorical(right)) = (reference.values(), current.values()) else {
            return Vec::new();
        };
        let share =
            |sample: &CategoricalSample, level: &str| float(sample.count(level)) / float(sample.total()).max(1.0);
        let names = left.levels().map(|(level, _)| level).chain(unseen.iter().map(String::as_str));
        let mut shifts: Vec<(&str, f64, f64)> =
            names.map(|level| (level, share(left, level), share(right, level))).collect();
        let size = |(_, before, after): &(&str, f64, f64)| (after - before).abs();
        shifts.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| b.1.total_cmp(&a.1)));
        shifts.truncate(LEVELS_MAX);
        let owned =
            |(level, reference, current): (&str, f64, f64)| Self { level: level.to_owned(), reference, current };
        shifts.into_iter().map(owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::NumericSample;

    #[test]
    fn spread_is_that_of_numpy() {
        // numpy 2.3: np.quantile(range(1, 11), q), np.mean, np.std(ddof=1)
        let sample = ColumnSample::numeric(NumericSample::new((1..=10).map(f64::from).collect()));
        let spread = Spread::of(&sample).unwrap();
        for (found, expected) in spread.quantiles.iter().zip([1.0, 1.45, 3.25, 5.5, 7.75, 9.55, 10.0]) {
            assert!((found - expected).abs() < 1e-12, "{spread:?}");
        }
        assert!((spread.mean - 5.5).abs() < 1e-12 && (spread.std - 3.027_650_354_097_491_7).abs() < 1e-12);
    }

    #[test]
    fn levels_that_are_numbers_have_a_center() {
        let levels = |counts: &[(&str, u64)]| ColumnSample::categorical(CategoricalSample::new(counts.iter().copied()));
        assert_eq!(level_center(&levels(&[("0", 50), ("2", 50)])).unwrap().0, 1.0);
        assert_eq!(level_center(&levels(&[("true", 1), ("false", 3)])).unwrap().0, 0.25);
        assert_eq!(level_center(&levels(&[("web", 1)])), None);
    }

    #[test]
    fn private_levels_stay_unnamed() {
        let levels = |counts: &[(&str, u64)]| ColumnSample::categorical(CategoricalSample::new(counts.iter().copied()));
        let (reference, current) = (levels(&[("a", 90), ("b", 10)]), levels(&[("a", 10), ("secret", 90)]));
        let shifts = LevelShift::largest(&reference, &current, &[]);
        assert_eq!(shifts.iter().map(|shift| shift.level.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let shifts = LevelShift::largest(&reference, &current, &["secret".to_owned()]);
        assert_eq!(shifts[0].level, "secret");
    }
}
