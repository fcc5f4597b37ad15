//! What a replica does next. Pure: no clock and no device, so that every case can be tested.
//!
//! Two kinds of pictures are told apart, see [`Kind`]: those that somebody waits for, and those of runs. A single picture
//! goes before everything that a run has: it waits for the action under way and for nothing else. Where a step costs about
//! the same for few answers and for many, as on a GPU, the answers of runs are written along; where it does not, they
//! pause. Runs are owed an action now and then, so that they never stand still.

/// Actions for single pictures after which one is due to the runs.
const ACTIONS_BETWEEN_RUNS: usize = 64;

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
    /// Steps between two admissions while answers are being written: a picture takes as long to encode as many steps, and
    /// whoever waits for the rest of an answer should not wait for every newcomer's picture first.
    pub steps_between_admissions: usize,
    /// Whether more answers make a step hardly slower.
    pub shares_steps: bool,
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
    /// Steps since the last admission.
    pub steps: usize,
    /// Whether the last admission of a kind began answers, as opposed to encoding pictures.
    pub has_begun: PerKind<bool>,
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
        if self.runs_are_due() {
            return self.run_action(limits).unwrap_or(Action::Wait);
        }
        if self.work.singles.is_empty() {
            return self.run_action(limits).unwrap_or(Action::Wait);
        }
        if let Some(admission) = self.admit_single(limits) {
            return admission;
        }
        // What remains to be done for singles is a step, or there is no room because runs have taken all of it, which
        // the reserve prevents: then nobody's answers are in the way of a step either.
        if self.work.singles.writing > 0 { self.step(limits, Kind::Single) } else { self.step(limits, Kind::Run) }
    }

    /// The load after an action, as far as the policy's own counts go.
    #[must_use]
    pub const fn after(self, action: Action) -> Self {
        let steps = match action {
            Action::See(..) | Action::Begin(..) => 0,
            Action::StepOf(_) | Action::StepAll => self.steps + 1,
            Action::Wait => self.steps,
        };
        let mut has_begun = self.has_begun;
        if let Action::See(kind, _) | Action::Begin(kind, _) = action {
            *has_begun.of_mut(kind) = matches!(action, Action::Begin(..));
        }
        let for_runs = match action {
            Action::See(kind, _) | Action::Begin(kind, _) | Action::StepOf(kind) => matches!(kind, Kind::Run),
            Action::StepAll => self.work.runs.writing > 0,
            Action::Wait => true,
        };
        let without_runs = if for_runs || self.work.runs.is_empty() { 0 } else { self.without_runs + 1 };
        Self { steps, has_begun, without_runs, ..self }
    }

    const fn runs_are_due(&self) -> bool {
        self.without_runs >= ACTIONS_BETWEEN_RUNS && !self.work.runs.is_empty()
    }

    /// Singles are admitted at once, but for those whose own answers are being written.
    fn admit_single(&self, limits: &Limits) -> Option<Action> {
        let may_admit = self.work.singles.writing == 0 || self.steps >= limits.steps_between_admissions;
        let free = limits.answers.saturating_sub(self.writing());
        if may_admit { self.admit(Kind::Single, free, limits) } else { None }
    }

    fn run_action(&self, limits: &Limits) -> Option<Action> {
        let may_admit = self.work.runs.writing == 0 || self.steps >= limits.steps_between_admissions;
        let free = limits.answers.saturating_sub(limits.reserved).saturating_sub(self.writing());
        let admission = if may_admit { self.admit(Kind::Run, free, limits) } else { None };
        admission.or_else(|| (self.writing() > 0).then(|| self.step(limits, Kind::Run)))
    }

    fn step(&self, limits: &Limits, kind: Kind) -> Action {
        let is_mixed = self.work.singles.writing > 0 && self.work.runs.writing > 0;
        if is_mixed && !limits.shares_steps { Action::StepOf(kind) } else { Action::StepAll }
    }

    /// Answers are begun as soon as there is room, and without room for them no picture is encoded either. Where both kinds
    /// of work wait they alternate: pictures that were encoded before would else overtake the others for ever.
    fn admit(&self, kind: Kind, free: usize, limits: &Limits) -> Option<Action> {
        let Work { unseen, prompts, .. } = *self.work.of(kind);
        let see = Action::See(kind, unseen.min(limits.pictures));
        let begin = Action::Begin(kind, prompts.min(limits.prompts).min(free));
        match (unseen > 0, prompts > 0) {
            _ if free == 0 => None,
            (false, false) => None,
            (true, false) => Some(see),
            (false, true) => Some(begin),
            (true, true) => Some(if *self.has_begun.of(kind) { see } else { begin }),
        }
    }

    const fn writing(&self) -> usize {
        self.work.singles.writing + self.work.runs.writing
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
