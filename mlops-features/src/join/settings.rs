//! How a join runs: threads, memory, batches. None of it changes a result.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a join runs. None of this changes its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinSettings {
    /// Threads that read and search side by side; zero means one for every processor. Fewer run when the memory does
    /// not hold the buffers of all.
    pub threads: usize,
    /// Most bytes that a join holds beside the spine and the answer of its caller. A spine whose state does not fit
    /// is joined in pieces, each of which reads the sources again. Columns of texts and lists are accounted for by
    /// their average length.
    pub memory_bytes_max: usize,
    /// Rows that are decoded at a time.
    pub batch_rows: usize,
}

impl Default for JoinSettings {
    fn default() -> Self {
        Self { threads: 0, memory_bytes_max: 1 << 30, batch_rows: 8192 }
    }
}

/// What one row of each kind costs, for [`JoinSettings::shares`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Bytes that one row of the spine needs while it is joined.
    pub(crate) spine_row: usize,
    /// Bytes that one thread needs for its buffers.
    pub(crate) thread: usize,
}

/// How the memory is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) threads: usize,
    /// Rows of the spine that are joined at a time.
    pub(crate) spine_rows: usize,
}

/// Fewer rows at a time than this would read the sources over and over.
const SPINE_ROWS_MIN: usize = 1024;

impl JoinSettings {
    /// How many threads are asked for.
    pub(crate) fn threads_wanted(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// Threads get at most half of the memory, the spine the rest.
    pub(crate) fn shares(&self, costs: Costs) -> Result<Shares> {
        let spine_least = costs.spine_row.saturating_mul(SPINE_ROWS_MIN);
        let for_threads = (self.memory_bytes_max / 2).min(self.memory_bytes_max.saturating_sub(spine_least));
        let threads = self.threads_wanted().min(for_threads / costs.thread.max(1)).max(1);
        let left = self.memory_bytes_max.saturating_sub(threads.saturating_mul(costs.thread));
        if left < spine_least {
            return Err(Error::resource_exhausted(format!(
                "memory_bytes_max is {}; a join of these views needs at least {}",
                self.memory_bytes_max,
                costs.thread.saturating_add(spine_least)
            )));
        }
        let spine_rows = left / costs.spine_row.max(1);
        Ok(Shares { threads, spine_rows: spine_rows.min(u32::MAX as usize) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_limits_threads_first_and_then_rows() {
        let settings = JoinSettings { threads: 8, memory_bytes_max: 10_000_000, batch_rows: 1 };
        let shares = settings.shares(Costs { spine_row: 100, thread: 1_000_000 }).unwrap();
        assert_eq!(shares, Shares { threads: 5, spine_rows: 50_000 });
        let wide = Costs { spine_row: 10_000, thread: 1 };
        let error = settings.shares(wide).unwrap_err();
        assert!(error.message().contains("memory_bytes_max is 10000000"), "{error}");
        assert!(error.message().ends_with("10240001"), "{error}");
        let enough = JoinSettings { memory_bytes_max: 10_240_001, ..settings };
        assert_eq!(enough.shares(wide).unwrap(), Shares { threads: 1, spine_rows: 1024 });
    }
}
