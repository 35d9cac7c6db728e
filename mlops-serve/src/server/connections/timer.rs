//! A timer for the heads of requests, whose times cost nothing where they are not over.
//!
//! A time is set for every head and taken back when the head is there. In the runtime's timer each would take the lock
//! of all timers twice; here one sleep of the connection stays in it, and goes on when a later time is meant. So a
//! connection that was served is woken for nothing at most twice in the length of a time.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;
use tokio::time::{self, sleep_until};

/// The timer of one connection, on which one time at most is waited for at once.
#[derive(Debug, Clone, Default)]
pub(super) struct HeadTimer(Arc<Mutex<Option<Pin<Box<time::Sleep>>>>>);

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadSleep { deadline: deadline.into(), timer: self.clone() })
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        *sleep = self.sleep_until(deadline);
    }
}

/// Waits for one time.
struct HeadSleep {
    deadline: time::Instant,
    timer: HeadTimer,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sleep = shared.get_or_insert_with(|| Box::pin(sleep_until(self.deadline)));
        if sleep.deadline() > self.deadline {
            sleep.as_mut().reset(self.deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() == self.deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(self.deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits, and says how late it was.
    async fn wait(timer: &HeadTimer, duration: Duration) -> Duration {
        let deadline = timer.now() + duration;
        timer.sleep_until(deadline).await;
        timer.now().checked_duration_since(deadline).expect("no time is over early")
    }

    #[tokio::test(start_paused = true)]
    async fn every_time_is_over_when_it_is_whatever_was_waited_for_before() {
        // The runtime's own timer tells milliseconds apart.
        const LATE: Duration = Duration::from_millis(1);
        let timer = HeadTimer::default();
        // Taken back before and after it was looked at, and far longer than those that follow.
        drop(timer.sleep(Duration::from_secs(600)));
        assert!(futures::poll!(timer.sleep(Duration::from_secs(600))).is_pending());
        assert!(wait(&timer, Duration::from_millis(5)).await <= LATE);
        assert!(futures::poll!(timer.sleep(Duration::from_millis(1))).is_pending());
        assert!(wait(&timer, Duration::from_millis(10)).await <= LATE);
        let mut moved = timer.sleep(Duration::from_secs(600));
        let until = timer.now() + Duration::from_millis(20);
        timer.reset(&mut moved, until);
        moved.await;
        assert!(timer.now().checked_duration_since(until).expect("no time is over early") <= LATE);
    }
}
