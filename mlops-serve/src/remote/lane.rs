//! The thread on which all calls to other servers wait.
//!
//! Models predict synchronously on threads of many kinds, some of them of an async runtime, where nothing may wait. This
//! one has a runtime of its own, so that a prediction can wait for it wherever it is.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll},
    thread,
};

use mlops_core::{Error, Result};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// Where calls run until the last one who may make some is gone.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    handle: Handle,
    /// The thread ends when every copy is dropped.
    _open: Arc<oneshot::Sender<()>>,
}

/// Work that is given up when nobody waits for it.
struct Abandoned<T>(JoinHandle<T>);

impl<T> Drop for Abandoned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for Abandoned<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        Pin::new(&mut self.0)
            .poll(context)
            .map_err(|error| Error::internal("a call of a remote model died").with_source(error))
    }
}

impl Lane {
    /// Starts the thread.
    ///
    /// # Errors
    /// `ResourceExhausted` when the operating system gives none.
    pub(crate) fn start() -> Result<Self> {
        let no = |error: std::io::Error| Error::resource_exhausted("no thread for remote models").with_source(error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(no)?;
        let (open, closed) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        let run = move || {
            // Nothing is ever sent; the end of the sender is the message.
            runtime.block_on(async { drop(closed.await) });
            // Whoever dropped the last handle must not wait for calls that nobody wants.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("mlops-remote".into()).spawn(run).map_err(no)?;
        Ok(Self { handle, _open: Arc::new(open) })
    }

    /// Runs `work` there.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        Abandoned(self.handle.spawn(work)).await?
    }

    /// The same, waiting on this thread, whatever it is.
    pub(crate) fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // The caller waits, unless it died.
            let _ = reply.send(work.await);
        });
        answer.recv().unwrap_or_else(|_| Err(Error::internal("a call of a remote model died")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_can_be_waited_for_on_a_thread_of_a_runtime_and_off_it() {
        let lane = Lane::start().unwrap();
        assert_eq!(lane.wait(async { Ok(1) }).unwrap(), 1);
        assert_eq!(lane.run(async { Ok(2) }).await.unwrap(), 2);
        let died = lane.run::<()>(async { panic!("x") }).await.unwrap_err();
        assert_eq!(died.kind(), mlops_core::ErrorKind::Internal);
        assert_eq!(lane.wait(async { Ok(3) }).unwrap(), 3);
    }
}
