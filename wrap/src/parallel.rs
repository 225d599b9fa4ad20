//! One function over many items on all cores, in the items' order. Knows nothing of what it computes.

use crate::error::Error;
use crate::progress::Progress;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most threads that are worth their start for work that mostly waits for the page cache.
const THREADS_MAX: usize = 64;

/// `work` over `items`, each thread with a state of its own; the answers are in the order of the items.
///
/// # Errors
/// [`Error::Cancelled`] if `progress` says so between two items.
pub(crate) fn map<'i, T: Sync, S, R: Send>(
    what: &str,
    items: &'i [T],
    progress: &dyn Progress,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &'i T) -> R + Sync,
) -> Result<Vec<R>, Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS_MAX).min(items.len()).max(1);
    let next = AtomicUsize::new(0);
    progress.begin(what, items.len() as u64);
    let one = || {
        let (mut state, mut done) = (state(), Vec::new());
        while !progress.is_cancelled() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            done.push((index, work(&mut state, item)));
            progress.step();
        }
        done
    };
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mut all = one();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                // A panic of a worker is this thread's too.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    progress.end();
    if all.len() < items.len() {
        return Err(Error::Cancelled);
    }
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, answer)| answer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    struct Never;

    impl Progress for Never {
        fn is_cancelled(&self) -> bool {
            true
        }
    }

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let items: Vec<u64> = (0..1000).collect();
        let squares = map("squares", &items, &Silent, || 0, |_, n| n * n).unwrap();
        assert_eq!(squares, items.iter().map(|n| n * n).collect::<Vec<_>>());
    }

    #[test]
    fn work_that_is_cancelled_gives_no_answer() {
        assert!(matches!(map("nothing", &[1, 2], &Never, || (), |(), n| *n), Err(Error::Cancelled)));
    }
}
