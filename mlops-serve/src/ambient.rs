//! What a prediction knows of the request it is for: how long an answer is waited for, whether anybody still waits, and
//! the names that other servers are told.
//!
//! Models predict synchronously and are given rows alone, so it is kept for the thread that predicts. Who hands the work to
//! another thread hands this on. Invariant: requests that share a prediction lengthen its time and never shorten it; it is
//! given up when nobody waits for it any more.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mlops_core::{Error, Result};
use tokio::{sync::Semaphore, time::Instant};

#[cfg(feature = "remote")]
use crate::observe::TraceContext;

thread_local! {
    static HERE: RefCell<Here> = const { RefCell::new(Here::Nobody) };
}

/// For whom this thread predicts.
#[derive(Debug)]
enum Here {
    Nobody,
    /// A request that this thread alone knows, as long as nobody asked for it.
    Alone(Ambient),
    Shared(Arc<Ambient>),
}

/// For whom a prediction is made.
#[derive(Debug)]
pub(crate) struct Ambient {
    /// When nobody waits any more; none for work without a deadline.
    pub(crate) ends: Option<Instant>,
    /// Its place in a trace.
    #[cfg(feature = "remote")]
    pub(crate) trace: Option<TraceContext>,
    #[cfg(feature = "remote")]
    pub(crate) request_id: Option<Arc<str>>,
    /// Closed when the caller has gone.
    waited_for: Semaphore,
    /// The requests that share the prediction, where they are several.
    parts: Vec<Arc<Ambient>>,
    asked_elsewhere: AtomicBool,
}

impl Default for Ambient {
    fn default() -> Self {
        Self {
            ends: None,
            #[cfg(feature = "remote")]
            trace: None,
            #[cfg(feature = "remote")]
            request_id: None,
            waited_for: Semaphore::new(0),
            parts: Vec::new(),
            asked_elsewhere: AtomicBool::new(false),
        }
    }
}

impl Ambient {
    /// Of work that may take so long from now.
    pub(crate) fn within(limit: Duration) -> Self {
        Self { ends: Instant::now().checked_add(limit), ..Self::default() }
    }

    /// The same with what other servers are told.
    #[cfg(feature = "remote")]
    pub(crate) fn named(self, trace: Option<TraceContext>, request_id: Arc<str>) -> Self {
        Self { trace, request_id: Some(request_id), ..self }
    }

    /// Of a prediction that requests share.
    pub(crate) fn shared(mut parts: Vec<Arc<Self>>) -> Arc<Self> {
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return only;
        }
        let ends = parts.iter().map(|part| part.ends).collect::<Option<Vec<_>>>();
        Arc::new(Self { ends: ends.and_then(|ends| ends.into_iter().max()), parts, ..Self::default() })
    }

    /// That of the prediction on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        HERE.with_borrow_mut(|here| {
            let shared = match std::mem::replace(here, Here::Nobody) {
                Here::Nobody => return None,
                Here::Alone(ambient) => Arc::new(ambient),
                Here::Shared(shared) => shared,
            };
            *here = Here::Shared(Arc::clone(&shared));
            Some(shared)
        })
    }

    /// Predicts for it on this thread until the guard is dropped.
    pub(crate) fn enter(self: Arc<Self>) -> Entered {
        Entered(HERE.replace(Here::Shared(self)))
    }

    /// Predicts for it on this thread while its caller waits, and says whether another server was asked. Most predictions
    /// ask nobody anything, and cost no more for it.
    pub(crate) fn alone<T>(self, predict: impl FnOnce() -> T) -> (T, bool) {
        let entered = Entered(HERE.replace(Here::Alone(self)));
        let predicted = predict();
        let asked_elsewhere = HERE.with_borrow(|here| match here {
            Here::Shared(shared) => {
                shared.waited_for.close();
                shared.asked_elsewhere()
            }
            Here::Alone(_) | Here::Nobody => false,
        });
        drop(entered);
        (predicted, asked_elsewhere)
    }

    /// Ends it when the guard is dropped: its caller has an answer, or has gone.
    pub(crate) fn waiting(self: &Arc<Self>) -> Waiting {
        Waiting(Arc::clone(self))
    }

    /// Whether nobody waits for the prediction any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.waited_for.is_closed() || (!self.parts.is_empty() && self.parts.iter().all(|part| part.is_given_up()))
    }

    /// Comes back when nobody waits for the prediction any more.
    #[cfg(any(feature = "remote", test))]
    pub(crate) async fn given_up(&self) {
        for part in &self.parts {
            // Nothing is ever given to it; its end is the message.
            let _ = part.waited_for.acquire().await;
        }
        if self.parts.is_empty() {
            let _ = self.waited_for.acquire().await;
        }
    }

    /// Whether more work is worth beginning.
    ///
    /// # Errors
    /// `Cancelled` when nobody waits for it, `DeadlineExceeded` when its time is over.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_given_up() {
            return Err(gone());
        }
        match self.ends {
            Some(ends) if ends <= Instant::now() => {
                Err(Error::deadline_exceeded("the time of the request was over before all of it was predicted"))
            }
            _ => Ok(()),
        }
    }

    /// Notes that the prediction waits for another server, so that it is never run where nothing may wait.
    #[cfg(feature = "remote")]
    pub(crate) fn asks_elsewhere(&self) {
        self.asked_elsewhere.store(true, Ordering::Relaxed);
        self.parts.iter().for_each(|part| part.asks_elsewhere());
    }

    pub(crate) fn asked_elsewhere(&self) -> bool {
        self.asked_elsewhere.load(Ordering::Relaxed)
    }
}

/// The answer to a prediction that is given up.
pub(crate) fn gone() -> Error {
    Error::cancelled("nobody waits for the prediction any more")
}

/// A thread that predicts for a request.
#[derive(Debug)]
#[must_use = "the thread forgets the request when this is dropped"]
pub(crate) struct Entered(Here);

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.set(std::mem::replace(&mut self.0, Here::Nobody));
    }
}

/// The caller of a prediction.
#[derive(Debug)]
#[must_use = "the prediction is given up when this is dropped"]
pub(crate) struct Waiting(Arc<Ambient>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waited_for.close();
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    fn of(limit_ms: u64) -> Arc<Ambient> {
        Arc::new(Ambient::within(Duration::from_millis(limit_ms)))
    }

    #[tokio::test]
    async fn shared_work_is_given_up_when_the_last_has_gone_and_has_the_time_of_the_most_patient() {
        let (first, second) = (of(0), of(60_000));
        let both = Ambient::shared(vec![Arc::clone(&first), Arc::clone(&second)]);
        assert_eq!(both.ends, second.ends);
        assert_eq!(first.check().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        let waits = (first.waiting(), second.waiting());
        both.check().unwrap();
        drop(waits.0);
        both.check().unwrap();
        assert!(futures::FutureExt::now_or_never(both.given_up()).is_none());
        drop(waits.1);
        both.given_up().await;
        assert_eq!(both.check().unwrap_err().kind(), ErrorKind::Cancelled);
        let endless = Ambient::shared(vec![first, Arc::default()]);
        assert_eq!(endless.ends, None, "who waits for ever is not cut short by a neighbour");
    }

    #[test]
    fn who_predicts_alone_is_known_to_those_who_ask_and_gone_afterwards() {
        let limited = || Ambient::within(Duration::from_secs(60));
        assert_eq!(limited().alone(|| 7), (7, false));
        let (shared, _) = limited().alone(|| {
            let (first, second) = (Ambient::current().unwrap(), Ambient::current().unwrap());
            assert!(Arc::ptr_eq(&first, &second) && !first.is_given_up());
            first
        });
        assert!(shared.is_given_up() && Ambient::current().is_none());
    }

    #[cfg(feature = "remote")]
    #[test]
    fn who_asks_another_server_for_it_says_so() {
        let (_, asked) = Ambient::default().alone(|| Ambient::current().unwrap().asks_elsewhere());
        assert!(asked);
    }

    #[test]
    fn a_thread_knows_the_innermost_and_goes_back() {
        let (outer, inner) = (of(1), of(2));
        assert!(Ambient::current().is_none());
        {
            let _outer = Arc::clone(&outer).enter();
            {
                let _inner = Arc::clone(&inner).enter();
                assert!(Arc::ptr_eq(&Ambient::current().unwrap(), &inner));
            }
            assert!(Arc::ptr_eq(&Ambient::current().unwrap(), &outer));
        }
        assert!(Ambient::current().is_none());
    }
}
