//! The table of the benchmark `rollout_simulation`, with a tenth of its runs, held to its bounds.

#[path = "../../benches/rollout_simulation/simulation.rs"]
mod simulation;

use mlops_serve::rollout::statistics::Moments;
use simulation::{Draws, Simulation};

/// Equal arms are rolled back in at most 5 % of the runs of 30 looks, worse ones within a minute of the mixture test (mSPRT,
/// tau = 0.01) and no more seldom.
#[test]
fn a_simulated_canary_is_rolled_back_in_time_and_not_without_cause() {
    for simulation in Simulation::all(400) {
        let found = simulation.run();
        if simulation.is_fair() {
            assert!(found.guardrail.share <= 0.05, "{}: {found:?}", simulation.title());
            continue;
        }
        assert!(found.guardrail.share >= found.mixture.share - 0.01, "{}: {found:?}", simulation.title());
        assert!(found.guardrail.minute <= found.mixture.minute + 1.0, "{}: {found:?}", simulation.title());
    }
}

#[test]
fn draws_have_the_mean_and_variance_of_the_law() {
    let mut draws = Draws::new(1);
    let counts: Moments = (0..20_000).map(|_| draws.binomial(300, 0.02) as f64).collect();
    assert!((counts.mean - 6.0).abs() < 0.1 && (counts.variance() - 5.88).abs() < 0.25, "{counts:?}");
}
