//! What a replica does next. Pure: no clock and no device, so that every case can be tested.
//!
//! Two kinds of pictures are told apart, see [`Kind`]: those that somebody waits for, and those of runs. A single picture
//! goes before everything that a run has: it waits for the action under way and for nothing else. Where a step costs about
//! the same for few answers and for many, as on a GPU, the answers of runs are written along; where it does not, they
//! pause. Runs are owed an action now and then, so that they never stand still.

/// Actions for single pictures after which one is due to the runs.
const ACTIONS_BETWEEN_RUNS: usize = 256;

/// What a device can do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Answers that are written at a time. Each holds keys and values of the whole picture for every layer.
    pub answers: usize,
    /// Of these, answers that runs leave free for single pictures.
    pub reserved: usize,
    /// Pictures that are encoded at a time.
    pub pictures: usize,
    /// Prompts that are encoded at a time.
    pub prompts: usize,
    /// Steps from one encoding of pictures to the next while answers are being written: a picture takes as long as many steps,
    /// and whoever waits for the rest of an answer should not wait for every newcomer's picture first.
    pub steps_between_pictures: usize,
    /// Likewise from one encoding of prompts to the next, which takes less.
    pub steps_between_prompts: usize,
    /// Whether more answers make a step hardly slower.
    pub shares_steps: bool,
}

impl Limits {
    /// The same with room for something of everything.
    #[must_use]
    pub fn sensible(self) -> Self {
        let answers = self.answers.max(1);
        let reserved = self.reserved.min(answers - 1);
        Self { answers, reserved, pictures: self.pictures.max(1), prompts: self.prompts.max(1), ..self }
    }
}

/// Whom a picture belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody waits for this one.
    Single,
    /// It is one of many.
    Run,
}

/// Something of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerKind<T> {
    /// Single pictures'.
    pub singles: T,
    /// Runs'.
    pub runs: T,
}

impl<T> PerKind<T> {
    /// One for each kind.
    pub fn from_fn(of: impl Fn(Kind) -> T) -> Self {
        Self { singles: of(Kind::Single), runs: of(Kind::Run) }
    }

    /// That of a kind.
    pub const fn of(&self, kind: Kind) -> &T {
        match kind {
            Kind::Single => &self.singles,
            Kind::Run => &self.runs,
        }
    }

    /// That of a kind.
    pub const fn of_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Single => &mut self.singles,
            Kind::Run => &mut self.runs,
        }
    }
}

/// What there is to do for the pictures of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Pictures that were not encoded yet.
    pub unseen: usize,
    /// Prompts about encoded pictures whose answers may be begun.
    pub prompts: usize,
    /// Answers that are being written.
    pub writing: usize,
}

/// Everything that there is to do, and what was done last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// For whom.
    pub work: PerKind<Work>,
    /// Steps since pictures were encoded.
    pub since_pictures: usize,
    /// Steps since prompts were encoded.
    pub since_prompts: usize,
    /// Actions since the runs had a part in one, or had nothing to do.
    pub without_runs: usize,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until there is work.
    Wait,
    /// Encode so many pictures.
    See(Kind, usize),
    /// Encode so many prompts and begin their answers.
    Begin(Kind, usize),
    /// Write one more token of every answer of this kind.
    StepOf(Kind),
    /// Write one more token of every answer.
    StepAll,
}

impl Work {
    const fn is_empty(self) -> bool {
        self.unseen == 0 && self.prompts == 0 && self.writing == 0
    }
}

impl Load {
    /// The next action.
    pub fn next_action(&self, limits: &Limits) -> Action {
        let mut most = limits.answers;
        if self.runs_are_due() {
            match self.run_action(limits) {
                Some(action) if self.after(action).without_runs == 0 => return action,
                // There is no room for it: singles leave some as they end.
                _ => most = most.saturating_sub(limits.reserved + 1),
            }
        }
        if self.work.singles.is_empty() {
            return self.run_action(limits).unwrap_or(Action::Wait);
        }
        if let Some(admission) = self.admit(Kind::Single, most, limits) {
            return admission;
        }
        // What remains to be done for singles is a step, or there is no room because runs have taken all of it, which
        // the reserve prevents: then nobody's answers are in the way of a step either.
        if self.work.singles.writing > 0 { self.step(limits, Kind::Single) } else { self.step(limits, Kind::Run) }
    }

    /// The load after an action, as far as the policy's own counts go.
    #[must_use]
    pub const fn after(self, action: Action) -> Self {
        let (since_pictures, since_prompts) = match action {
            Action::See(..) => (0, self.since_prompts),
            Action::Begin(..) => (self.since_pictures, 0),
            Action::StepOf(_) | Action::StepAll => (self.since_pictures + 1, self.since_prompts + 1),
            Action::Wait => (self.since_pictures, self.since_prompts),
        };
        let for_runs = match action {
            Action::See(kind, _) | Action::Begin(kind, _) | Action::StepOf(kind) => matches!(kind, Kind::Run),
            Action::StepAll => self.work.runs.writing > 0,
            Action::Wait => true,
        };
        let without_runs = if for_runs || self.work.runs.is_empty() { 0 } else { self.without_runs + 1 };
        Self { since_pictures, since_prompts, without_runs, ..self }
    }

    const fn runs_are_due(&self) -> bool {
        self.without_runs >= ACTIONS_BETWEEN_RUNS && !self.work.runs.is_empty()
    }

    fn run_action(&self, limits: &Limits) -> Option<Action> {
        let admission = self.admit(Kind::Run, limits.answers.saturating_sub(limits.reserved), limits);
        admission.or_else(|| (self.writing() > 0).then(|| self.step(limits, Kind::Run)))
    }

    /// The next picture or prompt of a kind, if there is room for its answer among `most`, and the answers of that kind under way
    /// have got on since the last one. Answers of the other kind are not asked: those of runs have to wait, and singles' are
    /// never in the way of a run that is owed its turn.
    fn admit(&self, kind: Kind, most: usize, limits: &Limits) -> Option<Action> {
        let Work { unseen, prompts, writing } = *self.work.of(kind);
        let free = most.saturating_sub(self.writing());
        if free == 0 {
            return None;
        }
        let see = (unseen > 0).then(|| Action::See(kind, unseen.min(limits.pictures)));
        let begin = (prompts > 0).then(|| Action::Begin(kind, prompts.min(limits.prompts).min(free)));
        if writing == 0 {
            return begin.or(see);
        }
        // Pictures first: they have waited longer, and those that are known would else overtake the others for ever.
        let see = see.filter(|_| self.since_pictures >= limits.steps_between_pictures);
        see.or_else(|| begin.filter(|_| self.since_prompts >= limits.steps_between_prompts))
    }

    fn step(&self, limits: &Limits, kind: Kind) -> Action {
        let is_mixed = self.work.singles.writing > 0 && self.work.runs.writing > 0;
        if is_mixed && !limits.shares_steps { Action::StepOf(kind) } else { Action::StepAll }
    }

    const fn writing(&self) -> usize {
        self.work.singles.writing + self.work.runs.writing
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
