//! How many requests are answered at one time, and how many wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tranche_serving::Refusal;

/// The places of a door, and the line before them: first come, first served. A request's body is
/// read once it has a place, so that waiting requests hold no memory but their heads.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    max_in_flight: usize,
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// A place, given back when dropped.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// One that waits, however it stops to.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(crate) fn new(max_in_flight: usize, max_waiting: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            waiting: AtomicUsize::new(0),
            max_waiting,
        }
    }

    /// A place at once, or after waiting in line until `deadline`.
    ///
    /// # Errors
    /// 429 when the line is full, 504 when the time is over before a place is free.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<Place, Refusal> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Place { _permit: permit });
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        if before >= self.max_waiting {
            return Err(Refusal::busy(self.max_in_flight));
        }
        let acquired = Arc::clone(&self.places).acquire_owned();
        let acquired = tokio::time::timeout_at(deadline.into(), acquired).await;
        drop(waiting);
        match acquired {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            // The places are never closed.
            Ok(Err(_)) => Err(Refusal::draining()),
            Err(_) => Err(Refusal::deadline("no place became free in the request's time")),
        }
    }

    pub(crate) fn count_in_flight(&self) -> usize {
        self.max_in_flight.saturating_sub(self.places.available_permits())
    }

    pub(crate) fn count_waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn so_many_enter_so_many_wait_and_the_rest_is_sent_away() {
        let admission = Arc::new(Admission::new(1, 1));
        let soon = || Instant::now() + Duration::from_secs(20);
        let inside = admission.enter(soon()).await.unwrap();
        let line = Arc::clone(&admission);
        let second = tokio::spawn(async move { line.enter(Instant::now() + Duration::from_secs(20)).await });
        while admission.count_waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = admission.enter(soon()).await.err().unwrap();
        assert_eq!((refused.code, admission.count_waiting()), ("busy", 1));
        drop(inside);
        let second = second.await.unwrap().unwrap();
        assert_eq!((admission.count_in_flight(), admission.count_waiting()), (1, 0));

        let late = admission.enter(Instant::now() + Duration::from_millis(20)).await.err().unwrap();
        assert_eq!((late.code, admission.count_waiting()), ("deadline", 0));
        drop(second);
        assert_eq!(admission.count_in_flight(), 0);
    }
}
