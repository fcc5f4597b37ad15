//! The thread that owns a device: it loads the model, then answers requests, all that are under way together.
//!
//! Answers of any request share the steps of the decoder: they join when they are begun and leave when they are complete
//! or nobody waits for them any more. [`policy`](super::policy) says what is next; this does it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use candle_core::Tensor;

use super::features::FeatureCache;
use super::model_engine::Job;
use super::policy::{Action, Load};
use super::{EngineError, Reply};
use crate::florence::answer::PictureSize;
use crate::florence::{Decoding, Florence, FlorenceError, Probe, Progress};

/// Requests that are taken in turns; the others wait in the channel.
const MAX_TAKEN: usize = 16;

/// A loaded model on its device, with everything that it is working on.
pub(super) struct Worker {
    model: Florence,
    features: FeatureCache,
    /// Requests with prompts whose answers were not begun, in turn.
    waiting: VecDeque<Task>,
    /// Requests whose answers were all begun.
    begun: Vec<Task>,
    writing: Vec<Answer>,
    /// Steps since the last admission.
    steps: usize,
    /// Number of the next request.
    next_id: u64,
}

/// A request and how far it is.
struct Task {
    id: u64,
    job: Job,
    /// In the order of the prompts.
    replies: Vec<Option<Reply>>,
    /// Prompts whose answers were begun.
    begun: usize,
    /// Features of its picture, once they are known.
    features: Option<Tensor>,
}

/// An answer that is being written.
struct Answer {
    /// The request it belongs to.
    task: u64,
    /// Which of its prompts.
    prompt: usize,
    decoding: Decoding,
}

impl Worker {
    /// A worker without work.
    pub fn new(model: Florence) -> Self {
        Self {
            model,
            features: FeatureCache::default(),
            waiting: VecDeque::new(),
            begun: vec![],
            writing: vec![],
            steps: 0,
            next_id: 0,
        }
    }

    /// Answers requests until every handle of the engine is gone and all work is done.
    pub fn run(&mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            self.waiting.retain(Task::is_wanted);
            self.begun.retain(Task::is_wanted);
            let (waiting, begun) = (&self.waiting, &self.begun);
            self.writing.retain(|answer| waiting.iter().chain(begun).any(|task| task.id == answer.task));
            match self.load().next_action() {
                Action::Wait => match jobs.recv() {
                    Ok(job) => self.take(job),
                    Err(mpsc::RecvError) => return,
                },
                Action::Admit(answers) => self.admit(answers),
                Action::Step => self.step(),
            }
            // What is not taken waits in the channel, which is bounded, so that too much is refused and not hoarded.
            while self.waiting.len() < MAX_TAKEN
                && let Ok(job) = jobs.try_recv()
            {
                self.take(job);
            }
        }
    }

    fn load(&self) -> Load {
        Load { writing: self.writing.len(), waiting: self.waiting.len(), steps: self.steps }
    }

    fn take(&mut self, job: Job) {
        let replies = job.request.prompts.iter().map(|_| None).collect();
        let task = Task { id: self.next_id, job, replies, begun: 0, features: None };
        self.next_id += 1;
        if task.replies.is_empty() {
            task.finish();
        } else {
            self.waiting.push_back(task);
        }
    }

    /// Begins answers of the request whose turn it is; if it has more, it queues up again.
    fn admit(&mut self, answers: usize) {
        self.steps = 0;
        let Some(mut task) = self.waiting.pop_front() else { return };
        let count = answers.min(task.replies.len() - task.begun);
        match contain(|| self.begin(&mut task, count)) {
            Err(error) => self.fail(task, error),
            Ok(decodings) => {
                let answers = decodings.into_iter().zip(task.begun..);
                self.writing.extend(answers.map(|(decoding, prompt)| Answer { task: task.id, prompt, decoding }));
                task.begun += count;
                if task.begun < task.replies.len() {
                    self.waiting.push_back(task);
                } else {
                    self.begun.push(task);
                }
            }
        }
    }

    fn begin(&mut self, task: &mut Task, count: usize) -> Result<Vec<Decoding>, EngineError> {
        let request = &task.job.request;
        let features = match &task.features {
            Some(features) => features.clone(),
            None => self.features.get_or_encode(&request.picture, || {
                let pixels = self.model.processor().pixels(&request.picture, self.model.processor().image_size())?;
                self.model.encode_pixels(&pixels, &mut Probe::none())
            })?,
        };
        task.features = Some(features.clone());
        let image_tokens = features.dim(1).map_err(FlorenceError::from)?;
        let prompts = request.prompts.iter().skip(task.begun).take(count);
        let prompts = prompts
            .map(|prompt| self.model.processor().tokenize(prompt, image_tokens))
            .collect::<Result<Vec<_>, _>>()?;
        let rows = features.repeat((count, 1, 1)).map_err(FlorenceError::from)?;
        let encoded = self.model.encode(&rows, &prompts, &mut Probe::none())?;
        Ok(self.model.begin(&encoded, &vec![request.options; count])?)
    }

    /// Writes one more token of every answer and hands over those that are complete.
    fn step(&mut self) {
        self.steps += 1;
        let mut decodings: Vec<&mut Decoding> = self.writing.iter_mut().map(|answer| &mut answer.decoding).collect();
        let progress = advance(&self.model, &mut decodings);
        let mut running = Vec::with_capacity(self.writing.len());
        for (answer, progress) in std::mem::take(&mut self.writing).into_iter().zip(progress) {
            match progress {
                Ok(Progress::Running) => running.push(answer),
                Ok(Progress::Done) => self.complete(answer),
                Err(error) => self.fail_task(answer.task, error),
            }
        }
        self.writing = running;
    }

    /// Reads a complete answer; the last one of a request ends it.
    fn complete(&mut self, Answer { task: id, prompt, decoding }: Answer) {
        let Some(task) = self.begun.iter_mut().chain(&mut self.waiting).find(|task| task.id == id) else { return };
        match contain(|| read(&self.model, task, prompt, decoding)) {
            Err(error) => self.fail_task(id, error),
            Ok(reply) => {
                if let Some(slot) = task.replies.get_mut(prompt) {
                    *slot = Some(reply);
                }
                if task.replies.iter().all(Option::is_some)
                    && let Some(task) = self.remove(id)
                {
                    task.finish();
                }
            }
        }
    }

    fn fail_task(&mut self, id: u64, error: EngineError) {
        if let Some(task) = self.remove(id) {
            self.fail(task, error);
        }
    }

    /// Takes a request off the list that it is on.
    fn remove(&mut self, id: u64) -> Option<Task> {
        match self.begun.iter().position(|task| task.id == id) {
            Some(place) => Some(self.begun.swap_remove(place)),
            None => self.waiting.iter().position(|task| task.id == id).and_then(|place| self.waiting.remove(place)),
        }
    }

    /// Ends a request with an error; its other answers are given up.
    fn fail(&mut self, task: Task, error: EngineError) {
        self.writing.retain(|answer| answer.task != task.id);
        // Nobody waiting any more is no error.
        let _ = task.job.reply.send(Err(error));
    }
}

impl Task {
    /// Whether somebody waits for it.
    fn is_wanted(&self) -> bool {
        !self.job.reply.is_closed()
    }

    fn finish(self) {
        let _ = self.job.reply.send(Ok(self.replies.into_iter().flatten().collect()));
    }
}

fn read(model: &Florence, task: &Task, prompt: usize, decoding: Decoding) -> Result<Reply, EngineError> {
    let request = &task.job.request;
    let size = PictureSize::of(&request.picture);
    let best = decoding.into_hypotheses().into_iter().next().ok_or(FlorenceError::NotFinite)?;
    let prompt = request.prompts.get(prompt).map(String::as_str).unwrap_or_default();
    let (text, answer) = model.processor().read(prompt, &best, size)?;
    Ok(Reply { text, answer, stop: best.stop })
}

/// Advances all answers together. Where that fails, or panics, half of them are tried at a time, down to single ones: what is
/// wrong with one answer, or does not fit into the device's memory, is not the others' fault. A step that broke off can be
/// repeated: caches count a token only when its logits are there.
fn advance(model: &Florence, decodings: &mut [&mut Decoding]) -> Vec<Result<Progress, EngineError>> {
    match contain(|| Ok(model.advance(decodings)?)) {
        Ok(progress) => progress.into_iter().map(|progress| progress.map_err(EngineError::from)).collect(),
        Err(error) if decodings.len() < 2 => vec![Err(error)],
        Err(error) => {
            tracing::warn!("a step of {} answers failed, trying halves: {error}", decodings.len());
            let (left, right) = decodings.split_at_mut(decodings.len() / 2);
            let mut progress = advance(model, left);
            progress.extend(advance(model, right));
            progress
        }
    }
}

/// Runs a part of the model; a panic in it is an error like any other.
fn contain<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    let panicked = || Err(EngineError::Internal("a part of the model panicked".to_owned()));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| panicked())
}
