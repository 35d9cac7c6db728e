//! What the parts of the server find out about one request, kept until it is answered.
//!
//! A protocol adapter knows nothing of it: the outermost layer opens the notes for the task, whoever learns something
//! writes it down, and the layer reads it when the answer is there. In-process calls have none.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mlops_core::{ModelName, Principal, Version};

use super::trace::TraceContext;
use crate::rollout::Variant;

/// What is known of a request so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Noted {
    /// Where the request is in its trace.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) answered_by: Option<(ModelName, Version, Variant)>,
    pub(crate) rows: usize,
    pub(crate) queue: Duration,
    pub(crate) compute: Duration,
    /// Whether its body was given up for coming too slowly.
    body_late: bool,
}

/// The notes of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

tokio::task_local! {
    static NOTES: Notes;
}

impl Notes {
    /// Of a request at this place in a trace.
    pub(crate) fn begun(trace: TraceContext) -> Self {
        Self(Arc::new(Mutex::new(Noted { trace: Some(trace), ..Noted::default() })))
    }

    /// What `look` finds in them.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Noted) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The notes of the request that this task answers; none for calls in process.
#[cfg(feature = "grpc")]
pub(crate) fn current() -> Option<Notes> {
    NOTES.try_with(Notes::clone).ok()
}

/// What `look` finds in the notes of the request that this task answers; none for calls in process.
pub(crate) fn noted<T>(look: impl FnOnce(&Noted) -> T) -> Option<T> {
    NOTES.try_with(|notes| notes.with(look)).ok()
}

/// Writes into the notes of the request that this task answers, if it has any.
pub(crate) fn note(change: impl FnOnce(&mut Noted)) {
    // A call in process has none, and nobody who would read them.
    let _ = NOTES.try_with(|notes| notes.write(change));
}

/// Notes that the body of the request that this task answers was given up for coming too slowly.
pub(crate) fn body_is_late() {
    note(|noted| noted.body_late = true);
}

/// Whether it was.
pub(crate) fn is_body_late() -> bool {
    noted(|noted| noted.body_late).unwrap_or(false)
}

/// Runs `work` with `notes`, for work that outlives the handler, such as the answers of a stream.
pub(crate) async fn carry<T>(notes: Option<Notes>, work: impl Future<Output = T>) -> T {
    match notes {
        Some(notes) => NOTES.scope(notes, work).await,
        None => work.await,
    }
}
