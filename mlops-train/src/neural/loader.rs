//! Where rows come from, batch after batch.

use mlops_core::{Digest, DigestBuilder, Result};

/// Which batches are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Where the order comes from.
    pub seed: u64,
    /// The epoch, from one; none asks for the rows in their own order, to judge by.
    pub epoch: Option<u64>,
    /// Rows per batch; the last batch may have fewer.
    pub batch_rows: usize,
    /// Batches at the beginning that are not wanted, for they were seen before an interruption.
    pub skip: usize,
}

/// Rows in batches.
///
/// The order of an epoch is a function of [`Pass::seed`] and [`Pass::epoch`] alone: threads that read
/// ahead, and where a pass begins, never change it.
pub trait Loader: Send + Sync {
    /// Some rows, on the host.
    type Batch: Send;

    /// How many batches a pass has when none is skipped.
    fn batches(&self, batch_rows: usize) -> usize;

    /// The batches of one pass over all rows.
    ///
    /// # Errors
    /// What reading the rows meets, at once or batch by batch.
    fn pass(&self, pass: &Pass) -> Result<Box<dyn Iterator<Item = Result<Self::Batch>> + '_>>;

    /// The digest of everything that the batches depend on, so that a checkpoint of other rows is
    /// noticed.
    ///
    /// # Errors
    /// What reading the rows meets.
    fn digest(&self) -> Result<Digest>;
}

/// Numbers that a buffer of [`digest_numbers`] takes.
const BUFFERED: usize = 4_096;

/// Adds the bits of numbers.
pub(crate) fn digest_numbers(digest: &mut DigestBuilder, numbers: &[f32]) {
    let mut bytes = Vec::with_capacity(4 * BUFFERED);
    for chunk in numbers.chunks(BUFFERED) {
        bytes.clear();
        chunk.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        digest.update(&bytes);
    }
}
