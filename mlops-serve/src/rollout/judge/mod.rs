//! Counts in, verdicts and a decision out.
//!
//! Invariants: judging changes nothing, and may be done after every request. A guardrail that fails weighs more than one
//! that is undecided, and that more than those that pass. What is not known is said, never taken for passing.
//!
//! The chance of failing a good candidate is shared equally: each guardrail of each candidate in each stage has alpha
//! divided by their number, and its test may be looked at continuously within the stage.

mod compare;
mod goal;

use mlops_core::{Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::{
    Finding, Guardrail, Phase, Requirement, Rollout, RolloutStats, Verdict, arms::ArmStats, statistics::sample_ratio,
    strategy::Strategy,
};
use compare::Pair;

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Wait for more requests or for a person, or the rollout is over.
    Hold,
    /// Go on to the next stage, in which the candidates have this share together.
    Advance(f64),
    /// Take a candidate out of the experiment; the others go on.
    Stop(Version, String),
    /// Let traffic stay as it is until a person has decided: nothing more can be concluded.
    Pause(String),
    /// Go on after a pause.
    Continue,
    /// Let this candidate answer everything.
    Promote(Version),
    /// Give everything back to the champion, for this reason.
    RollBack(String),
}

/// A judgement: what was found, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// What to do.
    pub decision: Decision,
    /// Every guardrail of every candidate, then the goal, then the split of traffic.
    pub findings: Vec<Finding>,
}

/// What one stage is judged by.
struct Judge<'a> {
    rollout: &'a Rollout,
    stats: &'a RolloutStats,
    stage: usize,
    now: Timestamp,
    /// Of one guardrail of one candidate in one stage.
    alpha: f64,
}

pub(super) fn judge(rollout: &Rollout, stats: &RolloutStats, now: Timestamp) -> Look {
    let (Phase::Running { stage } | Phase::Paused { stage, .. }) = rollout.phase else {
        return Look { decision: Decision::Hold, findings: Vec::new() };
    };
    let tests =
        rollout.settings.guardrails.len().max(1) * rollout.candidates.len().max(1) * rollout.stages().len().max(1);
    let alpha = rollout.settings.alpha / tests as f64;
    Judge { rollout, stats, stage, now, alpha }.look()
}

impl Judge<'_> {
    fn look(&self) -> Look {
        let live = self.live();
        let mut findings = Vec::new();
        for &(place, version) in &live {
            let arm = self.stats.candidate(place);
            findings.extend(self.rollout.settings.guardrails.iter().map(|rail| self.check(rail, version, &arm)));
        }
        if let Some(decision) = self.failure(&findings, live.len()) {
            return Look { decision, findings };
        }
        let goal = self.goal(&live);
        findings.extend(goal.iter().map(|finding| finding.finding.clone()));
        let ratio = self.sample_ratio();
        let mismatch = ratio.as_ref().filter(|finding| finding.verdict == Verdict::Fail).map(|f| f.reason.clone());
        findings.extend(ratio);
        let paused = matches!(self.rollout.phase, Phase::Paused { .. });
        let decision = match mismatch {
            _ if paused => Decision::Hold,
            Some(reason) => Decision::Pause(reason),
            None => self.progress(&findings, &live, &goal),
        };
        Look { decision, findings }
    }

    /// The candidates that are not stopped, with their places.
    fn live(&self) -> Vec<(usize, Version)> {
        let candidates = self.rollout.candidates.iter().copied().enumerate();
        candidates.filter(|(_, version)| !self.rollout.stopped.contains(version)).collect()
    }

    /// The champion to compare with: beside the candidates, or, where it has no traffic, as it was before.
    fn champion(&self) -> (ArmStats, bool) {
        if self.rollout.champion_is_live() {
            (self.stats.champion.clone(), true)
        } else {
            (self.stats.champion.plus(&self.rollout.baseline), false)
        }
    }

    fn check(&self, rail: &Guardrail, version: Version, arm: &ArmStats) -> Finding {
        let (champion, beside) = self.champion();
        // Shares that changed within the stage rule out tests that need a constant split.
        let constant_split =
            beside && self.rollout.stopped.is_empty() && !matches!(self.rollout.settings.strategy, Strategy::Bandit(_));
        let pair = Pair {
            guardrail: rail.describe(),
            version,
            samples_min: self.rollout.settings.min_requests,
            alpha: self.alpha,
            constant_split,
        };
        match rail {
            Guardrail::Errors { margin } => {
                pair.events((arm.errors, arm.requests), (champion.errors, champion.requests), *margin)
            }
            Guardrail::Slow { margin } => {
                pair.events((arm.slow, arm.requests), (champion.slow, champion.requests), *margin)
            }
            Guardrail::ErrorsAtMost { share } => pair.objective((arm.errors, arm.requests), *share),
            Guardrail::SlowAtMost { share } => pair.objective((arm.slow, arm.requests), *share),
            Guardrail::Kpi { name, direction, margin } => {
                pair.mean(&arm.kpi(name), &champion.kpi(name), *direction, *margin)
            }
        }
    }

    /// What follows from guardrails that fail.
    fn failure(&self, findings: &[Finding], live: usize) -> Option<Decision> {
        let first = findings.iter().find(|finding| finding.verdict == Verdict::Fail)?;
        let version = first.candidate?;
        let mine = findings.iter().filter(|f| f.verdict == Verdict::Fail && f.candidate == Some(version));
        let reason = mine.map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join("; ");
        let one_of_many = self.rollout.settings.strategy.is_experiment() && live > 1;
        Some(if one_of_many { Decision::Stop(version, reason) } else { Decision::RollBack(reason) })
    }

    fn sample_ratio(&self) -> Option<Finding> {
        let settings = &self.rollout.settings;
        let checked = settings.sample_ratio_alpha > 0.0
            && !settings.is_sticky()
            && self.rollout.stopped.is_empty()
            && !matches!(settings.strategy, Strategy::Bandit(_));
        if !checked {
            return None;
        }
        let arms = (0..=self.rollout.candidates.len()).filter(|&arm| self.rollout.allocation.share(arm) > 0.0);
        let arms: Vec<usize> = arms.collect();
        let counted = |arm: &usize| match arm.checked_sub(1) {
            None => self.stats.champion.requests,
            Some(place) => self.stats.candidate(place).requests,
        };
        let counts: Vec<u64> = arms.iter().map(counted).collect();
        let shares: Vec<f64> = arms.iter().map(|&arm| self.rollout.allocation.share(arm)).collect();
        let chi_square = sample_ratio::chi_square(&counts, &shares)?;
        let ln_e_value = sample_ratio::ln_e_value(&counts, &shares);
        let alpha = settings.sample_ratio_alpha / self.rollout.stages().len().max(1) as f64;
        let mismatch = ln_e_value >= -alpha.ln();
        let said = if mismatch {
            "traffic is not split as planned, so nothing can be concluded"
        } else {
            "traffic is split as planned"
        };
        Some(Finding {
            guardrail: "sample ratio".into(),
            candidate: None,
            verdict: if mismatch { Verdict::Fail } else { Verdict::Pass },
            value: Some(chi_square.statistic),
            low: None,
            high: None,
            limit: settings.sample_ratio_alpha,
            p_value: Some((-ln_e_value).exp().min(1.0)),
            samples: counts.iter().skip(1).sum(),
            champion_samples: counts.first().copied().unwrap_or(0),
            reason: format!("{said}: {counts:?} requests at shares {shares:?}"),
        })
    }

    /// What follows when nothing fails.
    fn progress(&self, findings: &[Finding], live: &[(usize, Version)], goal: &[goal::Standing]) -> Decision {
        let settings = &self.rollout.settings;
        let lasted = self.now.duration_since(self.rollout.stage_began).as_secs();
        let missing = self.missing(findings, live);
        if missing.is_none() && lasted >= settings.stage_min_s {
            return self.conclude(live, goal, lasted);
        }
        if settings.stage_max_s > 0 && lasted >= settings.stage_max_s {
            let missing = missing.unwrap_or_else(|| "the stage is over".into());
            return Decision::Pause(format!("undecided after {lasted} s: {missing}"));
        }
        Decision::Hold
    }

    /// What keeps the stage from being passed.
    fn missing(&self, findings: &[Finding], live: &[(usize, Version)]) -> Option<String> {
        let settings = &self.rollout.settings;
        let watched = self.rollout.candidates_are_watched();
        let too_few = |(place, version): &(usize, Version)| {
            let seen = self.stats.candidate(*place).requests;
            (seen < settings.min_requests)
                .then(|| format!("version {version} has seen {seen} of {} requests", settings.min_requests))
        };
        if !watched {
            let seen = self.stats.champion.requests;
            return (seen < settings.min_requests)
                .then(|| format!("the champion has seen {seen} of {} requests", settings.min_requests));
        }
        if let Some(few) = live.iter().find_map(too_few) {
            return Some(few);
        }
        if settings.requirement == Requirement::NoFailure {
            return None;
        }
        let open = findings.iter().filter(|f| f.verdict == Verdict::Undecided && f.guardrail != goal::NAME);
        let open: Vec<&str> = open.map(|finding| finding.reason.as_str()).collect();
        (!open.is_empty()).then(|| open.join("; "))
    }

    /// What a stage that is passed leads to.
    fn conclude(&self, live: &[(usize, Version)], goal: &[goal::Standing], lasted: u64) -> Decision {
        let settings = &self.rollout.settings;
        if let Some(next) = self.rollout.stages().get(self.stage + 1) {
            return Decision::Advance(next.shares.iter().sum());
        }
        let first = live.first().map(|(_, version)| *version);
        match &settings.strategy {
            Strategy::Canary { .. } | Strategy::BlueGreen { .. } => first.map_or(Decision::Hold, Decision::Promote),
            Strategy::Shadow { .. } => Decision::Pause("the copies kept every guardrail; promote or roll back".into()),
            Strategy::Experiment { .. } | Strategy::Bandit(_) => {
                if let Some(winner) = goal::winner(goal) {
                    return Decision::Promote(winner);
                }
                if let Some(futile) = goal::futile(goal) {
                    return Decision::Pause(futile);
                }
                if settings.stage_max_s > 0 && lasted >= settings.stage_max_s {
                    return Decision::Pause(format!("no winner after {lasted} s"));
                }
                Decision::Hold
            }
        }
    }

    fn goal(&self, live: &[(usize, Version)]) -> Vec<goal::Standing> {
        let Strategy::Experiment { goal: Some(goal), .. } = &self.rollout.settings.strategy else { return Vec::new() };
        let champion = self.stats.champion.kpi(&goal.kpi);
        let trial = goal::Trial {
            goal,
            champion,
            samples_min: self.rollout.settings.min_requests,
            alpha: self.rollout.settings.alpha / self.rollout.candidates.len().max(1) as f64,
        };
        live.iter()
            .map(|(place, version)| trial.stand(*version, &self.stats.candidate(*place).kpi(&goal.kpi)))
            .collect()
    }
}
