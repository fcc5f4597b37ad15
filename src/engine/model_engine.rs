//! The engine that runs models. It takes requests in, and it alone decides which model answers: load, swap, freeze, wake
//! and unload happen here and nowhere else.
//!
//! A new model is loaded and tried beside the old one, which goes on answering and stays if the new one fails. Then the new
//! one takes over; what the old one was asked it still answers, on its own threads, before it leaves the device.

use std::mem::discriminant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot, watch};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::board::Job;
use super::deployment::{Failure, Loading, Serving};
use super::load::{LoadTurn, LoadedModel};
use super::memory;
use super::places::Places;
use super::request::{Stage, StageCell};
use super::running::{Common, RunningModel};
use super::settings::{EngineSettings, ModelPlan};
use super::stats::{Counters, Stats};
use super::{Amount, BoxFuture, Deployment, Engine, EngineError, LoadStep, Reply, Request, ServedModel};
use crate::models::{ModelFiles, ModelSource};
use crate::telemetry::{BytePace, progress_bytes};

/// Longest that freezing or unloading waits for answers under way.
const MAX_FAREWELL: Duration = Duration::from_secs(60);

/// Handle of an engine; a clone is the same one. Its threads end with the last handle.
#[derive(Clone)]
pub struct ModelEngine(Arc<Inner>);

struct Inner {
    places: Places,
    common: Common,
    deployment: watch::Sender<Deployment>,
    /// Why a device does not work any more.
    lost: watch::Sender<Option<String>>,
    current: Mutex<Option<Current>>,
    /// One load at a time.
    turn: Arc<AsyncMutex<()>>,
    cancel: Mutex<Cancel>,
    last_load: Mutex<LastLoad>,
}

/// How loads are broken off.
#[derive(Default)]
struct Cancel {
    /// The load under way.
    underway: Option<CancellationToken>,
    /// Deployments that wait for their turn.
    waiting: usize,
    /// How often somebody has broken off what there was.
    number: u64,
}

/// The load that ended last: those who waited for the same one share what became of it.
#[derive(Default)]
struct LastLoad {
    /// Loads that have ended so far.
    number: u64,
    end: Option<(ModelPlan, Result<ServedModel, EngineError>)>,
}

/// How many loads had ended and how often they had been broken off at a moment.
#[derive(Clone, Copy)]
struct Seen {
    loads: u64,
    cancels: u64,
}

/// A deployment that has not begun yet, as long as it lives.
struct Waiting(Arc<Inner>);

impl Waiting {
    fn new(inner: &Arc<Inner>) -> Self {
        inner.cancel().waiting += 1;
        Self(Arc::clone(inner))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel().waiting -= 1;
    }
}

/// The right to load a model.
struct Turn {
    /// Nobody else loads as long as it is held.
    lock: OwnedMutexGuard<()>,
    /// Ends when the load can be broken off itself.
    waiting: Option<Waiting>,
    /// It does not begin if it was broken off more often than this.
    cancels: u64,
}

/// The model that answers, and how it came about.
struct Current {
    plan: ModelPlan,
    files: ModelFiles,
    /// None while it is frozen.
    running: Option<Arc<RunningModel>>,
}

impl ModelEngine {
    /// An engine without a model.
    pub fn new(settings: EngineSettings) -> Self {
        let lost = watch::Sender::new(None);
        let tell_lost = lost.clone();
        let on_lost = move |reason: &str| {
            tell_lost.send_if_modified(|known| match known {
                Some(_) => false,
                None => {
                    tracing::error!("{reason}");
                    *known = Some(reason.to_owned());
                    true
                }
            });
        };
        let places = Places::new(settings.places);
        let common = Common { settings, counters: Arc::new(Counters::default()), on_lost: Arc::new(on_lost) };
        let deployment = watch::Sender::new(Deployment::default());
        let (current, turn, cancel, last_load) = (Mutex::default(), Arc::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { places, common, deployment, lost, current, turn, cancel, last_load }))
    }

    /// Waits until a device stops working, and says why. The process should then end, so that it is started anew.
    pub async fn lost(&self) -> String {
        let mut lost = self.0.lost.subscribe();
        let reason = lost.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    async fn answer(&self, request: Request) -> Result<Vec<Reply>, EngineError> {
        if request.prompts.is_empty() {
            return Ok(vec![]);
        }
        let counters = &self.0.common.counters;
        counters.requests.add(1);
        let stage = StageCell::new(Arc::clone(&counters.stages));
        let mut given_up = GivenUp { counters, stage: &stage, is_answered: false };
        let deadline = request.deadline;
        let answer = self.answer_at_any_time(request, &stage);
        let result = match deadline {
            None => answer.await,
            Some(deadline) => match timeout_at(deadline.into(), answer).await {
                Ok(result) => result,
                Err(_) => return Err(EngineError::DeadlineExceeded { stage: stage.get() }),
            },
        };
        given_up.is_answered = true;
        result
    }

    async fn answer_at_any_time(&self, request: Request, stage: &StageCell) -> Result<Vec<Reply>, EngineError> {
        let refused = |error| {
            self.0.common.counters.failed.add(1);
            Err(error)
        };
        let running = match request.place.model() {
            Some(running) => Arc::clone(running),
            None => match self.running_model(stage).await {
                Ok(running) => running,
                Err(error) => return refused(error),
            },
        };
        request.place.bind(&running);
        stage.set(Stage::Waiting);
        let (reply, answer) = oneshot::channel();
        if let Err(error) = running.submit(Job { request, reply, stage: stage.clone() }) {
            return refused(error);
        }
        drop(running);
        answer.await.unwrap_or(Err(EngineError::ShuttingDown))
    }

    /// The model that answers, woken if it is frozen.
    async fn running_model(&self, stage: &StageCell) -> Result<Arc<RunningModel>, EngineError> {
        if let Some(reason) = self.0.lost.borrow().clone() {
            return Err(EngineError::DeviceLost(reason));
        }
        // Looked at first: a load that ends in between has left its model below.
        let is_loading = self.0.deployment.borrow().loading.is_some();
        let (running, is_frozen) = match self.0.current().as_ref() {
            None => (None, false),
            Some(current) => (current.running.clone(), current.running.is_none()),
        };
        match running {
            Some(running) => Ok(running),
            None if is_frozen => {
                stage.set(Stage::Waking);
                self.wake().await
            }
            None if is_loading => Err(EngineError::Loading),
            None => Err(EngineError::Undeployed),
        }
    }

    /// Brings a frozen model back, once for all that ask for it: they share its failure as well.
    async fn wake(&self) -> Result<Arc<RunningModel>, EngineError> {
        let seen = self.0.seen();
        let lock = self.take_turn().await;
        if let Some(running) = self.0.running() {
            return Ok(running);
        }
        let known = self.0.current().as_ref().map(|current| (current.plan.clone(), current.files.clone()));
        let (plan, files) = known.ok_or(EngineError::Undeployed)?;
        if let Some(Err(error)) = self.0.ended_since(seen, &plan) {
            return Err(error);
        }
        // A deployment that was broken off is nothing to whoever asks the model.
        let turn = Turn { lock, waiting: None, cancels: self.0.cancel().number };
        self.load_and_take_over(plan, Some(files), turn).await?;
        // Frozen again in between: whoever asks again wakes it again.
        self.0.running().ok_or(EngineError::Loading)
    }

    async fn load_in_turn(&self, plan: ModelPlan, seen: Seen, waiting: Waiting) -> Result<ServedModel, EngineError> {
        let lock = self.take_turn().await;
        if let Some(result) = self.0.ended_since(seen, &plan) {
            return result;
        }
        if self.0.cancel().number > seen.cancels {
            return Err(EngineError::Cancelled);
        }
        match self.0.served_already(&plan) {
            Some(served) => Ok(served),
            None => {
                let turn = Turn { lock, waiting: Some(waiting), cancels: seen.cancels };
                self.load_and_take_over(plan, None, turn).await
            }
        }
    }

    /// Loads on a thread of its own, which goes on in its turn if the caller goes away: whoever asks next finds the model.
    async fn load_and_take_over(
        &self,
        plan: ModelPlan,
        files: Option<ModelFiles>,
        turn: Turn,
    ) -> Result<ServedModel, EngineError> {
        let (done, result) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        let work = move || {
            let Turn { lock, waiting, cancels } = turn;
            let served = match inner.begin_load(cancels, waiting) {
                Some(cancel) => inner.load(plan, files, cancel),
                None => Err(EngineError::Cancelled),
            };
            drop(lock);
            // Nobody waiting any more is no error.
            let _ = done.send(served);
        };
        std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(work)
            .map_err(|error| EngineError::Internal(format!("cannot start a thread: {error}")))?;
        result.await.unwrap_or(Err(EngineError::ShuttingDown))
    }

    async fn take_turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.0.turn).lock_owned().await
    }

    /// Takes the model off its devices; the next request brings it back. Done when it has left. One that takes over in the
    /// meantime is not the one that was to be frozen, and stays.
    async fn freeze_model(&self) -> Result<(), EngineError> {
        // Not held while waiting: a model leaves when the last one lets go of it.
        let meant = match self.0.current().as_ref() {
            Some(current) => current.running.as_ref().map(Arc::downgrade),
            None => return Err(EngineError::Undeployed),
        };
        let _turn = self.take_turn().await;
        let gone = {
            let mut current = self.0.current();
            let Some(current) = current.as_mut() else { return Err(EngineError::Undeployed) };
            let is_meant = |running: &mut Arc<RunningModel>| {
                meant.as_ref().is_some_and(|meant| std::ptr::eq(meant.as_ptr(), Arc::as_ptr(running)))
            };
            current.running.take_if(is_meant).map(|running| running.gone())
        };
        let Some(gone) = gone else { return Ok(()) };
        self.0.deployment.send_modify(|deployment| {
            deployment.serving = match std::mem::take(&mut deployment.serving) {
                Serving::Ready(model) => Serving::Frozen(model),
                other => other,
            };
        });
        wait_until_gone(gone).await;
        tracing::info!("the model is frozen");
        Ok(())
    }

    async fn unload_model(&self) {
        let _turn = self.take_turn().await;
        let gone = self.0.current().take().and_then(|current| current.running).map(|running| running.gone());
        self.0.deployment.send_replace(Deployment::default());
        if let Some(gone) = gone {
            wait_until_gone(gone).await;
        }
    }
}

/// Waits until a model has answered what it was asked and has left, or for as long as that may keep others waiting.
async fn wait_until_gone(gone: impl Future<Output = ()>) {
    if timeout(MAX_FAREWELL, gone).await.is_err() {
        tracing::warn!("a model still answers what it was asked before it leaves");
    }
}

impl Inner {
    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Option<Arc<RunningModel>> {
        self.current().as_ref().and_then(|current| current.running.clone())
    }

    fn last_load(&self) -> MutexGuard<'_, LastLoad> {
        self.last_load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What whoever wants a model has seen happen when they come.
    fn seen(&self) -> Seen {
        Seen { loads: self.last_load().number, cancels: self.cancel().number }
    }

    /// What became of a load of this plan that has ended since then. One that was broken off before is no answer to whoever came
    /// after that.
    fn ended_since(&self, seen: Seen, plan: &ModelPlan) -> Option<Result<ServedModel, EngineError>> {
        let last = self.last_load();
        let (ended, result) = last.end.as_ref().filter(|_| last.number > seen.loads)?;
        let is_answer = !matches!(result, Err(EngineError::Cancelled)) || self.cancel().number > seen.cancels;
        (ended == plan && is_answer).then(|| result.clone())
    }

    /// The model that answers, if it is what the plan would load again. A user's own folder may have changed.
    fn served_already(&self, plan: &ModelPlan) -> Option<ServedModel> {
        if plan.update || matches!(plan.source, ModelSource::Folder(_)) {
            return None;
        }
        let is_same = |current: &Current| {
            current.running.is_some() && ModelPlan { update: false, ..current.plan.clone() } == *plan
        };
        self.current().as_ref().filter(|current| is_same(current))?;
        self.deployment.send_modify(|deployment| deployment.failure = None);
        self.deployment.borrow().model().cloned()
    }

    /// What the load that begins now is broken off by, unless it was already.
    fn begin_load(&self, cancels: u64, waiting: Option<Waiting>) -> Option<CancellationToken> {
        let mut cancel = self.cancel();
        let token = (cancel.number <= cancels).then(CancellationToken::new);
        cancel.underway.clone_from(&token);
        drop(cancel);
        drop(waiting);
        token
    }

    /// Loads a model and lets it take over; if that fails, whatever answered before goes on.
    fn load(
        self: &Arc<Self>,
        plan: ModelPlan,
        files: Option<ModelFiles>,
        cancel: CancellationToken,
    ) -> Result<ServedModel, EngineError> {
        let started = Instant::now();
        let model_name = plan.source.name();
        let turn = LoadTurn { settings: &self.common.settings, tell: self.teller(model_name.clone()), cancel };
        let loaded = turn.load(&plan, files);
        // Whoever was told that it is broken off will not see it serve.
        let is_cancelled = self.cancel().underway.take().is_none();
        let result = match loaded {
            Ok(_) if is_cancelled => Err(EngineError::Cancelled),
            loaded => loaded.and_then(|loaded| self.take_over(plan.clone(), loaded)),
        };
        match &result {
            Ok(served) => {
                self.common.counters.loads.add(1);
                let seconds = started.elapsed().as_secs_f32();
                tracing::info!(model = model_name, device = served.device, seconds, "the model is ready");
            }
            Err(error) => {
                memory::give_back();
                self.note_failure(model_name, error);
            }
        }
        let mut last = self.last_load();
        last.number += 1;
        last.end = Some((plan, result.clone()));
        result
    }

    /// Shows how far a load is, and logs where a new step begins.
    fn teller(self: &Arc<Self>, model_name: String) -> Arc<dyn Fn(LoadStep) + Send + Sync> {
        let inner = Arc::clone(self);
        let told = Mutex::new((None, BytePace::default()));
        Arc::new(move |step: LoadStep| {
            {
                let (kind, pace) = &mut *told.lock().unwrap_or_else(PoisonError::into_inner);
                if kind.replace(discriminant(&step)) != Some(discriminant(&step)) {
                    tracing::info!(model = model_name, "{step}");
                }
                if let LoadStep::Downloading(Amount { done_bytes, total_bytes }) = step
                    && pace.is_due(done_bytes, total_bytes)
                {
                    progress_bytes(&format!("Downloading {model_name}"), done_bytes, total_bytes);
                }
            }
            let loading = Loading { model_name: model_name.clone(), step };
            inner.deployment.send_modify(|deployment| {
                deployment.loading = Some(loading);
                deployment.failure = None;
            });
        })
    }

    fn note_failure(&self, model_name: String, error: &EngineError) {
        let message = format!("Loading {model_name} failed: {error}");
        let failure = if *error == EngineError::Cancelled {
            tracing::info!(model = model_name, "{error}");
            None
        } else {
            tracing::error!("{message}");
            self.common.counters.failed_loads.add(1);
            Some(Failure { model_name, message })
        };
        self.deployment.send_modify(|deployment| {
            deployment.loading = None;
            deployment.failure = failure;
        });
    }

    fn cancel(&self) -> MutexGuard<'_, Cancel> {
        self.cancel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over(&self, plan: ModelPlan, loaded: LoadedModel) -> Result<ServedModel, EngineError> {
        let LoadedModel { replicas, served, files } = loaded;
        let running = RunningModel::start(replicas, &self.common)?;
        // The model before it closes its board here, and leaves when it has answered everything.
        *self.current() = Some(Current { plan, files, running: Some(Arc::new(running)) });
        self.deployment.send_replace(Deployment::ready(served.clone()));
        Ok(served)
    }
}

impl Engine for ModelEngine {
    fn infer(&self, request: Request) -> BoxFuture<'_, Result<Vec<Reply>, EngineError>> {
        Box::pin(self.answer(request))
    }

    fn deployment(&self) -> Deployment {
        match self.0.lost.borrow().as_ref() {
            None => self.0.deployment.borrow().clone(),
            Some(reason) => Deployment { lost: Some(reason.clone()), ..Deployment::default() },
        }
    }

    fn places(&self) -> &Places {
        &self.0.places
    }

    fn deploy(&self, plan: ModelPlan) -> BoxFuture<'_, Result<ServedModel, EngineError>> {
        // From here on, and not only from the first poll on, it can be broken off.
        let (seen, waiting) = (self.0.seen(), Waiting::new(&self.0));
        Box::pin(self.load_in_turn(plan, seen, waiting))
    }

    fn cancel_loading(&self) -> bool {
        let mut cancel = self.0.cancel();
        cancel.number += 1;
        let underway = cancel.underway.take().map(|underway| underway.cancel());
        underway.is_some() || cancel.waiting > 0
    }

    fn freeze(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.freeze_model())
    }

    fn unload(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.unload_model())
    }

    fn stats(&self) -> Stats {
        let (singles, run_pictures) = self.0.places.taken();
        let (singles, run_pictures) = (singles as u64, run_pictures as u64);
        Stats { refused: self.0.places.refused(), singles, run_pictures, ..self.0.common.counters.snapshot() }
    }
}

/// Stops a request's clock, and counts it if its caller does not wait for its end.
struct GivenUp<'a> {
    counters: &'a Counters,
    stage: &'a StageCell,
    is_answered: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.stage.end();
        if !self.is_answered {
            self.counters.given_up.add(1);
        }
    }
}
