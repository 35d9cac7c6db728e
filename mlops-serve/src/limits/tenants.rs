//! The tenants that were heard of lately, with their tokens and requests in flight.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mlops_core::Error;

use super::{
    bucket::Bucket,
    settings::{LimitSettings, TenantLimits},
};
use crate::{executor::RETRY_AFTER, metrics::Refusal};

#[derive(Debug)]
struct Tenant {
    bucket: Bucket,
    in_flight: Arc<AtomicU32>,
    seen: Duration,
}

/// Counts of all tenants.
#[derive(Debug)]
pub(crate) struct Tenants {
    settings: LimitSettings,
    /// Whether any tenant has a limit, so that there is something to look up.
    any: bool,
    known: Mutex<HashMap<String, Tenant>>,
    in_flight: Arc<AtomicUsize>,
}

/// A request that was let in; dropping it makes room for the next.
#[derive(Debug)]
pub(crate) struct Place {
    all: Arc<AtomicUsize>,
    tenant: Option<Arc<AtomicU32>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(tenant) = &self.tenant {
            tenant.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Tenants {
    pub(crate) fn new(settings: &LimitSettings) -> Self {
        Self { any: settings.any(), settings: settings.clone(), known: Mutex::default(), in_flight: Arc::default() }
    }

    /// Lets one more request in; `tenant` says whose it is.
    ///
    /// # Errors
    /// `Unavailable` when the server has enough to do, `ResourceExhausted` when the tenant has.
    pub(crate) fn enter(&self, tenant: impl FnOnce() -> String, now: Duration) -> Result<Place, (Refusal, Error)> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut place = Place { all: Arc::clone(&self.in_flight), tenant: None };
        if before >= self.settings.in_flight_max {
            let text = format!("{} requests are being answered; retry later", self.settings.in_flight_max);
            return Err((Refusal::InFlight, Error::unavailable(text)));
        }
        if self.any {
            place.tenant = self.enter_tenant(tenant(), now)?;
        }
        Ok(place)
    }

    fn enter_tenant(&self, name: String, now: Duration) -> Result<Option<Arc<AtomicU32>>, (Refusal, Error)> {
        let limits = self.settings.of(&name);
        if limits == TenantLimits::default() {
            return Ok(None);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.settings.tenants_max && !known.contains_key(&name) {
            forget_one(&mut known);
        }
        let tenant = known.entry(name).or_insert_with(|| Tenant {
            bucket: Bucket::full(limits.burst, now),
            in_flight: Arc::default(),
            seen: now,
        });
        tenant.seen = now;
        let in_flight = tenant.in_flight.load(Ordering::Relaxed);
        if limits.in_flight_max > 0 && in_flight >= limits.in_flight_max {
            let text = format!("{in_flight} requests of this tenant are being answered; retry later");
            return Err((Refusal::TenantInFlight, Error::resource_exhausted(text)));
        }
        if limits.requests_per_second > 0.0 {
            tenant.bucket.take(limits.requests_per_second, limits.burst, now).map_err(|wait| too_fast(limits, wait))?;
        }
        tenant.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Arc::clone(&tenant.in_flight)))
    }
}

fn too_fast(limits: TenantLimits, wait: Duration) -> (Refusal, Error) {
    let text = format!("this tenant may send {} requests a second; retry later", limits.requests_per_second);
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    (Refusal::TenantRate, Error::resource_exhausted(text).with(RETRY_AFTER, seconds))
}

/// Forgets the tenant that was quiet for longest, of those with nothing in flight if there is one.
fn forget_one(known: &mut HashMap<String, Tenant>) {
    let rank = |tenant: &Tenant| (tenant.in_flight.load(Ordering::Relaxed) > 0, tenant.seen);
    if let Some(name) = known.iter().min_by_key(|(_, tenant)| rank(tenant)).map(|(name, _)| name.clone()) {
        known.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    fn tenants(settings: &str) -> Tenants {
        Tenants::new(&serde_json::from_str(settings).unwrap())
    }

    fn refused(tenants: &Tenants, name: &str, now: Duration) -> (Refusal, ErrorKind) {
        let (refusal, error) = tenants.enter(|| name.to_owned(), now).unwrap_err();
        (refusal, error.kind())
    }

    #[test]
    fn the_server_and_each_tenant_have_their_own_bounds() {
        let tenants = tenants(r#"{"in_flight_max": 3, "tenants": {"a": {"in_flight_max": 1}}}"#);
        let enter = |name: &str| tenants.enter(|| name.to_owned(), Duration::ZERO);
        let first = enter("a").unwrap();
        assert_eq!(refused(&tenants, "a", Duration::ZERO), (Refusal::TenantInFlight, ErrorKind::ResourceExhausted));
        let others = [enter("b").unwrap(), enter("b").unwrap()];
        assert_eq!(refused(&tenants, "b", Duration::ZERO), (Refusal::InFlight, ErrorKind::Unavailable));
        drop(first);
        drop(enter("a").unwrap());
        drop(others);
        assert_eq!(tenants.in_flight.load(Ordering::Relaxed), 0, "refusals give their place back");
    }

    #[test]
    fn a_fast_tenant_is_told_when_to_come_again_and_others_are_not_slowed() {
        let tenants = tenants(r#"{"tenant": {"requests_per_second": 0.25, "burst": 1}}"#);
        drop(tenants.enter(|| "a".into(), Duration::ZERO).unwrap());
        let (_, error) = tenants.enter(|| "a".into(), Duration::ZERO).unwrap_err();
        assert_eq!(error.context(), [(RETRY_AFTER, "4".to_owned())]);
        drop(tenants.enter(|| "b".into(), Duration::ZERO).unwrap());
        drop(tenants.enter(|| "a".into(), Duration::from_secs(4)).unwrap());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let tenants = tenants(r#"{"tenants_max": 2, "tenant": {"requests_per_second": 1.0}}"#);
        for (second, name) in ["a", "b", "c", "d", "b"].into_iter().enumerate() {
            drop(tenants.enter(|| name.into(), Duration::from_millis(second as u64)).unwrap());
        }
        assert_eq!(tenants.known.lock().unwrap().len(), 2);
    }
}
