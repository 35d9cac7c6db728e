//! Budgets: how much requests may cost in a span of time.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{BudgetSpan, Change, NAME_MAX, check_optional, named::named};

named! {
    /// What an amount is of.
    BudgetUnit {
        /// US dollars.
        Usd = "USD",
    }
}

named! {
    /// Which requests count.
    BudgetScope {
        /// All of them.
        Global = "GLOBAL",
        /// Those of a workspace.
        Workspace = "WORKSPACE",
        /// Those to one endpoint.
        Endpoint = "ENDPOINT",
        /// Those of one user.
        User = "USER",
    }
}

impl BudgetScope {
    /// Whether it says whose requests count only together with a target.
    fn is_targeted(self) -> bool {
        matches!(self, Self::Endpoint | Self::User)
    }
}

named! {
    /// What happens when the budget is spent.
    BudgetAction {
        /// Somebody is told.
        Alert = "ALERT",
        /// Requests are refused.
        Reject = "REJECT",
    }
}

/// What a budget allows.
///
/// ```
/// use mlops_registry::gateway::{BudgetAction, BudgetLength, BudgetScope, BudgetSettings, BudgetSpan, BudgetUnit};
///
/// let span = BudgetSpan { unit: BudgetLength::Days, count: 1 };
/// let mut settings = BudgetSettings {
///     unit: BudgetUnit::Usd,
///     amount: 25.0,
///     span,
///     scope: BudgetScope::Global,
///     target: None,
///     action: BudgetAction::Alert,
/// };
/// settings.check()?;
/// settings.scope = BudgetScope::User;
/// assert!(settings.check().is_err(), "whose?");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetSettings {
    /// What the amount is of.
    pub unit: BudgetUnit,
    /// How much may be spent in a span; 0 or more.
    pub amount: f64,
    /// In which spans costs are summed.
    pub span: BudgetSpan,
    /// Which requests count.
    pub scope: BudgetScope,
    /// Id of the endpoint or name of the user whose requests count; none for other scopes.
    pub target: Option<String>,
    /// What happens when it is spent.
    pub action: BudgetAction,
}

impl BudgetSettings {
    /// Checks amount and span, and that there is a target exactly where the scope needs one.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        if !self.amount.is_finite() || self.amount < 0.0 {
            let message = format!("Invalid budget_amount: {}; it is 0 or more", self.amount);
            return Err(Error::invalid_argument(message));
        }
        self.span.check()?;
        check_optional("target_value", self.target.as_ref(), NAME_MAX)?;
        match &self.target {
            None if self.scope.is_targeted() => Err(Error::invalid_argument(format!(
                "target_value is required when target_scope is {}.",
                self.scope.name()
            ))),
            Some(_) if !self.scope.is_targeted() => {
                Err(Error::invalid_argument("target_value can only be set when target_scope is ENDPOINT or USER."))
            }
            _ => Ok(()),
        }
    }
}

/// A budget, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Its id.
    pub id: String,
    /// What it allows.
    pub settings: BudgetSettings,
    /// Who made and changed it.
    pub change: Change,
}

/// What to change of a budget; what is absent stays, but for the target of another scope.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BudgetUpdate {
    /// What the amount is of.
    pub unit: Option<BudgetUnit>,
    /// How much may be spent in a span.
    pub amount: Option<f64>,
    /// In which spans costs are summed.
    pub span: Option<BudgetSpan>,
    /// Which requests count. A target of before means nothing in another scope, so another scope needs its own.
    pub scope: Option<BudgetScope>,
    /// Whose requests count; none within: no target any more.
    pub target: Option<Option<String>>,
    /// What happens when it is spent.
    pub action: Option<BudgetAction>,
    /// Who changes it.
    pub updated_by: Option<String>,
}

impl BudgetSettings {
    /// The settings with the change.
    pub(super) fn updated(mut self, update: &BudgetUpdate) -> Result<Self> {
        self.unit = update.unit.unwrap_or(self.unit);
        self.amount = update.amount.unwrap_or(self.amount);
        self.span = update.span.unwrap_or(self.span);
        self.action = update.action.unwrap_or(self.action);
        let scope = update.scope.unwrap_or(self.scope);
        let kept = self.target.filter(|_| scope == self.scope);
        self.target = update.target.clone().unwrap_or(kept);
        self.scope = scope;
        self.check()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::BudgetLength, *};

    fn settings(scope: BudgetScope, target: Option<&str>) -> BudgetSettings {
        BudgetSettings {
            unit: BudgetUnit::Usd,
            amount: 1.0,
            span: BudgetSpan { unit: BudgetLength::Days, count: 1 },
            scope,
            target: target.map(str::to_owned),
            action: BudgetAction::Alert,
        }
    }

    #[test]
    fn a_target_stays_within_its_scope() {
        let of_endpoint = settings(BudgetScope::Endpoint, Some("e-1"));
        let update = |scope, target: Option<Option<&str>>| {
            let target = target.map(|target| target.map(str::to_owned));
            of_endpoint.clone().updated(&BudgetUpdate { scope, target, ..BudgetUpdate::default() })
        };
        assert_eq!(update(Some(BudgetScope::Endpoint), None).unwrap().target.as_deref(), Some("e-1"));
        assert_eq!(update(Some(BudgetScope::Global), None).unwrap().target, None);
        assert_eq!(update(Some(BudgetScope::User), Some(Some("ann"))).unwrap().target.as_deref(), Some("ann"));
        for (scope, target) in
            [(Some(BudgetScope::User), None), (None, Some(None)), (Some(BudgetScope::Global), Some(Some("x")))]
        {
            assert!(update(scope, target).unwrap_err().message().contains("target_value"));
        }
    }

    #[test]
    fn amounts_and_spans_are_bounded() {
        for amount in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(BudgetSettings { amount, ..settings(BudgetScope::Global, None) }.check().is_err());
        }
        let span = BudgetSpan { unit: BudgetLength::Weeks, count: 0 };
        assert!(BudgetSettings { span, ..settings(BudgetScope::Global, None) }.check().is_err());
    }
}
