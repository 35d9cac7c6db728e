//! How often tests of crashes kill: a few times as a rule, a hundred times and more when one asks for it.
#![allow(clippy::disallowed_methods, reason = "how often is said by an environment variable")]

/// `MLOPS_FEATURES_KILLS`, or `as_a_rule`.
pub(crate) fn kills(as_a_rule: u64) -> u64 {
    let asked = std::env::var("MLOPS_FEATURES_KILLS").ok();
    asked.map_or(as_a_rule, |text| text.parse().expect("MLOPS_FEATURES_KILLS is a number"))
}
