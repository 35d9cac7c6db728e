//! Benjamini-Hochberg: how many of the alarms of one run may be false.
//!
//! Invariant: corrected values are never below the raw ones, keep their order, and are computed
//! in log space, so that the smallest tails stay apart.

use crate::stats::{Tail, count_of, float};

/// The corrected tail of each, in the order given: q_(i) = min over k >= i of p_(k) m / k.
///
/// Controls the false discovery rate for independent or positively dependent tests (Benjamini,
/// Hochberg, JRSS B 57, 1995; Benjamini, Yekutieli, Ann. Stat. 29, 2001).
///
/// ```
/// use mlops_monitor::{benjamini_hochberg, stats::Tail};
///
/// let p = [0.01, 0.04, 0.03].map(|p: f64| Tail::from_ln(p.ln()));
/// let q: Vec<f64> = benjamini_hochberg(&p).iter().map(|q| (q.p() * 1e9).round() / 1e9).collect();
/// assert_eq!(q, [0.03, 0.04, 0.04]);
/// ```
#[must_use]
pub fn benjamini_hochberg(tails: &[Tail]) -> Vec<Tail> {
    let ln_count = float(count_of(tails.len())).ln();
    let mut order: Vec<(usize, f64)> = tails.iter().map(|tail| tail.ln()).enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut least = 0.0_f64;
    let mut corrected: Vec<(usize, Tail)> = Vec::with_capacity(order.len());
    for (rank, (index, ln_p)) in order.into_iter().enumerate().rev() {
        least = least.min(ln_p + ln_count - float(count_of(rank + 1)).ln());
        corrected.push((index, Tail::from_ln(least)));
    }
    corrected.sort_by_key(|(index, _)| *index);
    corrected.into_iter().map(|(_, tail)| tail).collect()
}
