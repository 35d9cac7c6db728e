//! Limits as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one tenant may do; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantLimits {
    /// Requests a second in the long run.
    pub requests_per_second: f64,
    /// Requests at once after a pause; at least one when there is a rate.
    pub burst: u32,
    /// Requests in flight.
    pub in_flight_max: u32,
}

/// Limits over all protocols. Health checks are not counted; each message of a gRPC stream is, like a request.
///
/// ```
/// let settings: mlops_serve::LimitSettings = serde_json::from_str(
///     r#"{"tenant": {"requests_per_second": 100.0, "burst": 200}, "tenants": {"batch": {"in_flight_max": 2}}}"#,
/// )?;
/// assert_eq!(settings.of("shop").burst, 200);
/// assert_eq!(settings.of("batch").in_flight_max, 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Requests in flight of all tenants; one more is refused with 503.
    pub in_flight_max: usize,
    /// A tenant that is not named below.
    pub tenant: TenantLimits,
    /// Tenants by the name of their principal.
    pub tenants: BTreeMap<String, TenantLimits>,
    /// Tenants that are kept apart; beyond that those that were quiet for longest begin anew.
    pub tenants_max: usize,
    /// How long a body may take to come, milliseconds; 408 beyond. Requests that are streams of gRPC are not bound by it.
    pub body_timeout_ms: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            in_flight_max: 4096,
            tenant: TenantLimits::default(),
            tenants: BTreeMap::new(),
            tenants_max: 10_000,
            body_timeout_ms: 30_000,
        }
    }
}

impl LimitSettings {
    /// What this tenant may do.
    #[must_use]
    pub fn of(&self, tenant: &str) -> TenantLimits {
        self.tenants.get(tenant).copied().unwrap_or(self.tenant)
    }

    /// Whether any tenant has a limit.
    pub(super) fn any(&self) -> bool {
        std::iter::once(&self.tenant).chain(self.tenants.values()).any(|limits| *limits != TenantLimits::default())
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        let positive = [
            ("limits.in_flight_max", self.in_flight_max as u64),
            ("limits.tenants_max", self.tenants_max as u64),
            ("limits.body_timeout_ms", self.body_timeout_ms),
        ];
        let mut faults: Vec<String> =
            positive.iter().filter(|(_, value)| *value == 0).map(|(name, _)| format!("{name} is 0")).collect();
        let named = self.tenants.iter().map(|(name, limits)| (name.as_str(), limits));
        for (name, limits) in named.chain([("others", &self.tenant)]) {
            let rate = limits.requests_per_second;
            if !rate.is_finite() || rate < 0.0 {
                faults.push(format!("limits of tenant {name:?}: requests_per_second is {rate}; it must be 0 or more"));
            }
        }
        faults
    }
}
