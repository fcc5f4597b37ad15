//! A limit on the bytes that all requests together hold in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this size, because a semaphore's count is limited.
const UNIT_BYTES: usize = 4 << 10;

/// Bytes that are still free for uploads.
#[derive(Debug, Clone)]
pub(super) struct ByteBudget {
    units: Arc<Semaphore>,
}

/// Bytes that one request holds; they are free again when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: ByteBudget,
    held: Option<OwnedSemaphorePermit>,
    used_bytes: usize,
}

impl ByteBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { units: Arc::new(Semaphore::new((bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS))) }
    }

    /// A reservation of nothing, to be grown.
    pub(super) fn open(&self) -> Reservation {
        Reservation { budget: self.clone(), held: None, used_bytes: 0 }
    }
}

impl Reservation {
    /// Takes that many bytes more; false, with nothing taken, where the budget has too few left.
    #[must_use]
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let used_bytes = self.used_bytes.saturating_add(bytes);
        let missing = used_bytes.div_ceil(UNIT_BYTES).saturating_sub(self.units());
        if missing > 0 && !self.take(missing) {
            return false;
        }
        self.used_bytes = used_bytes;
        true
    }

    fn units(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn take(&mut self, units: usize) -> bool {
        let Ok(units) = u32::try_from(units) else { return false };
        let Ok(permit) = Arc::clone(&self.budget.units).try_acquire_many_owned(units) else { return false };
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let budget = ByteBudget::new(4 * UNIT_BYTES);
        let mut first = budget.open();
        let mut second = budget.open();
        assert!(first.grow(1) && first.grow(UNIT_BYTES - 1), "one unit");
        assert!(second.grow(3 * UNIT_BYTES));
        assert!(!first.grow(1), "nothing is left");
        assert!(second.grow(0));
        drop(second);
        assert!(first.grow(3 * UNIT_BYTES));
        assert!(!first.grow(usize::MAX));
    }
}
