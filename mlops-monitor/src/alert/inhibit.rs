//! Alerts that make others pointless: bad data explains drift, so drift stays quiet meanwhile.
//!
//! Invariant: an alert never inhibits itself, nor do two alerts that are each source and target
//! inhibit each other. Labels that both lack count as equal. Both as Alertmanager has it.

use std::collections::HashSet;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    labels::{Labels, is_label_name},
    matcher::{Matcher, check_list},
};

/// While an alert matching `source` fires, those matching `target` with equal labels stay quiet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InhibitRule {
    /// What explains.
    pub source: Vec<Matcher>,
    /// What is explained.
    pub target: Vec<Matcher>,
    /// Labels that must be equal on both sides.
    #[serde(default)]
    pub equal: Vec<String>,
}

impl InhibitRule {
    /// Alerts of the monitor `quality` inhibit those of the monitor `drift` for the same model, all
    /// versions alike: they see the same data.
    #[must_use]
    pub fn quality_before_drift() -> Self {
        Self {
            source: vec![Matcher::literal("monitor", "quality")],
            target: vec![Matcher::literal("monitor", "drift")],
            equal: vec!["model".to_owned()],
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_list("the source of an inhibition", &self.source)?;
        check_list("the target of an inhibition", &self.target)?;
        match self.equal.iter().find(|name| !is_label_name(name)) {
            Some(name) => {
                Err(Error::invalid_argument(format!("an inhibition compares {name:?}: that is no label name")))
            }
            None => Ok(()),
        }
    }

    fn key<'a>(&self, labels: &'a Labels) -> Vec<&'a str> {
        self.equal.iter().map(|name| labels.get(name).unwrap_or_default()).collect()
    }
}

fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

/// The sources of every rule, to look targets up in; one pass over the alerts that fire.
#[derive(Debug)]
pub(crate) struct Inhibitions<'a> {
    rules: Vec<(&'a InhibitRule, Sources<'a>)>,
}

#[derive(Debug, Default)]
struct Sources<'a> {
    all: HashSet<Vec<&'a str>>,
    /// Those that are not targets of the same rule.
    pure: HashSet<Vec<&'a str>>,
}

impl<'a> Inhibitions<'a> {
    pub(crate) fn new(rules: &'a [InhibitRule], firing: impl Iterator<Item = &'a Labels>) -> Self {
        let mut rules: Vec<_> = rules.iter().map(|rule| (rule, Sources::default())).collect();
        for labels in firing {
            for (rule, sources) in &mut rules {
                if all_match(&rule.source, labels) {
                    sources.all.insert(rule.key(labels));
                    if !all_match(&rule.target, labels) {
                        sources.pure.insert(rule.key(labels));
                    }
                }
            }
        }
        Self { rules }
    }

    pub(crate) fn mute(&self, labels: &Labels) -> bool {
        self.rules.iter().any(|(rule, sources)| {
            let candidates = if all_match(&rule.source, labels) { &sources.pure } else { &sources.all };
            all_match(&rule.target, labels) && candidates.contains(&rule.key(labels))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(monitor: &str, model: &str) -> Labels {
        Labels::new([("monitor", monitor), ("model", model)]).unwrap()
    }

    #[test]
    fn quality_explains_drift_of_the_same_model_and_never_the_reverse() {
        let rules = [InhibitRule::quality_before_drift()];
        let firing = [labels("quality", "fraud"), labels("drift", "rides")];
        let inhibitions = Inhibitions::new(&rules, firing.iter());
        assert!(inhibitions.mute(&labels("drift", "fraud")));
        assert!(!inhibitions.mute(&labels("drift", "rides")));
        assert!(!inhibitions.mute(&labels("quality", "fraud")));
        assert!(!inhibitions.mute(&labels("performance", "fraud")));
    }

    #[test]
    fn alerts_on_both_sides_do_not_silence_each_other() {
        let any = vec![Matcher::regex("monitor", ".+").unwrap()];
        let rules = [InhibitRule { source: any.clone(), target: any, equal: vec![] }];
        let firing = [labels("a", "x"), labels("b", "x")];
        let inhibitions = Inhibitions::new(&rules, firing.iter());
        assert!(!inhibitions.mute(&firing[0]) && !inhibitions.mute(&firing[1]));
    }
}
