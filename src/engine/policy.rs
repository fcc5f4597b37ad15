//! What the worker does next. Pure: no clock and no device, so that every case can be tested.

/// Answers that are written at a time. Each holds keys and values of the whole picture for every layer, some 60 MB for the
/// large model in f32.
pub const MAX_ANSWERS: usize = 8;
/// Steps between two admissions while answers are being written: a picture takes as long to encode as many steps, and whoever
/// is waiting for the rest of an answer should not wait for every newcomer's picture first.
const STEPS_BETWEEN_ADMISSIONS: usize = 2;

/// How much there is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Answers that are being written.
    pub writing: usize,
    /// Requests that have prompts whose answers were not begun.
    pub waiting: usize,
    /// Steps since the last admission.
    pub steps: usize,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until a request comes.
    Wait,
    /// Begin at most so many answers of the request whose turn it is.
    Admit(usize),
    /// Write one more token of every answer.
    Step,
}

impl Load {
    /// The next action. Work that was begun goes on at least every other action, and work that waits is admitted as soon
    /// as there is room and the last admission is some steps ago.
    pub fn next_action(self) -> Action {
        let free = MAX_ANSWERS.saturating_sub(self.writing);
        let may_admit = self.waiting > 0 && free > 0;
        if self.writing == 0 && !may_admit {
            return Action::Wait;
        }
        if may_admit && (self.writing == 0 || self.steps >= STEPS_BETWEEN_ADMISSIONS) {
            // With others in the queue a request takes half of what is free, so that one of many prompts leaves room.
            return Action::Admit(if self.waiting > 1 { free.div_ceil(2) } else { free });
        }
        Action::Step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(writing: usize, waiting: usize, steps: usize) -> Action {
        Load { writing, waiting, steps }.next_action()
    }

    #[test]
    fn an_idle_worker_waits_and_admits_at_once() {
        assert_eq!(next(0, 0, 0), Action::Wait);
        assert_eq!(next(0, 1, 0), Action::Admit(MAX_ANSWERS));
        assert_eq!(next(0, 5, 0), Action::Admit(MAX_ANSWERS / 2));
    }

    #[test]
    fn writing_goes_on_between_admissions() {
        assert_eq!(next(3, 0, 100), Action::Step);
        assert_eq!(next(3, 2, 0), Action::Step);
        assert_eq!(next(3, 2, STEPS_BETWEEN_ADMISSIONS), Action::Admit(3));
        assert_eq!(next(MAX_ANSWERS, 2, 100), Action::Step);
    }

    #[test]
    fn nobody_starves() {
        // However much waits, both kinds of work are done again and again.
        let (mut load, mut admissions, mut steps) = (Load { waiting: 1000, ..Load::default() }, 0, 0);
        for _ in 0..1000 {
            match load.next_action() {
                Action::Wait => unreachable!(),
                Action::Admit(answers) => {
                    admissions += 1;
                    load = Load { writing: load.writing + answers, steps: 0, ..load };
                }
                Action::Step => {
                    steps += 1;
                    // Every tenth step an answer ends.
                    let ended = usize::from(steps % 10 == 0 && load.writing > 0);
                    load = Load { writing: load.writing - ended, steps: load.steps + 1, ..load };
                }
            }
            assert!(load.writing <= MAX_ANSWERS);
        }
        assert!(admissions > 50 && steps > 500, "{admissions} admissions, {steps} steps");
    }
}
