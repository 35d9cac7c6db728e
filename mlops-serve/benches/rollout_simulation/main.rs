//! False rollbacks and detection of a canary that is judged every minute: 4,000 runs of 30 looks for each row.
//!
//! `cargo bench -p mlops-serve --bench rollout_simulation`; a number after `--` is the number of runs. Everything is seeded, so the
//! table is the same on every machine.

#![allow(clippy::unwrap_used, reason = "the settings are constants")]

mod simulation;

use simulation::{Found, Simulation};

fn main() {
    let runs = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(4_000);
    println!("share of {runs} runs rolled back @ mean minute");
    println!("{:<34} {:>14} {:>14}", "champion/canary errors, req/min", "guardrail", "mSPRT tau .01");
    let cell = |found: Found| format!("{:.3} @{:.1}", found.share, found.minute);
    let mut held = true;
    for simulation in Simulation::all(runs) {
        let found = simulation.run();
        println!("{:<34} {:>14} {:>14}", simulation.title(), cell(found.guardrail), cell(found.mixture));
        held &= if simulation.is_fair() {
            found.guardrail.share <= 0.05
        } else {
            found.guardrail.minute <= found.mixture.minute + 1.0
        };
    }
    println!(
        "at most 5 % false rollbacks, detection within a minute of mSPRT: {}",
        if held { "held" } else { "NOT HELD" }
    );
}
