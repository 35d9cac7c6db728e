//! When to train again: inputs drift, or the answers get worse.
//!
//! Two triggers over one journal, since the two cool down differently: drift in the same columns tells
//! nothing new for a while, whereas quality that stays bad is a reason to try again soon.

use std::sync::Arc;

use mlops::{
    core::{Event, Fact, FactKind, Result, Version},
    pipeline::{Budget, Decision, Trigger, TriggerSettings},
};

use crate::{
    loss::Loss,
    replay::{PeriodOutcome, PeriodPlan},
    world::World,
};

/// Periods in which drift in the same column asks for one retraining.
const DRIFT_COOLDOWN: u64 = 8;

/// Periods in which worse answers ask for one retraining.
const QUALITY_COOLDOWN: u64 = 2;

/// The triggers of one run.
pub struct Alarms {
    drift: Trigger,
    quality: Trigger,
}

/// What the triggers made of a period.
pub struct Verdict {
    pub retrain: bool,
    /// The champion answers worse than it used to; such a period is no measure for later ones.
    pub worse: bool,
    pub text: String,
}

impl Alarms {
    pub fn new(world: &World, campaign: u64) -> Result<Self> {
        let period_ms = u64::try_from(world.stream.period.as_millis()).unwrap_or(u64::MAX);
        let trigger = |name: &str, evidence: FactKind, cooldown: u64| {
            let name = format!("retrain-on-{name}-{campaign}");
            let mut settings = TriggerSettings::new(name, world.model.clone(), [evidence]);
            settings.cooldown_ms = period_ms.saturating_mul(cooldown);
            settings.budget = Budget { firings_max: 40, period_ms: period_ms.saturating_mul(60) };
            Trigger::builder(settings, Arc::clone(&world.journal) as _).with_bus(Arc::clone(&world.bus) as _).build()
        };
        Ok(Self {
            drift: trigger("drift", FactKind::DriftDetected, DRIFT_COOLDOWN)?,
            quality: trigger("quality", FactKind::AlertRaised, QUALITY_COOLDOWN)?,
        })
    }

    /// Gives the triggers what the period showed; `earlier` is the champion's loss in earlier, sound periods.
    pub async fn consider(
        &self,
        world: &World,
        plan: &PeriodPlan,
        champion: u64,
        outcome: &PeriodOutcome,
        earlier: Loss,
    ) -> Result<Verdict> {
        let mut verdict = Verdict { retrain: false, worse: false, text: String::new() };
        let drift = &outcome.evaluation.drift;
        if drift.detected {
            let fact = Fact::DriftDetected {
                model: world.model.clone(),
                version: Version(champion),
                columns: drift.columns.clone(),
                window_end: plan.end,
            };
            let decision = self.drift.consider(&Event::new(plan.end, fact)).await?;
            verdict.add(&format!("drift in {}", names(&drift.columns)), decision.as_ref());
        }
        if let Some(message) = outcome.evaluation.loss.worse_than(earlier) {
            let alert = format!("{}_quality", world.model);
            let fact = Fact::AlertRaised { alert, message: message.clone() };
            let decision = self.quality.consider(&Event::new(plan.end, fact)).await?;
            verdict.worse = true;
            verdict.add(&message, decision.as_ref());
        }
        if verdict.text.is_empty() {
            "no drift".clone_into(&mut verdict.text);
        }
        Ok(verdict)
    }
}

impl Verdict {
    fn add(&mut self, what: &str, decision: Option<&Decision>) {
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.push_str(what);
        match decision {
            Some(Decision::Fired { .. }) => self.retrain = true,
            Some(Decision::Held { reason }) => self.text.push_str(&format!(" (held: {reason})")),
            None => {}
        }
    }
}

/// The first few of a list.
fn names(all: &[String]) -> String {
    const SHOWN: usize = 3;
    let first = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(SHOWN) {
        None | Some(0) => first,
        Some(more) => format!("{first} and {more} more"),
    }
}
