//! The thread that owns a device: it encodes pictures and prompts, and writes answers, all that are under way together.
//!
//! Answers of any request share the steps of the decoder: they join when they are begun and leave when they are complete
//! or nobody waits for them any more. [`policy`](super::policy) says what is next; this does it.

mod halves;
mod task;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::Tensor;

use self::halves::in_halves;
use self::task::{Answer, Task};
use super::EngineError;
use super::board::{Board, Prepared};
use super::device::OpenDevice;
use super::faults::{Faults, Point};
use super::features::FeatureCache;
use super::heart::{Heart, OnLost};
use super::memory;
use super::policy::{Action, Kind, Limits, Load, PerKind, Work};
use super::request::Stage;
use super::stats::Counters;
use crate::florence::{Decoding, Florence, FlorenceError, Probe, Progress};

/// How often an idle replica checks whether its device still works.
const CANARY_INTERVAL: Duration = Duration::from_secs(3);

/// After how many such intervals the memory of past work is given back to the system.
const IDLE_INTERVALS: u32 = 10;

/// What a replica is made of.
pub(super) struct ReplicaParts {
    /// Its number among those of the model.
    pub index: usize,
    pub model: Arc<Florence>,
    pub device: OpenDevice,
    pub limits: Limits,
    /// Memory of an answer of usual length.
    pub answer_bytes: usize,
    pub board: Arc<Board>,
    pub features: Arc<FeatureCache>,
    pub counters: Arc<Counters>,
    pub heart: Arc<Heart>,
    pub on_lost: Arc<OnLost>,
    pub faults: Faults,
}

/// A loaded model on its device, with everything that it is working on.
pub(super) struct Replica {
    parts: ReplicaParts,
    tasks: Vec<Task>,
    answers: Vec<Answer>,
    /// What the policy keeps count of.
    load: Load,
    next_id: u64,
    /// Answers that fit into a step, as far as that was found out.
    fitting: usize,
    /// Requests take turns with their prompts; the next in the row.
    next_turn: u64,
    /// Answers under way as the counters know them.
    told_writing: usize,
    is_lost: bool,
    /// For how many intervals there was nothing to do.
    idle_intervals: u32,
}

impl Replica {
    /// A replica without work.
    pub fn new(parts: ReplicaParts) -> Self {
        let load = Load::default();
        Self {
            parts,
            tasks: vec![],
            answers: vec![],
            load,
            next_id: 0,
            fitting: usize::MAX,
            next_turn: 0,
            told_writing: 0,
            is_lost: false,
            idle_intervals: 0,
        }
    }

    /// Answers requests until the model is closed and all work is done, or the device stops working.
    pub fn run(mut self) {
        while !self.is_lost {
            // All that may touch the device is watched.
            self.parts.heart.begin();
            self.drop_unwanted();
            let is_over = self.look_at_board();
            let action = self.load.next_action(&self.parts.limits);
            self.load = self.load.after(action);
            self.perform(action);
            self.parts.heart.end();
            if action != Action::Wait {
                continue;
            }
            if is_over {
                return;
            }
            let is_idle = !self.parts.board.wait_for_prepared(self.parts.index, CANARY_INTERVAL);
            if is_idle {
                self.parts.heart.begin();
                self.check_device();
                self.parts.heart.end();
            }
            self.idle_intervals = if is_idle { self.idle_intervals + 1 } else { 0 };
            if self.idle_intervals == IDLE_INTERVALS {
                memory::give_back();
            }
        }
    }

    fn perform(&mut self, action: Action) {
        let is_for_runs = match action {
            Action::See(kind, _) | Action::Begin(kind, _) | Action::StepOf(kind) => kind == Kind::Run,
            Action::StepAll => self.load.work.singles.writing == 0,
            Action::Wait => false,
        };
        self.parts.counters.run_actions.add(usize::from(is_for_runs));
        let start = Instant::now();
        match action {
            Action::Wait => {}
            Action::See(kind, count) => self.see(kind, count),
            Action::Begin(kind, count) => self.begin(kind, count),
            Action::StepOf(kind) => self.step(Some(kind)),
            Action::StepAll => self.step(None),
        }
        if action != Action::Wait {
            self.parts.counters.busy_micros.add(usize::try_from(start.elapsed().as_micros()).unwrap_or(usize::MAX));
        }
        self.tell_writing();
    }

    /// Lets go of what nobody waits for any more.
    fn drop_unwanted(&mut self) {
        self.tasks.retain(Task::is_wanted);
        let tasks = &self.tasks;
        self.answers.retain(|answer| tasks.iter().any(|task| task.id == answer.task));
        self.tell_writing();
    }

    /// Takes over requests whose pictures are known, and counts what there is to do. `true` when nothing is to come.
    fn look_at_board(&mut self) -> bool {
        let board = Arc::clone(&self.parts.board);
        let ((known, lost, unseen), is_over) = board.visit(self.parts.index, |prepared| {
            prepared.retain(|prepared| prepared.job.is_wanted());
            let (known, lost, unseen) = self.take_known(prepared);
            let held = self.tasks.len() + known.len() + lost.len();
            ((known, lost, unseen), held)
        });
        for (prepared, features) in known {
            self.parts.counters.feature_hits.add(1);
            self.add_task(prepared, features);
        }
        // Their features were known when they were prepared, and have had to make room since.
        lost.into_iter().for_each(|prepared| board.put_back(prepared.job));
        self.load.work = PerKind::from_fn(|kind| Work {
            unseen: *unseen.of(kind),
            prompts: self.tasks_of(kind).map(|task| task.open(self.share())).sum(),
            // A long answer counts as several, so that memory stays within its bounds.
            writing: self.answers.iter().filter(|answer| answer.kind == kind).map(|answer| self.weight(answer)).sum(),
        });
        is_over
    }

    /// Requests whose features are kept, those without features or pixels, and how many pictures remain to be seen.
    #[allow(clippy::type_complexity, reason = "three lists, used once")]
    fn take_known(
        &self,
        prepared: &mut VecDeque<Prepared>,
    ) -> (Vec<(Prepared, Tensor)>, Vec<Prepared>, PerKind<usize>) {
        let (mut known, mut lost, mut unseen) = (vec![], vec![], PerKind::default());
        let mut tasks = PerKind::from_fn(|kind| self.tasks_of(kind).count());
        for one in std::mem::take(prepared) {
            match self.parts.features.get(&one.digest) {
                // More than can be begun would only take memory.
                Some(features) if *tasks.of(one.kind) < self.parts.limits.answers => {
                    *tasks.of_mut(one.kind) += 1;
                    known.push((one, features));
                }
                None if one.pixels.is_none() => lost.push(one),
                None => {
                    *unseen.of_mut(one.kind) += 1;
                    prepared.push_back(one);
                }
                Some(_) => prepared.push_back(one),
            }
        }
        (known, lost, unseen)
    }

    /// Encodes the next pictures of a kind.
    fn see(&mut self, kind: Kind, count: usize) {
        let index = self.parts.index;
        let (mut batch, _) = self.parts.board.visit(index, |prepared| {
            let mut batch: Vec<Prepared> = vec![];
            let mut rest = VecDeque::new();
            for one in std::mem::take(prepared) {
                // Another request about a picture of the batch will find its features.
                let is_new = one.pixels.is_some() && batch.iter().all(|other| other.digest != one.digest);
                if batch.len() < count && one.kind == kind && is_new { batch.push(one) } else { rest.push_back(one) }
            }
            *prepared = rest;
            let held = self.tasks.len() + batch.len();
            (batch, held)
        });
        batch.iter().for_each(|prepared| prepared.job.stage.set(Stage::EncodingPicture));
        let parts = &self.parts;
        let features = in_halves(&mut batch, &mut |batch| parts.see(batch), &mut |error, _| parts.before_retry(error));
        for (prepared, features) in batch.into_iter().zip(features) {
            match features {
                Ok(features) => {
                    self.parts.features.put(prepared.digest, &features);
                    self.add_task(prepared, features);
                }
                Err(error) => {
                    let error = self.explain(error);
                    self.parts.counters.failed.add(1);
                    prepared.job.end(Err(error));
                }
            }
        }
    }

    /// Encodes prompts and begins their answers, a prompt of each request in turn.
    fn begin(&mut self, kind: Kind, count: usize) {
        let mut rows: Vec<(u64, usize)> = vec![];
        let share = self.share();
        for _ in 0..count {
            let tasks = self.tasks.iter_mut().filter(|task| task.kind == kind && task.open(share) > 0);
            let Some(task) = tasks.min_by_key(|task| task.turn) else { break };
            rows.push((task.id, task.begun));
            task.begun += 1;
            task.turn = self.next_turn;
            self.next_turn += 1;
        }
        let (parts, tasks) = (&self.parts, &self.tasks);
        let mut work = |rows: &mut [(u64, usize)]| parts.begin(tasks, rows);
        let begun = in_halves(&mut rows, &mut work, &mut |error, _| parts.before_retry(error));
        for ((task, prompt), decoding) in rows.into_iter().zip(begun) {
            match decoding {
                Ok(decoding) => self.answers.push(Answer { task, kind, prompt, decoding }),
                Err(error) => self.fail(task, error),
            }
        }
    }

    /// Writes one more token of every answer, or of every one of a kind, and hands over those that are complete.
    fn step(&mut self, kind: Option<Kind>) {
        let takes_part = |answer: &Answer| kind.is_none_or(|kind| answer.kind == kind);
        let (parts, tasks) = (&self.parts, &self.tasks);
        let mut stepping: Vec<&mut Answer> = self.answers.iter_mut().filter(|answer| takes_part(answer)).collect();
        let mut work = |answers: &mut [&mut Answer]| parts.step(tasks, answers);
        let mut fitting = self.fitting;
        let mut before_retry = |error: &EngineError, answers: usize| {
            parts.before_retry(error);
            if *error == EngineError::OutOfMemory {
                fitting = fitting.min(answers / 2);
            }
        };
        // What did not fit together a step ago is not tried again.
        let mut progress = vec![];
        for answers in stepping.chunks_mut(self.fitting) {
            progress.extend(in_halves(answers, &mut work, &mut before_retry));
        }
        let mut progress = progress.into_iter();
        let mut writing = Vec::with_capacity(self.answers.len());
        for answer in std::mem::take(&mut self.answers) {
            if !takes_part(&answer) {
                writing.push(answer);
                continue;
            }
            match progress.next().map(|result| result.and_then(|inner| inner.map_err(EngineError::from))) {
                Some(Ok(Progress::Running)) => writing.push(answer),
                Some(Ok(Progress::Done)) => self.complete(answer),
                Some(Err(error)) => self.fail(answer.task, error),
                None => {}
            }
        }
        // Of a request that failed, the other answers go as well.
        self.answers = writing;
        self.drop_unwanted();
        // Without answers their memory is free again.
        self.fitting = if self.answers.is_empty() { usize::MAX } else { fitting.max(1) };
    }

    /// Takes a complete answer; the last one of a request ends it.
    fn complete(&mut self, Answer { task: id, prompt, decoding, .. }: Answer) {
        let Some(place) = self.tasks.iter().position(|task| task.id == id) else { return };
        let best = decoding.into_hypotheses().into_iter().next().ok_or(FlorenceError::NotFinite);
        match best {
            Err(error) => self.fail(id, error.into()),
            Ok(best) => {
                if self.tasks.get_mut(place).is_some_and(|task| task.take(prompt, best)) {
                    let task = self.tasks.remove(place);
                    self.parts.board.put_written(task.into_written());
                }
            }
        }
    }

    fn fail(&mut self, id: u64, error: EngineError) {
        let error = self.explain(error);
        if let Some(place) = self.tasks.iter().position(|task| task.id == id) {
            self.parts.counters.failed.add(1);
            self.tasks.remove(place).fail(error);
        }
    }

    /// Finds out whether a failure is the device's end.
    fn explain(&mut self, error: EngineError) -> EngineError {
        if !matches!(error, EngineError::Internal(_)) {
            return error;
        }
        match self.check_device() {
            None => error,
            Some(reason) => EngineError::DeviceLost(reason),
        }
    }

    /// Checks the device. If it is lost, so is everything that was to run on it.
    fn check_device(&mut self) -> Option<String> {
        let reason = self.parts.check_device().err()?;
        if !self.is_lost {
            self.is_lost = true;
            self.parts.board.lose(&reason);
            (self.parts.on_lost)(&reason);
            self.answers.clear();
            for task in std::mem::take(&mut self.tasks) {
                self.parts.counters.failed.add(1);
                task.fail(EngineError::DeviceLost(reason.clone()));
            }
        }
        Some(reason)
    }

    fn add_task(&mut self, prepared: Prepared, features: Tensor) {
        self.tasks.push(Task::new(self.next_id, self.next_turn, prepared, features));
        self.next_id += 1;
        self.next_turn += 1;
    }

    fn tasks_of(&self, kind: Kind) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(move |task| task.kind == kind)
    }

    /// Answers of one request that are written at a time, so that one of many prompts leaves room for others.
    fn share(&self) -> usize {
        self.parts.limits.answers.div_ceil(2)
    }

    /// How many answers of usual length hold as much memory.
    fn weight(&self, answer: &Answer) -> usize {
        answer.decoding.bytes().div_ceil(self.parts.answer_bytes).max(1)
    }

    fn tell_writing(&mut self) {
        let counter = &self.parts.counters.writing;
        counter.add(self.answers.len());
        counter.sub(self.told_writing);
        self.told_writing = self.answers.len();
    }
}

impl ReplicaParts {
    /// Features `[1, positions, d_model]` of each picture.
    fn see(&self, batch: &[Prepared]) -> Result<Vec<Tensor>, EngineError> {
        self.faults.pass(Point::See, &batch.iter().flat_map(|prepared| prepared.job.prompts()))?;
        let pixels: Vec<&Tensor> = batch.iter().filter_map(|prepared| prepared.pixels.as_ref()).collect();
        let features = self.model.encode_pixels(&self.model.together(&pixels)?, &mut Probe::none())?;
        self.counters.vision_passes.add(1);
        self.counters.pictures.add(batch.len());
        self.counters.batches.pictures.observe_count(batch.len());
        // Each on its own, so that one that is kept does not keep the memory of all.
        let row = |row| features.narrow(0, row, 1)?.force_contiguous();
        Ok((0..batch.len()).map(row).collect::<Result<_, candle_core::Error>>()?)
    }

    /// The answers to prompts of these tasks, before their first step.
    fn begin(&self, tasks: &[Task], rows: &[(u64, usize)]) -> Result<Vec<Decoding>, EngineError> {
        let find = |(id, prompt): &(u64, usize)| {
            let task = tasks.iter().find(|task| task.id == *id)?;
            Some((task, task.prompts.get(*prompt)?.clone()))
        };
        let rows: Vec<(&Task, Vec<u32>)> = rows.iter().filter_map(find).collect();
        self.faults.pass(Point::Begin, &rows.iter().flat_map(|(task, _)| task.job().prompts()))?;
        let features: Vec<&Tensor> = rows.iter().map(|(task, _)| &task.features).collect();
        let options: Vec<_> = rows.iter().map(|(task, _)| task.job().request.options).collect();
        let prompts: Vec<Vec<u32>> = rows.into_iter().map(|(_, prompt)| prompt).collect();
        let encoded = self.model.encode(&Tensor::cat(&features, 0)?, &prompts, &mut Probe::none())?;
        self.counters.encoder_passes.add(1);
        self.counters.prompts.add(prompts.len());
        self.counters.batches.prompts.observe_count(prompts.len());
        Ok(self.model.begin(&encoded, &options)?)
    }

    fn step(
        &self,
        tasks: &[Task],
        answers: &mut [&mut Answer],
    ) -> Result<Vec<Result<Progress, FlorenceError>>, EngineError> {
        let prompts = answers.iter().flat_map(|answer| tasks.iter().find(|task| task.id == answer.task));
        self.faults.pass(Point::Step, &prompts.flat_map(|task| task.job().prompts()))?;
        let mut decodings: Vec<&mut Decoding> = answers.iter_mut().map(|answer| &mut answer.decoding).collect();
        let progress = self.model.advance(&mut decodings)?;
        self.counters.steps.add(1);
        self.counters.step_answers.add(answers.len());
        self.counters.batches.answers.observe_count(answers.len());
        Ok(progress)
    }

    /// Memory that can be spared is given back before a smaller batch is tried.
    fn before_retry(&self, error: &EngineError) {
        self.counters.retries.add(1);
        if *error == EngineError::OutOfMemory {
            self.features.clear();
        }
    }

    fn check_device(&self) -> Result<(), String> {
        self.faults.pass(Point::Canary, &std::iter::empty()).map_err(|error| error.to_string())?;
        self.device.check()
    }
}
