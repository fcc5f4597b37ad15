//! The policy in single cases, and in a simulation with a clock of its own.

use std::collections::VecDeque;

use super::*;

const CPU: Limits = Limits {
    answers: 16,
    reserved: 4,
    pictures: 1,
    prompts: 4,
    steps_between_pictures: 8,
    steps_between_prompts: 2,
    shares_steps: false,
};
const GPU: Limits = Limits {
    answers: 32,
    reserved: 8,
    pictures: 8,
    prompts: 16,
    steps_between_pictures: 8,
    steps_between_prompts: 4,
    shares_steps: true,
};

fn work(unseen: usize, prompts: usize, writing: usize) -> Work {
    Work { unseen, prompts, writing }
}

fn next(limits: &Limits, singles: Work, runs: Work, steps: usize) -> Action {
    Load { work: PerKind { singles, runs }, since_pictures: steps, since_prompts: steps, without_runs: 0 }
        .next_action(limits)
}

#[test]
fn an_idle_replica_waits_and_begins_at_once() {
    let none = Work::default();
    assert_eq!(next(&CPU, none, none, 0), Action::Wait);
    assert_eq!(next(&CPU, work(3, 0, 0), none, 0), Action::See(Kind::Single, 1));
    assert_eq!(next(&GPU, work(3, 0, 0), none, 0), Action::See(Kind::Single, 3));
    assert_eq!(next(&GPU, none, work(30, 0, 0), 0), Action::See(Kind::Run, 8));
    assert_eq!(next(&CPU, work(3, 10, 0), none, 0), Action::Begin(Kind::Single, 4));
}

#[test]
fn answers_are_written_on_between_admissions() {
    let none = Work::default();
    assert_eq!(next(&GPU, work(1, 0, 3), none, 7), Action::StepAll);
    assert_eq!(next(&GPU, work(1, 0, 3), none, 8), Action::See(Kind::Single, 1));
    assert_eq!(next(&GPU, work(1, 5, 32), none, 9), Action::StepAll, "no room");
    assert_eq!(next(&GPU, none, work(9, 0, 24), 9), Action::StepAll, "runs leave the reserve free");
    assert_eq!(next(&GPU, work(9, 0, 0), work(9, 0, 24), 0), Action::See(Kind::Single, 8), "for those who wait");
}

#[test]
fn runs_stand_back_for_single_pictures() {
    assert_eq!(next(&CPU, work(1, 0, 0), work(9, 9, 9), 0), Action::See(Kind::Single, 1));
    assert_eq!(next(&CPU, work(0, 0, 1), work(9, 9, 9), 99), Action::StepOf(Kind::Single), "they pause");
    assert_eq!(next(&GPU, work(0, 0, 1), work(9, 9, 9), 99), Action::StepAll, "they are written along");
    let owed = Load {
        work: PerKind { singles: work(9, 9, 9), runs: work(1, 0, 0) },
        without_runs: ACTIONS_BETWEEN_RUNS,
        ..Load::default()
    };
    assert_eq!(owed.next_action(&CPU), Action::See(Kind::Run, 1));
    assert_eq!(owed.after(Action::See(Kind::Run, 1)).without_runs, 0);
}

/// Costs of a device, in milliseconds.
struct Costs {
    /// Of encoding pictures or prompts, however many.
    pass: f64,
    picture: f64,
    prompt: f64,
    step: f64,
    /// More for each further answer of a step.
    answer: f64,
}

const CPU_COSTS: Costs = Costs { pass: 0., picture: 2500., prompt: 300., step: 25., answer: 10. };
/// As the base model was measured on an H200.
const GPU_COSTS: Costs = Costs { pass: 1., picture: 1.35, prompt: 0.28, step: 0.25, answer: 0.0125 };
/// Steps of an answer.
const STEPS: usize = 200;

/// A replica with a clock instead of a device.
struct Simulation<'a> {
    limits: &'a Limits,
    costs: &'a Costs,
    now_ms: f64,
    load: Load,
    /// Steps that the answers under way still need.
    singles: Vec<usize>,
    runs: Vec<usize>,
    done: [usize; 2],
}

impl<'a> Simulation<'a> {
    fn new(limits: &'a Limits, costs: &'a Costs) -> Self {
        Self { limits, costs, now_ms: 0., load: Load::default(), singles: vec![], runs: vec![], done: [0; 2] }
    }

    /// Does the next action; `endless` keeps pictures of runs waiting.
    fn act(&mut self, endless: bool) -> Action {
        if endless {
            self.load.work.runs.unseen = 16;
        }
        (self.load.work.singles.writing, self.load.work.runs.writing) = (self.singles.len(), self.runs.len());
        let action = self.load.next_action(self.limits);
        self.load = self.load.after(action);
        match action {
            Action::Wait => {}
            Action::See(kind, count) => {
                let work = self.load.work.of_mut(kind);
                work.unseen -= count;
                work.prompts += count;
                self.now_ms += self.costs.pass + self.costs.picture * count as f64;
            }
            Action::Begin(kind, count) => {
                self.load.work.of_mut(kind).prompts -= count;
                let answers = if kind == Kind::Single { &mut self.singles } else { &mut self.runs };
                answers.extend(std::iter::repeat_n(STEPS, count));
                self.now_ms += self.costs.pass + self.costs.prompt * count as f64;
            }
            Action::StepOf(kind) => self.step(kind == Kind::Single, kind == Kind::Run),
            Action::StepAll => self.step(true, true),
        }
        action
    }

    fn step(&mut self, singles: bool, runs: bool) {
        let mut answers = 0;
        for (index, (is_part, list)) in [(singles, &mut self.singles), (runs, &mut self.runs)].into_iter().enumerate() {
            if is_part {
                answers += list.len();
                list.iter_mut().for_each(|left| *left -= 1);
                let before = list.len();
                list.retain(|left| *left > 0);
                self.done[index] += before - list.len();
            }
        }
        assert!(answers > 0, "a step of nothing");
        self.now_ms += self.costs.step + self.costs.answer * answers as f64;
    }

    /// Answers a second for clients who each send a picture some milliseconds after they were answered.
    fn answers_a_second(mut self, clients: usize) -> f64 {
        const SECONDS: f64 = 5.;
        const BREAK_MS: f64 = 10.;
        let mut arrivals: VecDeque<f64> = (0..clients).map(|client| client as f64).collect();
        while self.now_ms < SECONDS * 1e3 {
            while arrivals.pop_front_if(|arrival| *arrival <= self.now_ms).is_some() {
                self.load.work.singles.unseen += 1;
            }
            let done = self.done[0];
            if self.act(false) == Action::Wait {
                self.now_ms += 0.1;
            }
            arrivals.extend((done..self.done[0]).map(|_| self.now_ms + BREAK_MS));
        }
        self.done[0] as f64 / SECONDS
    }

    /// Time from now until one more single picture is answered.
    fn single_ms(&mut self, endless: bool) -> f64 {
        let (start, done) = (self.now_ms, self.done[0]);
        self.load.work.singles.unseen += 1;
        while self.done[0] == done {
            self.act(endless);
        }
        self.now_ms - start
    }
}

#[test]
fn a_run_delays_a_single_picture_by_a_step_and_a_vision_batch_at_most() {
    for (limits, costs) in [(&CPU, &CPU_COSTS), (&GPU, &GPU_COSTS)] {
        let alone = Simulation::new(limits, costs).single_ms(false);
        let company = if limits.shares_steps { STEPS as f64 * costs.answer * limits.answers as f64 } else { 0. };
        let step = costs.step + costs.answer * limits.answers as f64;
        let vision = costs.pass + costs.picture * limits.pictures as f64;
        let most = alone + company + step + vision;
        let mut simulation = Simulation::new(limits, costs);
        for arrival in 0..300 {
            // It arrives while an action of the run is under way, at its very beginning.
            for _ in 0..arrival % 97 {
                simulation.act(true);
            }
            let start = simulation.now_ms;
            simulation.act(true);
            let waited = simulation.now_ms - start;
            let took = waited + simulation.single_ms(true);
            assert!(took <= most + 1e-6, "{took} ms against {alone} alone, at most {most}");
        }
        assert!(simulation.done[1] > 0, "the run goes on");
    }
}

#[test]
fn a_gap_between_pictures_costs_a_gpu_little() {
    for clients in [16, 64] {
        let rate = |gap| {
            let limits = Limits { answers: 64, steps_between_pictures: gap, ..GPU };
            Simulation::new(&limits, &GPU_COSTS).answers_a_second(clients)
        };
        let best = [1, 2, 4, 8, 16, 32, 64].map(rate).into_iter().fold(0., f64::max);
        let chosen = rate(GPU.steps_between_pictures);
        assert!(chosen > 0.9 * best, "{clients} clients: {chosen} a second, and {best} at best");
    }
}

#[test]
fn nobody_starves_however_much_is_waiting() {
    for (limits, costs) in [(&CPU, &CPU_COSTS), (&GPU, &GPU_COSTS)] {
        let mut simulation = Simulation::new(limits, costs);
        for _ in 0..200_000 {
            simulation.load.work.singles.unseen = 16;
            simulation.act(true);
            let writing = simulation.singles.len() + simulation.runs.len();
            assert!(writing <= limits.answers && simulation.runs.len() <= limits.answers - limits.reserved);
        }
        let [singles, runs] = simulation.done;
        assert!(runs > 0 && singles > 10 * runs, "{singles} singles, {runs} of runs");
        assert!(singles > 200, "{singles} singles");
    }
}

#[test]
fn known_pictures_do_not_overtake_a_new_one_for_ever() {
    let mut load = Load { work: PerKind { singles: work(1, 9, 1), runs: Work::default() }, ..Load::default() };
    let mut actions = vec![];
    while !actions.contains(&Action::See(Kind::Single, 1)) {
        let action = load.next_action(&CPU);
        load = load.after(action);
        actions.push(action);
    }
    let begun = actions.iter().filter(|action| matches!(action, Action::Begin(..))).count();
    assert_eq!((actions.len(), begun), (8 + 3 + 1, 3), "{actions:?}");
}

#[test]
fn all_work_is_done_in_the_end() {
    for limits in [&CPU, &GPU, &Limits { answers: 1, reserved: 0, ..CPU }] {
        let mut simulation = Simulation::new(limits, &CPU_COSTS);
        simulation.load.work.singles.unseen = 50;
        simulation.load.work.runs.unseen = 50;
        for _ in 0..50_000 {
            simulation.act(false);
        }
        assert_eq!(simulation.act(false), Action::Wait);
        assert_eq!(simulation.done, [50, 50]);
    }
}
