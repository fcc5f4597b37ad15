//! What the threads of a running model share: the requests that wait, those that are prepared, and the answers that are to be
//! read.
//!
//! Assistants take from the queue, prepare, and lay down prepared requests for a replica; the replica takes those, and lays
//! down what it has written; assistants read that and answer. Every list but the queue is bounded, and the queue by the
//! places of its requests.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, WaitTimeoutResult};
use std::time::Duration;

use candle_core::Tensor;
use tokio::sync::oneshot;

use super::fair_queue::FairQueue;
use super::places::Lane;
use super::policy::{Kind, PerKind};
use super::request::{Request, Stage, StageCell};
use super::{EngineError, Reply};
use crate::florence::generation::Hypothesis;
use crate::florence::image::Digest;

/// Requests that a replica may have more than another before a picture that it knows goes elsewhere.
const WORTH_OF_FEATURES: usize = 8;

/// A request with the channel that its answers go to. A closed channel means that nobody waits any more.
pub(super) struct Job {
    pub request: Request,
    pub reply: oneshot::Sender<Result<Vec<Reply>, EngineError>>,
    pub stage: StageCell,
}

/// A request that is ready for the model.
pub(super) struct Prepared {
    pub job: Job,
    pub kind: Kind,
    pub digest: Digest,
    /// `[1, 3, height, width]`, or bytes `[1, height, width, 3]`, on the CPU; none when the picture's features were known.
    pub pixels: Option<Tensor>,
    /// For each prompt, its ids.
    pub prompts: Vec<Vec<u32>>,
}

/// A request whose answers were written.
pub(super) struct Written {
    pub job: Job,
    /// The best answer to each prompt.
    pub found: Vec<Hypothesis>,
}

/// What an assistant does next.
pub(super) enum Errand {
    /// Prepare this request.
    Prepare(Kind, Job),
    /// Read these answers.
    Read(Written),
    /// Nothing for the moment.
    Idle,
    /// The model is closed and no request is left.
    Leave,
}

/// Lists under one lock.
pub(super) struct Lists {
    waiting: FairQueue<Job>,
    /// For each replica, prepared requests in order.
    prepared: Vec<VecDeque<Prepared>>,
    written: VecDeque<Written>,
    /// Requests that assistants are preparing.
    preparing: PerKind<usize>,
    /// Requests of a kind that may lie prepared for each replica.
    most_prepared: usize,
    /// For each replica, requests that it has taken and not given back.
    held: Vec<usize>,
    is_closed: bool,
    /// Why no request will be answered any more.
    lost: Option<String>,
}

/// The lists, and the bells that are rung when something was laid down.
pub(super) struct Board {
    lists: Mutex<Lists>,
    for_assistants: Condvar,
    for_replicas: Condvar,
}

impl Job {
    /// Whether somebody waits for it.
    pub fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    /// Whom it belongs to.
    pub fn kind(&self) -> Kind {
        match self.request.place.lane() {
            Lane::Single => Kind::Single,
            Lane::Run(_) => Kind::Run,
        }
    }

    /// What it asks.
    pub fn prompts(&self) -> impl Iterator<Item = &str> + Clone {
        self.request.prompts.iter().map(String::as_str)
    }

    /// Ends it. The request goes first, and with it its place: whoever has the answer may ask again at once.
    pub fn end(self, result: Result<Vec<Reply>, EngineError>) {
        let Self { request, reply, .. } = self;
        drop(request);
        // Nobody waiting any more is no error.
        let _ = reply.send(result);
    }
}

impl Board {
    /// A board for so many replicas, each of which encodes so many pictures at a time.
    pub fn new(replicas: usize, pictures: usize) -> Self {
        let lists = Lists {
            waiting: FairQueue::new(),
            prepared: (0..replicas).map(|_| VecDeque::new()).collect(),
            written: VecDeque::new(),
            preparing: PerKind::default(),
            // Two batches and a few, so that a replica need not wait for the assistants. More would only take memory.
            most_prepared: 2 * pictures + 2,
            held: vec![0; replicas],
            is_closed: false,
            lost: None,
        };
        Self { lists: Mutex::new(lists), for_assistants: Condvar::new(), for_replicas: Condvar::new() }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// The model takes no more.
    pub fn submit(&self, job: Job) -> Result<(), EngineError> {
        let mut lists = self.lock();
        if let Some(reason) = &lists.lost {
            return Err(EngineError::DeviceLost(reason.clone()));
        }
        if lists.is_closed {
            return Err(EngineError::ShuttingDown);
        }
        let lane = job.request.place.lane();
        lists.waiting.push(lane, job);
        self.for_assistants.notify_one();
        Ok(())
    }

    /// No more requests are taken; the threads leave when those that were taken are answered.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.for_assistants.notify_all();
        self.for_replicas.notify_all();
    }

    /// A device does not work any more: nothing that waits will be answered.
    pub fn lose(&self, reason: &str) {
        let mut lists = self.lock();
        lists.lost.get_or_insert_with(|| reason.to_owned());
        lists.is_closed = true;
        // What replicas hold they end themselves, if they still can.
        lists.held.fill(0);
        let mut jobs: Vec<Job> = std::iter::from_fn(|| lists.waiting.pop(|_| true)).map(|(_, job)| job).collect();
        jobs.extend(lists.prepared.iter_mut().flat_map(std::mem::take).map(|prepared| prepared.job));
        drop(lists);
        jobs.into_iter().for_each(|job| job.end(Err(EngineError::DeviceLost(reason.to_owned()))));
        self.for_assistants.notify_all();
        self.for_replicas.notify_all();
    }

    /// The next errand of an assistant; waits a while for one.
    pub fn next_errand(&self, patience: Duration) -> Errand {
        let mut lists = self.lock();
        let errand = lists.next_errand();
        if !matches!(errand, Errand::Idle) {
            return errand;
        }
        (lists, _) = self.wait(&self.for_assistants, lists, patience);
        lists.next_errand()
    }

    /// Lays down a request that an assistant has prepared, for a replica where its picture is, or will be, as `knows` says, else
    /// for the one with the least to do.
    pub fn put_prepared(&self, prepared: Prepared, knows: impl Fn(usize) -> bool) {
        let mut lists = self.lock();
        lists.prepared_one(prepared.kind);
        if let Some(reason) = lists.lost.clone() {
            return prepared.job.end(Err(EngineError::DeviceLost(reason)));
        }
        prepared.job.stage.set(Stage::WaitingForDevice);
        let replica = lists.choose_replica(&prepared.digest, knows);
        if let Some(list) = lists.prepared.get_mut(replica) {
            list.push_back(prepared);
        }
        drop(lists);
        self.for_replicas.notify_all();
    }

    /// A request was not prepared after all.
    pub fn drop_unprepared(&self, kind: Kind) {
        self.lock().prepared_one(kind);
        self.for_assistants.notify_all();
        self.for_replicas.notify_all();
    }

    /// Lets a request wait again, because what was prepared is not enough.
    pub fn put_back(&self, job: Job) {
        let lane = job.request.place.lane();
        self.lock().waiting.push_front(lane, job);
        self.for_assistants.notify_one();
    }

    /// Lays down what a replica has written.
    pub fn put_written(&self, written: Written) {
        self.lock().written.push_back(written);
        self.for_assistants.notify_one();
    }

    /// Shows a replica what is prepared for it. It says how many requests it holds when it has looked, those that it took
    /// included, so that each is always counted somewhere. `true` when there is nothing left to come.
    pub fn visit<T>(&self, replica: usize, look: impl FnOnce(&mut VecDeque<Prepared>) -> (T, usize)) -> (T, bool) {
        let mut lists = self.lock();
        let is_over = lists.is_over();
        let mut nothing = VecDeque::new();
        let before = lists.prepared.get(replica).map_or(0, VecDeque::len);
        let (seen, held) = look(lists.prepared.get_mut(replica).unwrap_or(&mut nothing));
        if let Some(count) = lists.held.get_mut(replica) {
            *count = held;
        }
        if is_over || lists.prepared.get(replica).map_or(0, VecDeque::len) < before {
            self.for_assistants.notify_all();
        }
        (seen, is_over)
    }

    /// Waits until something is prepared for this replica, nothing is to come any more, or the time is up; `false` then.
    pub fn wait_for_prepared(&self, replica: usize, patience: Duration) -> bool {
        let lists = self.lock();
        let has_nothing =
            |lists: &mut Lists| !lists.is_over() && lists.prepared.get(replica).is_none_or(VecDeque::is_empty);
        let waited = self.for_replicas.wait_timeout_while(lists, patience, has_nothing);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn wait<'a>(
        &self,
        bell: &Condvar,
        lists: MutexGuard<'a, Lists>,
        patience: Duration,
    ) -> (MutexGuard<'a, Lists>, WaitTimeoutResult) {
        bell.wait_timeout(lists, patience).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    /// Answers are read before requests are prepared: somebody gets something at once.
    fn next_errand(&mut self) -> Errand {
        if let Some(written) = self.written.pop_front() {
            return Errand::Read(written);
        }
        self.waiting.retain(Job::is_wanted);
        let replicas = self.prepared.len();
        let free = PerKind::from_fn(|kind| {
            let prepared = self.prepared.iter().flatten().filter(|prepared| prepared.kind == kind).count();
            prepared + self.preparing.of(kind) < self.most_prepared * replicas
        });
        if let Some((kind, job)) = self.waiting.pop(|kind| *free.of(kind)) {
            *self.preparing.of_mut(kind) += 1;
            return Errand::Prepare(kind, job);
        }
        if self.is_over() && self.held.iter().all(|held| *held == 0) { Errand::Leave } else { Errand::Idle }
    }

    /// A replica that knows the picture saves encoding it, unless it has much more to do than another.
    fn choose_replica(&self, digest: &Digest, knows: impl Fn(usize) -> bool) -> usize {
        let loads: Vec<usize> = self.prepared.iter().zip(&self.held).map(|(list, held)| list.len() + held).collect();
        let least = loads.iter().copied().min().unwrap_or(0);
        let has_it = |(replica, list): &(usize, &VecDeque<Prepared>)| {
            let is_near = loads.get(*replica).is_some_and(|load| *load <= least + WORTH_OF_FEATURES);
            is_near && (knows(*replica) || list.iter().any(|prepared| prepared.digest == *digest))
        };
        let known = self.prepared.iter().enumerate().find(has_it).map(|(replica, _)| replica);
        known.or_else(|| loads.iter().position(|load| *load == least)).unwrap_or(0)
    }

    fn prepared_one(&mut self, kind: Kind) {
        let count = self.preparing.of_mut(kind);
        *count = count.saturating_sub(1);
    }

    /// Whether no request will come to a replica any more.
    fn is_over(&self) -> bool {
        let is_empty = self.preparing == PerKind::default() && self.prepared.iter().all(VecDeque::is_empty);
        self.is_closed && is_empty && self.waiting.is_empty()
    }
}
