//! Work on many items by a fixed number of threads.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use mlops_core::{Error, Result};

/// The results of `work` in the order of `items`. After the first error no further item is begun.
pub(super) fn parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = threads.clamp(1, items.len().max(1));
    if threads == 1 {
        return items.iter().map(work).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item).inspect_err(|_| failed.store(true, Ordering::Relaxed));
            done.push((index, result?));
        }
        Ok(done)
    };
    let parts = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let join = |handle: thread::ScopedJoinHandle<'_, Result<Vec<(usize, R)>>>| {
            handle.join().unwrap_or_else(|_| Err(Error::internal("a worker thread panicked")))
        };
        handles.into_iter().map(join).collect::<Vec<_>>()
    });
    let mut done = Vec::with_capacity(items.len());
    for part in parts {
        done.extend(part?);
    }
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_an_error_ends_the_work() {
        let items: Vec<u32> = (0..1_000).collect();
        assert_eq!(
            parallel(4, &items, |item| Ok(item * 2)).unwrap(),
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        let fail = |item: &u32| if *item == 500 { Err(Error::data_loss("500")) } else { Ok(*item) };
        assert_eq!(parallel(3, &items, fail).unwrap_err().message(), "500");
        assert_eq!(parallel(8, &[] as &[u32], |item| Ok(*item)).unwrap(), Vec::<u32>::new());
    }
}
