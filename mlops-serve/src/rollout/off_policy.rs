//! What would another policy have earned? Estimated from what a policy with known propensities earned.
//!
//! Source: Dudik, Erhan, Langford and Li, Doubly robust policy evaluation and optimization, Statistical Science 29, 2014.
//! With w_i the chance of the logged arm under the policy in question divided by its propensity:
//!
//! | estimator | value | standard error |
//! |---|---|---|
//! | [`ips`] | mean of w r | standard deviation of w r / sqrt(n) |
//! | [`snips`] | sum of w r / sum of w | sqrt(sum of w^2 (r - value)^2) / sum of w |
//! | [`doubly_robust`] | mean of q + w (r - q_logged) | standard deviation of that / sqrt(n) |
//!
//! IPS has no bias; SNIPS has little and less variance, and does not move when all rewards are shifted; the doubly robust
//! one has none where either the propensities or the forecasts are right.

use mlops_core::{Error, Result};

use super::statistics::Moments;

/// One answer that was rewarded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoggedReward {
    /// The chance that the arm had when it answered.
    pub propensity: f64,
    /// The chance that the policy in question gives that arm.
    pub target: f64,
    /// What it earned.
    pub reward: f64,
}

/// Forecasts of the rewards of one request, by a model that was not fitted to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Of the arm that answered.
    pub logged: f64,
    /// Over all arms, weighted by their chances under the policy in question.
    pub target: f64,
}

/// A value with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyValue {
    /// Mean reward of a request under the policy in question.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// (sum of w)^2 / sum of w^2: the number of answers as good as these (Kish 1965); few of many means that the policies
    /// differ too much to say.
    pub effective_n: f64,
}

/// Inverse propensity scoring (Horvitz and Thompson 1952).
///
/// ```
/// use mlops_serve::rollout::off_policy::{LoggedReward, ips};
///
/// // Logged half and half; the policy in question would always take the arm that earned 1.
/// let logged = [(1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0)];
/// let logged = logged.map(|(target, reward)| LoggedReward { propensity: 0.5, target, reward });
/// assert_eq!(ips(&logged)?.value, 1.0);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` for fewer than two rewards, a propensity that is not above 0 and at most 1, a target that is not 0 to
/// 1, or a reward that is not finite.
pub fn ips(logged: &[LoggedReward]) -> Result<PolicyValue> {
    check(logged)?;
    Ok(mean_of(logged, logged.iter().map(|one| weight(one) * one.reward).collect()))
}

/// Self-normalized inverse propensity scoring (Swaminathan and Joachims, NeurIPS 2015).
///
/// # Errors
/// As [`ips`]; `FailedPrecondition` when the policy in question would have taken none of the logged arms.
pub fn snips(logged: &[LoggedReward]) -> Result<PolicyValue> {
    check(logged)?;
    let whole: f64 = logged.iter().map(weight).sum();
    if whole <= 0.0 {
        return Err(Error::failed_precondition("the policy would have taken none of the logged arms"));
    }
    let value = logged.iter().map(|one| weight(one) * one.reward).sum::<f64>() / whole;
    let squares: f64 = logged.iter().map(|one| (weight(one) * (one.reward - value)).powi(2)).sum();
    Ok(PolicyValue { value, standard_error: squares.sqrt() / whole, effective_n: effective_n(logged) })
}

/// Forecasts, corrected by what was earned (Dudik, Langford and Li, ICML 2011).
///
/// # Errors
/// As [`ips`]; `InvalidArgument` when there are not as many forecasts as rewards, or one is not finite.
pub fn doubly_robust(logged: &[LoggedReward], forecasts: &[Forecast]) -> Result<PolicyValue> {
    check(logged)?;
    let finite = forecasts.iter().all(|forecast| forecast.logged.is_finite() && forecast.target.is_finite());
    if forecasts.len() != logged.len() || !finite {
        let (found, want) = (forecasts.len(), logged.len());
        return Err(Error::invalid_argument(format!("{want} rewards need as many finite forecasts; found {found}")));
    }
    let corrected = logged.iter().zip(forecasts);
    let corrected = corrected.map(|(one, forecast)| forecast.target + weight(one) * (one.reward - forecast.logged));
    Ok(mean_of(logged, corrected.collect()))
}

fn mean_of(logged: &[LoggedReward], terms: Moments) -> PolicyValue {
    let standard_error = (terms.variance() / terms.n as f64).sqrt();
    PolicyValue { value: terms.mean, standard_error, effective_n: effective_n(logged) }
}

fn weight(one: &LoggedReward) -> f64 {
    one.target / one.propensity
}

fn effective_n(logged: &[LoggedReward]) -> f64 {
    let (sum, squares) = logged.iter().map(weight).fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

fn check(logged: &[LoggedReward]) -> Result<()> {
    if logged.len() < 2 {
        return Err(Error::invalid_argument(format!("{} rewards are too few; at least 2", logged.len())));
    }
    let fits = |one: &LoggedReward| {
        one.propensity > 0.0 && one.propensity <= 1.0 && (0.0..=1.0).contains(&one.target) && one.reward.is_finite()
    };
    match logged.iter().position(|one| !fits(one)) {
        None => Ok(()),
        Some(place) => Err(Error::invalid_argument(format!(
            "reward {place} has a propensity outside 0 (exclusive) to 1, a target outside 0 to 1, or is not finite"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged() -> Vec<LoggedReward> {
        let one = |i: u32| LoggedReward {
            propensity: 0.1 + 0.8 * f64::from(31 * i * i % 101) / 100.0,
            target: f64::from(17 * i % 11) / 10.0,
            reward: f64::from(13 * i % 23) / 7.0,
        };
        (1..=200).map(one).collect()
    }

    fn forecasts() -> Vec<Forecast> {
        (1..=200_u32)
            .map(|i| Forecast { logged: f64::from(5 * i % 19) / 6.0, target: f64::from(3 * i % 17) / 5.0 })
            .collect()
    }

    /// numpy 2.4.6, the formulas of the module over the same arrays, `std(ddof=1)`.
    #[test]
    fn values_are_those_of_numpy() {
        let found = [ips(&logged()), snips(&logged()), doubly_robust(&logged(), &forecasts())].map(Result::unwrap);
        let expected = [
            (2.273888506466762, 0.23851818552734289),
            (1.6173743025539151, 0.09474684061826344),
            (1.7561515417630802, 0.19626119958815133),
        ];
        for (found, (value, standard_error)) in found.iter().zip(expected) {
            assert!((found.value - value).abs() < 1e-10, "{found:?} is not {value}");
            assert!((found.standard_error - standard_error).abs() < 1e-10, "{found:?} is not {standard_error}");
            assert!((found.effective_n - 92.70711414848387).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn shifting_all_rewards_shifts_snips_as_much() {
        let shifted: Vec<_> =
            logged().into_iter().map(|one| LoggedReward { reward: one.reward + 10.0, ..one }).collect();
        let (before, after) = (snips(&logged()).unwrap(), snips(&shifted).unwrap());
        assert!((after.value - before.value - 10.0).abs() < 1e-9);
        assert!((after.standard_error - before.standard_error).abs() < 1e-9);
    }

    #[test]
    fn perfect_forecasts_leave_no_error_whatever_the_propensities() {
        let logged: Vec<_> = logged().into_iter().map(|one| LoggedReward { reward: 2.0, ..one }).collect();
        let found = doubly_robust(&logged, &vec![Forecast { logged: 2.0, target: 2.0 }; 200]).unwrap();
        assert_eq!((found.value, found.standard_error), (2.0, 0.0));
    }

    #[test]
    fn what_cannot_be_weighed_is_refused() {
        let one = LoggedReward { propensity: 0.5, target: 0.5, reward: 1.0 };
        assert!(ips(&[one]).is_err());
        for bad in [
            LoggedReward { propensity: 0.0, ..one },
            LoggedReward { target: 1.1, ..one },
            LoggedReward { reward: f64::NAN, ..one },
        ] {
            assert!(ips(&[one, bad]).unwrap_err().message().contains("reward 1"));
        }
        assert!(snips(&[LoggedReward { target: 0.0, ..one }; 2]).is_err());
        assert!(doubly_robust(&[one; 2], &[]).is_err());
    }
}
