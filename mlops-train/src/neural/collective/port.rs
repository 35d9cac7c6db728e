//! What the members of a fit say to each other.

use std::fmt;

use mlops_core::Result;

/// A member of a group that fits one module together: every member has all rows at hand, takes its
/// share of each step's batches, and makes the same update.
pub trait Collective: fmt::Debug + Send + Sync {
    /// The number of this member, below [`Collective::size`].
    fn rank(&self) -> usize;

    /// Members in all, at least one.
    fn size(&self) -> usize;

    /// What every member brings, in the order of their numbers, the same for all. Waits for all of
    /// them; the n-th call of one member meets the n-th call of the others.
    ///
    /// # Errors
    /// `Unavailable` when a member is gone, in this call and in every later one; what was learnt lies in the last
    /// checkpoint, from which a group of another size may go on.
    fn all_gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>>;
}
