//! A list of tasks on a few threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use mlops_core::{Error, Result};

/// The results of `work` for every one of `tasks`, in order, computed on at most `threads` threads. After an error no
/// further task is begun; of several errors the one of the first task is returned.
pub(crate) fn spread<T: Sync, R: Send>(
    threads: usize,
    tasks: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    if threads <= 1 || tasks.len() <= 1 {
        return tasks.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(place) else { return done };
            let result = work(task);
            if result.is_err() {
                next.fetch_max(tasks.len(), Ordering::Relaxed);
            }
            done.push((place, result));
        }
    };
    let mut results = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.min(tasks.len())).map(|_| scope.spawn(run)).collect();
        let mut all = Vec::with_capacity(tasks.len());
        for thread in running {
            all.extend(thread.join().map_err(|_| Error::internal("a worker thread panicked"))?);
        }
        Ok::<_, Error>(all)
    })?;
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_errors_stop() {
        let tasks: Vec<usize> = (0..100_000).collect();
        for threads in [1, 2, 5] {
            assert_eq!(spread(threads, &tasks, |task| Ok(task * 2)).unwrap()[99], 198);
            assert!(spread(threads, &[(); 0], |()| Ok(())).unwrap().is_empty());
            let begun = AtomicUsize::new(0);
            let error = spread(threads, &tasks, |task| {
                begun.fetch_add(1, Ordering::Relaxed);
                if *task == 3 { Err(Error::internal("three")) } else { Ok(()) }
            });
            assert_eq!(error.unwrap_err().message(), "three");
            assert!(begun.into_inner() < tasks.len());
        }
    }
}
