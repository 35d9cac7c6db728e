//! What an alias asks of the version it is to point at.

use mlops_core::{Error, ModelName, PackageManifest, Result, Version};
use serde::{Deserialize, Serialize};

use crate::limits::{KEY_MAX, check_length};

/// Most metric gates of one policy.
pub const METRIC_GATES_MAX: usize = 100;

/// What an alias asks for; the default asks for nothing.
///
/// It governs where the alias may point. Removing an alias needs no approval: stopping must stay easy.
///
/// ```
/// use mlops_registry::{AliasPolicy, MetricGate};
///
/// let policy = AliasPolicy::default()
///     .with_approval()
///     .with_signature()
///     .with_metric(MetricGate::at_least("auc", 0.8));
/// assert!(policy.approval && policy.metrics.len() == 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AliasPolicy {
    /// Each move uses up an approval for the package and the alias, rollbacks included.
    pub approval: bool,
    /// The package's signature names inputs and outputs.
    pub signature: bool,
    /// The package's metrics are in these ranges.
    pub metrics: Vec<MetricGate>,
}

/// The range of one metric, its ends included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricGate {
    /// Name of the metric in the package's manifest.
    pub metric: String,
    /// Least value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

impl MetricGate {
    /// The metric is there and not below `value`.
    #[must_use]
    pub fn at_least(metric: impl Into<String>, value: f64) -> Self {
        Self { metric: metric.into(), at_least: Some(value), at_most: None }
    }

    /// The metric is there and not above `value`.
    #[must_use]
    pub fn at_most(metric: impl Into<String>, value: f64) -> Self {
        Self { metric: metric.into(), at_least: None, at_most: Some(value) }
    }

    /// Why the metrics do not pass, when they do not.
    fn refusal(&self, manifest: &PackageManifest) -> Option<String> {
        let Some(value) = manifest.metrics.get(&self.metric) else {
            return Some(format!("metric {:?} is missing", self.metric));
        };
        // A value or bound that is not a number never passes.
        let passes =
            self.at_least.is_none_or(|bound| *value >= bound) && self.at_most.is_none_or(|bound| *value <= bound);
        let range = match (self.at_least, self.at_most) {
            (Some(low), Some(high)) => format!("from {low} to {high}"),
            (Some(low), None) => format!("at least {low}"),
            (None, Some(high)) => format!("at most {high}"),
            (None, None) => String::new(),
        };
        (!passes).then(|| format!("metric {:?} is {value}, expected {range}", self.metric))
    }
}

impl AliasPolicy {
    /// The same, asking for approval.
    #[must_use]
    pub fn with_approval(mut self) -> Self {
        self.approval = true;
        self
    }

    /// The same, asking for a signature.
    #[must_use]
    pub fn with_signature(mut self) -> Self {
        self.signature = true;
        self
    }

    /// The same with one more metric gate.
    #[must_use]
    pub fn with_metric(mut self, gate: MetricGate) -> Self {
        self.metrics.push(gate);
        self
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What both ask for.
    #[must_use]
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.approval |= other.approval;
        self.signature |= other.signature;
        let fresh: Vec<_> = other.metrics.into_iter().filter(|gate| !self.metrics.contains(gate)).collect();
        self.metrics.extend(fresh);
        self
    }

    /// Checks the policy itself.
    pub(crate) fn check(&self) -> Result<()> {
        if self.metrics.len() > METRIC_GATES_MAX {
            return Err(Error::invalid_argument(format!(
                "an alias policy has {} metric gates; at most {METRIC_GATES_MAX} are allowed",
                self.metrics.len()
            )));
        }
        for gate in &self.metrics {
            check_length("metric", &gate.metric, KEY_MAX)?;
            let bounds = [gate.at_least, gate.at_most];
            if bounds.iter().flatten().any(|bound| !bound.is_finite()) || bounds == [None, None] {
                return Err(Error::invalid_argument(format!(
                    "the gate of metric {:?} has no finite bound; set at_least or at_most",
                    gate.metric
                )));
            }
        }
        Ok(())
    }

    /// Checks what can be seen in the manifest of a version; none is a version that is only a link.
    pub(crate) fn admit(
        &self,
        (model, version): (&ModelName, Version),
        manifest: Option<&PackageManifest>,
    ) -> Result<()> {
        let refused = |why: &str| {
            Err(Error::failed_precondition(format!(
                "version {version} of model \"{model}\" may not take the alias: {why}"
            )))
        };
        let Some(manifest) = manifest else {
            return refused("it is only a link, and the alias asks for a package");
        };
        if self.signature && (manifest.signature.inputs().is_empty() || manifest.signature.outputs().is_empty()) {
            return refused("its signature does not name inputs and outputs");
        }
        match self.metrics.iter().find_map(|gate| gate.refusal(manifest)) {
            Some(why) => refused(&why),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::{DataType, ModelPackage, Signature, TensorSpec};

    use super::*;

    fn admit(policy: &AliasPolicy, inputs: usize, auc: Option<f64>) -> Result<()> {
        let column = |_| TensorSpec::column("x", DataType::Float64);
        let signature = Signature::new((0..inputs).map(column), [TensorSpec::column("y", DataType::Float64)]).unwrap();
        let mut package = ModelPackage::new("constant", signature);
        package.manifest.metrics.extend(auc.map(|auc| ("auc".to_owned(), auc)));
        policy.admit((&ModelName::new("m").unwrap(), Version(1)), Some(&package.manifest))
    }

    #[test]
    fn gates_admit_their_range_and_nothing_that_is_no_number() {
        let gate = MetricGate { at_most: Some(0.9), ..MetricGate::at_least("auc", 0.8) };
        let policy = AliasPolicy::default().with_metric(gate);
        for good in [0.8, 0.85, 0.9] {
            admit(&policy, 0, Some(good)).unwrap();
        }
        for bad in [Some(0.79), Some(0.91), Some(f64::NAN), Some(f64::INFINITY), None] {
            let error = admit(&policy, 0, bad).unwrap_err();
            assert!(error.message().contains("\"auc\""), "{error}");
        }
    }

    #[test]
    fn signatures_need_inputs_and_links_never_pass() {
        let policy = AliasPolicy::default().with_signature();
        admit(&policy, 1, None).unwrap();
        assert!(admit(&policy, 0, None).unwrap_err().message().contains("inputs"));
        let link = policy.admit((&ModelName::new("m").unwrap(), Version(1)), None);
        assert!(link.unwrap_err().message().contains("only a link"));
    }

    #[test]
    fn policies_add_up_and_are_checked() {
        let one = AliasPolicy::default().with_approval().with_metric(MetricGate::at_least("auc", 0.8));
        let both = one.clone().and(one.clone().with_signature());
        assert_eq!(both, one.clone().with_signature());
        assert!(AliasPolicy::default().is_empty() && !one.is_empty());
        one.check().unwrap();
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(AliasPolicy::default().with_metric(MetricGate::at_most("auc", bad)).check().is_err());
        }
        let boundless = MetricGate { metric: "auc".to_owned(), at_least: None, at_most: None };
        assert!(AliasPolicy::default().with_metric(boundless).check().is_err());
    }
}
