//! The tenants that were heard of lately, with their tokens and requests in flight.
//!
//! Invariant: `by_turn` names exactly the tenants that are known, the one that has been quiet for longest first.

use std::{
    collections::{BTreeMap, HashMap},
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
    /// Which of all requests was its last.
    turn: u64,
}

/// Most tenants that are looked at for one without a request in flight before the quietest is forgotten all the same.
const LOOKS_MAX: usize = 16;

#[derive(Debug, Default)]
struct Known {
    tenants: HashMap<Arc<str>, Tenant>,
    by_turn: BTreeMap<u64, Arc<str>>,
    turn: u64,
}

impl Known {
    /// The tenant, who is now the last that was heard of.
    fn heard(&mut self, name: &str, limits: TenantLimits, tenants_max: usize, now: Duration) -> &mut Tenant {
        let known = self.tenants.get_key_value(name).map(|(name, tenant)| (Arc::clone(name), tenant.turn));
        let name = match known {
            Some((name, turn)) => {
                self.by_turn.remove(&turn);
                name
            }
            None => {
                if self.tenants.len() >= tenants_max {
                    self.forget_one();
                }
                Arc::from(name)
            }
        };
        self.turn += 1;
        self.by_turn.insert(self.turn, Arc::clone(&name));
        let tenant = self.tenants.entry(name).or_insert_with(|| Tenant {
            bucket: Bucket::full(limits.burst, now),
            in_flight: Arc::default(),
            turn: 0,
        });
        tenant.turn = self.turn;
        tenant
    }

    /// Forgets the tenant that was quiet for longest, of those with nothing in flight if there is one near.
    fn forget_one(&mut self) {
        let idle =
            |name: &Arc<str>| self.tenants.get(name).is_none_or(|tenant| tenant.in_flight.load(Ordering::Relaxed) == 0);
        let mut quiet = self.by_turn.iter().take(LOOKS_MAX);
        let turn = quiet.find(|(_, name)| idle(name)).or_else(|| self.by_turn.first_key_value()).map(|(turn, _)| *turn);
        if let Some(name) = turn.and_then(|turn| self.by_turn.remove(&turn)) {
            self.tenants.remove(&name);
        }
    }
}

/// Counts of all tenants.
#[derive(Debug)]
pub(crate) struct Tenants {
    settings: LimitSettings,
    /// Whether any tenant has a limit, so that there is something to look up.
    any: bool,
    known: Mutex<Known>,
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

    /// Lets one more request in; `tenant` says whose it is, where that matters, and `now` when it came.
    ///
    /// # Errors
    /// `Unavailable` when the server has enough to do, `ResourceExhausted` when the tenant has.
    pub(crate) fn enter(
        &self,
        tenant: impl FnOnce() -> String,
        now: impl FnOnce() -> Duration,
    ) -> Result<Place, (Refusal, Error)> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut place = Place { all: Arc::clone(&self.in_flight), tenant: None };
        if before >= self.settings.in_flight_max {
            let text = format!("{} requests are being answered; retry later", self.settings.in_flight_max);
            return Err((Refusal::InFlight, Error::unavailable(text)));
        }
        if self.any {
            place.tenant = self.enter_tenant(&tenant(), now())?;
        }
        Ok(place)
    }

    fn enter_tenant(&self, name: &str, now: Duration) -> Result<Option<Arc<AtomicU32>>, (Refusal, Error)> {
        let limits = self.settings.of(name);
        if limits == TenantLimits::default() {
            return Ok(None);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = known.heard(name, limits, self.settings.tenants_max, now);
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

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    fn tenants(settings: &str) -> Tenants {
        Tenants::new(&serde_json::from_str(settings).unwrap())
    }

    fn refused(tenants: &Tenants, name: &str, now: Duration) -> (Refusal, ErrorKind) {
        let (refusal, error) = tenants.enter(|| name.to_owned(), || now).unwrap_err();
        (refusal, error.kind())
    }

    #[test]
    fn the_server_and_each_tenant_have_their_own_bounds() {
        let tenants = tenants(r#"{"in_flight_max": 3, "tenants": {"a": {"in_flight_max": 1}}}"#);
        let enter = |name: &str| tenants.enter(|| name.to_owned(), || Duration::ZERO);
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
        drop(tenants.enter(|| "a".into(), || Duration::ZERO).unwrap());
        let (_, error) = tenants.enter(|| "a".into(), || Duration::ZERO).unwrap_err();
        assert_eq!(error.context(), [(RETRY_AFTER, "4".to_owned())]);
        drop(tenants.enter(|| "b".into(), || Duration::ZERO).unwrap());
        drop(tenants.enter(|| "a".into(), || Duration::from_secs(4)).unwrap());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let tenants = tenants(r#"{"tenants_max": 2, "tenant": {"requests_per_second": 1.0}}"#);
        for (second, name) in ["a", "b", "c", "d", "b"].into_iter().enumerate() {
            drop(tenants.enter(|| name.into(), || Duration::from_millis(second as u64)).unwrap());
        }
        let known = tenants.known.lock().unwrap();
        assert_eq!(known.by_turn.values().map(AsRef::as_ref).collect::<Vec<_>>(), ["d", "b"], "the quietest went");
        assert_eq!(known.tenants.len(), 2);
    }

    #[test]
    fn who_waits_for_an_answer_is_not_forgotten_before_who_does_not() {
        let tenants = tenants(r#"{"tenants_max": 2, "tenant": {"in_flight_max": 1}}"#);
        let enter = |name: &str| tenants.enter(|| name.to_owned(), || Duration::ZERO);
        let busy = enter("busy").unwrap();
        drop(enter("idle").unwrap());
        drop(enter("new").unwrap());
        assert_eq!(refused(&tenants, "busy", Duration::ZERO).0, Refusal::TenantInFlight);
        drop(busy);
    }
}
