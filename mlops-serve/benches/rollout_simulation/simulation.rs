//! A canary under a fixed error rate, judged once a minute: how often, and when, it is rolled back.
//!
//! The setting of the usual comparison of canary rules: `n` requests a minute to the canary, ten times as many to the champion,
//! 30 looks. The judge is the real one, [`Rollout::look`]; beside it runs the two-sided mixture test (mSPRT) with
//! tau = 0.01, against which speed is measured.

use mlops_core::{ModelName, Timestamp, Version};

use mlops_serve::rollout::{
    ArmStats, Decision, Guardrail, Rollout, RolloutSettings, RolloutStats, statistics::mixture,
};

/// Looks of a run, one a minute.
const LOOKS: u64 = 30;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simulation {
    champion_rate: f64,
    canary_rate: f64,
    canary_requests: u64,
    runs: u64,
    seed: u64,
}

/// How often a rule rolled back, and when on average.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    /// Share of the runs.
    pub(crate) share: f64,
    /// Mean minute of those.
    pub(crate) minute: f64,
}

/// The rules on the same runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// [`Guardrail::Errors`] as a rollout judges it.
    pub(crate) guardrail: Found,
    /// The mixture test alone.
    pub(crate) mixture: Found,
}

impl Simulation {
    /// The rows: four fair ones, four with a worse canary.
    #[must_use]
    pub(crate) fn all(runs: u64) -> Vec<Self> {
        let rows = [
            (0.001, 0.001, 100),
            (0.005, 0.005, 100),
            (0.01, 0.01, 100),
            (0.01, 0.01, 1_000),
            (0.01, 0.02, 100),
            (0.01, 0.02, 1_000),
            (0.005, 0.015, 100),
            (0.001, 0.004, 1_000),
        ];
        let row = |(seed, (champion_rate, canary_rate, canary_requests))| Self {
            champion_rate,
            canary_rate,
            canary_requests,
            runs,
            seed,
        };
        (1..).zip(rows).map(row).collect()
    }

    /// Whether the canary is as good as the champion.
    #[must_use]
    pub(crate) fn is_fair(&self) -> bool {
        self.champion_rate.total_cmp(&self.canary_rate).is_eq()
    }

    /// The row's name.
    #[must_use]
    pub(crate) fn title(&self) -> String {
        let fair = if self.is_fair() { " (A/A)" } else { "" };
        format!("{:.3}/{:.3}, {}{fair}", self.champion_rate, self.canary_rate, self.canary_requests)
    }

    /// Makes the runs.
    #[must_use]
    pub(crate) fn run(&self) -> Outcome {
        let settings = RolloutSettings {
            guardrails: vec![Guardrail::Errors { margin: 0.01 }],
            stage_min_s: u64::MAX,
            stage_max_s: 0,
            sample_ratio_alpha: 0.0,
            ..RolloutSettings::canary([1.0 / 11.0])
        };
        let model = ModelName::new("simulated").unwrap();
        let rollout = Rollout::new(model, Version(1), Version(2), settings).unwrap();
        let rollout = rollout.started(Timestamp::default());
        let mut draws = Draws::new(self.seed);
        let (mut guardrail, mut mixture) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let (mut champion, mut canary) = ((0, 0), (0, 0));
            let (mut first, mut first_of_mixture) = (None, None);
            for look in 1..=LOOKS {
                canary.0 += draws.binomial(self.canary_requests, self.canary_rate);
                champion.0 += draws.binomial(10 * self.canary_requests, self.champion_rate);
                (canary.1, champion.1) = (look * self.canary_requests, look * 10 * self.canary_requests);
                first = first.or_else(|| rolls_back(&rollout, champion, canary).then_some(look));
                first_of_mixture = first_of_mixture.or_else(|| refuses(champion, canary).then_some(look));
            }
            guardrail.extend(first);
            mixture.extend(first_of_mixture);
        }
        Outcome { guardrail: self.found(&guardrail), mixture: self.found(&mixture) }
    }

    fn found(&self, looks: &[u64]) -> Found {
        let minute = looks.iter().sum::<u64>() as f64 / looks.len() as f64;
        Found { share: looks.len() as f64 / self.runs as f64, minute }
    }
}

fn rolls_back(rollout: &Rollout, champion: (u64, u64), canary: (u64, u64)) -> bool {
    let arm = |(errors, requests)| ArmStats { requests, errors, ..ArmStats::default() };
    let stats = RolloutStats::of(arm(champion), arm(canary));
    matches!(rollout.look(&stats, Timestamp::default()).decision, Decision::RollBack(_))
}

/// The mixture test at 5 %, both directions, of which the worse one counts; pooled variance of at least 1e-9 (1/n1 + 1/n2).
fn refuses(champion: (u64, u64), canary: (u64, u64)) -> bool {
    let rate = |(events, n): (u64, u64)| events as f64 / n as f64;
    let difference = rate(canary) - rate(champion);
    let pooled = (champion.0 + canary.0) as f64 / (champion.1 + canary.1) as f64;
    let variance = (pooled * (1.0 - pooled)).max(1e-9) * (1.0 / champion.1 as f64 + 1.0 / canary.1 as f64);
    difference > 0.0 && mixture::ln_ratio(difference, variance, 0.01) > 20.0_f64.ln()
}

/// Numbers of a seed, by splitmix64.
pub(crate) struct Draws {
    seed: u64,
    next: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, next: 0 }
    }

    /// From 0 (exclusive) to 1.
    fn uniform(&mut self) -> f64 {
        self.next += 1;
        let bits = mlops_metrics::random::draw_below(self.seed, self.next, (1 << 53) - 1);
        (bits + 1) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Successes in `n` trials, by the waiting times between them (Devroye 1986, X.4.3): as many draws as successes.
    pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        let (mut at, mut successes) = (0.0, 0);
        loop {
            at += (self.uniform().ln() / (-p).ln_1p()).floor() + 1.0;
            if at > n as f64 {
                return successes;
            }
            successes += 1;
        }
    }
}
