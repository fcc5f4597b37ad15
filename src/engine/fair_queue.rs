//! Who is next: single pictures in the order of their arrival, then the runs in turn, one picture each.

use std::collections::VecDeque;

use super::places::{Lane, Run};
use super::policy::Kind;

/// Single pictures in a row after which a run that waits has its turn.
const SINGLES_IN_A_ROW: usize = 16;

/// What waits, by lane.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    singles: VecDeque<T>,
    /// Each with something waiting; the first has its turn next.
    runs: VecDeque<(Run, VecDeque<T>)>,
    singles_in_a_row: usize,
}

impl<T> FairQueue<T> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { singles: VecDeque::new(), runs: VecDeque::new(), singles_in_a_row: 0 }
    }

    /// Lets an item wait behind the others of its lane.
    pub fn push(&mut self, lane: Lane, item: T) {
        match lane {
            Lane::Single => self.singles.push_back(item),
            Lane::Run(run) => match self.runs.iter_mut().find(|(known, _)| *known == run) {
                Some((_, items)) => items.push_back(item),
                None => self.runs.push_back((run, VecDeque::from([item]))),
            },
        }
    }

    /// Lets an item wait before the others of its lane.
    pub fn push_front(&mut self, lane: Lane, item: T) {
        match lane {
            Lane::Single => self.singles.push_front(item),
            Lane::Run(run) => match self.runs.iter_mut().find(|(known, _)| *known == run) {
                Some((_, items)) => items.push_front(item),
                None => self.runs.push_front((run, VecDeque::from([item]))),
            },
        }
    }

    /// The next item, of the kinds that may be taken now.
    pub fn pop(&mut self, may_take: impl Fn(Kind) -> bool) -> Option<(Kind, T)> {
        let owes_runs = self.singles_in_a_row >= SINGLES_IN_A_ROW;
        let order = if owes_runs { [Kind::Run, Kind::Single] } else { [Kind::Single, Kind::Run] };
        let kind = order.into_iter().find(|kind| may_take(*kind) && self.len(*kind) > 0)?;
        let item = match kind {
            Kind::Single => {
                self.singles_in_a_row += usize::from(!self.runs.is_empty());
                self.singles.pop_front()
            }
            Kind::Run => {
                self.singles_in_a_row = 0;
                self.pop_run()
            }
        };
        item.map(|item| (kind, item))
    }

    /// How many of a kind wait.
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Single => self.singles.len(),
            Kind::Run => self.runs.iter().map(|(_, items)| items.len()).sum(),
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.singles.is_empty() && self.runs.is_empty()
    }

    /// Drops what is not wanted any more.
    pub fn retain(&mut self, is_wanted: impl Fn(&T) -> bool) {
        self.singles.retain(&is_wanted);
        self.runs.iter_mut().for_each(|(_, items)| items.retain(&is_wanted));
        self.runs.retain(|(_, items)| !items.is_empty());
    }

    /// A picture of the run whose turn it is, which then goes behind the other runs.
    fn pop_run(&mut self) -> Option<T> {
        let (run, mut items) = self.runs.pop_front()?;
        let item = items.pop_front();
        if !items.is_empty() {
            self.runs.push_back((run, items));
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::places::{PlaceLimits, Places};

    fn order(queue: &mut FairQueue<&'static str>, may_take: impl Fn(Kind) -> bool) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop(&may_take)).map(|(_, item)| item).collect()
    }

    #[test]
    fn singles_come_first_and_runs_take_turns() {
        let places = Places::new(PlaceLimits::default());
        let (first, second) = (places.open_run(), places.open_run());
        let mut queue = FairQueue::new();
        ["a1", "a2", "a3"].into_iter().for_each(|item| queue.push(Lane::Run(first), item));
        ["b1", "b2"].into_iter().for_each(|item| queue.push(Lane::Run(second), item));
        ["s1", "s2"].into_iter().for_each(|item| queue.push(Lane::Single, item));
        assert_eq!((queue.len(Kind::Single), queue.len(Kind::Run)), (2, 5));
        queue.retain(|item| *item != "a2");
        assert_eq!(queue.pop(|kind| kind == Kind::Run), Some((Kind::Run, "a1")));
        queue.push_front(Lane::Run(first), "a1");
        assert_eq!(queue.pop(|kind| kind == Kind::Run), Some((Kind::Run, "b1")));
        queue.push_front(Lane::Run(second), "b1");
        assert_eq!(order(&mut queue, |kind| kind == Kind::Run), ["a1", "b1", "a3", "b2"]);
        assert_eq!(order(&mut queue, |_| true), ["s1", "s2"]);
        assert_eq!(queue.pop(|_| true), None);
    }

    #[test]
    fn a_run_is_not_forgotten_over_single_pictures() {
        let places = Places::new(PlaceLimits::default());
        let mut queue = FairQueue::new();
        (0..3).for_each(|_| queue.push(Lane::Run(places.open_run()), "run"));
        (0..100).for_each(|_| queue.push(Lane::Single, "single"));
        let order = order(&mut queue, |_| true);
        assert_eq!(order[..SINGLES_IN_A_ROW], ["single"; SINGLES_IN_A_ROW]);
        assert_eq!(order[SINGLES_IN_A_ROW], "run");
        assert_eq!(order[..3 * SINGLES_IN_A_ROW + 3].iter().filter(|item| **item == "run").count(), 3);
    }
}
