//! The statistics behind guardrails, as pure functions: they may be looked at after every request.
//!
//! | question | answered by |
//! |---|---|
//! | is one mean or share higher than another? | [`mixture`], the sequential probability ratio test with a mixture |
//! | do rare events fall on the candidate too often? | [`rare_event`], exact however few there are |
//! | does the candidate have more events per request? | [`higher_rate`], both of these |
//! | what is a share, exactly? | [`share`] |
//! | what is a mean, of values without known bounds? | [`asymptotic`], from [`Moments`] |
//! | was traffic split as it should be? | [`sample_ratio`] |
//!
//! An e-value is a non-negative number whose mean is at most 1 under the hypothesis. The process of e-values exceeds
//! 1/a, ever, with probability at most a (Ville 1939), so 1/e is a p-value at every look at once; the mean of e-values
//! is one again. Everything is computed in logarithms. A number that does not exist (no data, no variance) is no
//! evidence: e = 1, and an interval without ends.

pub mod asymptotic;
pub mod higher_rate;
pub mod mixture;
mod moments;
pub mod rare_event;
pub mod sample_ratio;
pub mod share;

pub use moments::Moments;

/// The always-valid p-value after one more look: p_t = min(p_(t-1), 1 / e_t); start with 1.
///
/// ```
/// use mlops_serve::rollout::statistics::always_valid_p;
///
/// let after_first = always_valid_p(1.0, 4.0_f64.ln());
/// assert!((after_first - 0.25).abs() < 1e-15);
/// assert_eq!(always_valid_p(after_first, 0.5), after_first, "evidence is never taken back");
/// ```
#[must_use]
pub fn always_valid_p(before: f64, ln_e_value: f64) -> f64 {
    before.min((-ln_e_value).exp()).min(1.0)
}

/// ln of the mean of e-values that are given by their logarithms; 0 for none.
#[must_use]
pub fn ln_mean(ln_e_values: &[f64]) -> f64 {
    if ln_e_values.is_empty() {
        return 0.0;
    }
    let top = ln_e_values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return top;
    }
    let sum: f64 = ln_e_values.iter().map(|value| (value - top).exp()).sum();
    top + (sum / ln_e_values.len() as f64).ln()
}
