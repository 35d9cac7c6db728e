//! A transaction given whole, so that it can be carried to where the database is.
//!
//! Invariant: what the caller is answered is what the work gave in the attempt that was committed.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Error, Result};
use tokio::sync::oneshot;

use super::{MetaStore, Transaction};

/// What a transaction does, by its own data alone.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// What it finds out.
    type Output: Send + 'static;

    /// Does it. Awaits nothing but `tx`; an error undoes everything. It may be called again after a conflict.
    ///
    /// # Errors
    /// Its own, and those of [`Transaction::execute`].
    async fn run(&self, tx: &mut dyn Transaction) -> Result<Self::Output>;

    /// Whether its loss with the machine does no harm, because whoever needs it does it again. It may then be answered before
    /// it is on disk; nothing that is committed after it can be there without it.
    fn is_repeatable(&self) -> bool {
        false
    }
}

/// A [`Work`] whose answer has somewhere to go; what back ends carry out.
#[async_trait]
pub trait Job: Send {
    /// Does the work once.
    ///
    /// # Errors
    /// As [`Work::run`].
    async fn run(self: Box<Self>, tx: &mut dyn Transaction) -> Result<()>;

    /// As [`Work::is_repeatable`].
    fn is_repeatable(&self) -> bool;
}

struct Errand<W: Work> {
    work: Arc<W>,
    answer: oneshot::Sender<W::Output>,
}

#[async_trait]
impl<W: Work> Job for Errand<W> {
    async fn run(self: Box<Self>, tx: &mut dyn Transaction) -> Result<()> {
        let output = self.work.run(tx).await?;
        // A caller that no longer waits does not want the answer.
        drop(self.answer.send(output));
        Ok(())
    }

    fn is_repeatable(&self) -> bool {
        self.work.is_repeatable()
    }
}

/// See [`super::MetaStoreExt::carry_out`].
pub(super) async fn carry_out<M: MetaStore + ?Sized, W: Work>(meta: &M, work: &Arc<W>) -> Result<W::Output> {
    let (answer, mut given) = oneshot::channel();
    meta.transact(Box::new(Errand { work: Arc::clone(work), answer })).await?;
    given.try_recv().map_err(|_| Error::internal("metadata database: a transaction was committed without its work"))
}

impl fmt::Debug for dyn Job + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}
