//! How many retries there may be: a share of the calls, so that a server that fails is not asked several times as often as
//! one that works.

use std::sync::{Mutex, PoisonError};

/// Most retries that are saved up.
const SAVED_MAX: f64 = 10.0;

/// A bucket that calls fill and retries empty.
#[derive(Debug)]
pub(super) struct RetryBudget {
    per_call: f64,
    saved: Mutex<f64>,
}

impl RetryBudget {
    /// Allows `per_call` retries for each call in the long run.
    pub(super) fn new(per_call: f64) -> Self {
        Self { per_call, saved: Mutex::new(if per_call > 0.0 { SAVED_MAX } else { 0.0 }) }
    }

    /// Notes a call.
    pub(super) fn called(&self) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = (*saved + self.per_call).min(SAVED_MAX);
    }

    /// Whether a call may be made again; if so, that is one less.
    pub(super) fn allows(&self) -> bool {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = *saved >= 1.0;
        if allowed {
            *saved -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn retries_are_a_share_of_the_calls_and_a_few_more(ratio in 0.0..=1.0, calls in 0_usize..2_000) {
            let budget = RetryBudget::new(ratio);
            let mut retries = 0_usize;
            for _ in 0..calls {
                budget.called();
                retries += usize::from(budget.allows()) + usize::from(budget.allows());
            }
            prop_assert!(retries as f64 <= SAVED_MAX + ratio * calls as f64);
            prop_assert!(ratio > 0.0 || retries == 0);
        }
    }
}
