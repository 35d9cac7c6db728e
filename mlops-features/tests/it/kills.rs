//! Tests of crashes: how often they kill, a few times as a rule, a hundred times and more when one asks for it; and how a
//! child waits for it.
#![allow(clippy::disallowed_methods, reason = "how often is said by an environment variable")]

use std::time::Duration;

use mlops_core::testing::acknowledge;

/// `MLOPS_FEATURES_KILLS`, or `as_a_rule`.
pub(crate) fn kills(as_a_rule: u64) -> u64 {
    let asked = std::env::var("MLOPS_FEATURES_KILLS").ok();
    asked.map_or(as_a_rule, |text| text.parse().expect("MLOPS_FEATURES_KILLS is a number"))
}

/// What a child does that has done all: it goes on to acknowledge, so that its parent comes to kill it.
pub(crate) async fn wait_for_kill() -> ! {
    loop {
        acknowledge(0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
