//! What becomes of models over the life of the process, whoever wants it: the command line, the platform's launch dialog, a
//! restart after a failure, a client, or a user on the page.
//!
//! The engine loads one model at a time and keeps the one before until the next one works. Here is decided what is loaded,
//! who goes before whom, what the platform is told about it, when an unused model leaves its device, and when the process
//! ends. The platform is never waited for: whatever it is asked has a time limit, and nothing else depends on the answer.

mod deploy_params;
mod idle;
mod record;
mod settings;
mod start;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

pub use deploy_params::{CUSTOM, DeployError, DeployParams, PRETRAINED, RUNTIME, requested_plan};
pub use settings::{LifecycleSettings, shown_name};
pub use start::Start;

use crate::engine::{EngineError, ModelPlan, ServedModel};
use crate::models::Catalog;
use crate::session::{Session, SessionError};
use crate::telemetry;

/// Who wants a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The command line.
    Command,
    /// The platform's launch dialog.
    Autostart,
    /// The model was there when the process failed.
    Restart,
    /// A client.
    Api,
    /// A user on the page.
    Page,
}

impl Cause {
    /// One word for programs to read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Autostart => "autostart",
            Self::Restart => "restart",
            Self::Api => "api",
            Self::Page => "page",
        }
    }

    /// Whether somebody chose the model now, and not when the process was started.
    const fn is_choice(self) -> bool {
        matches!(self, Self::Api | Self::Page)
    }
}

/// The life cycle. A clone is the same one.
#[derive(Clone)]
pub struct Lifecycle(Arc<Inner>);

struct Inner {
    session: Arc<Session>,
    settings: LifecycleSettings,
    /// The published models as clients are shown them.
    rows: Vec<Value>,
    state: Mutex<State>,
    stopping: CancellationToken,
    /// Told once nothing is to be learnt any more of what was before this process.
    past_settled: CancellationToken,
    /// Held while the platform is told something.
    record_turn: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    /// Deployments under way, in the order in which the engine takes them.
    underway: Vec<Underway>,
    /// Deployments so far.
    count: u64,
    /// How often they were broken off.
    cancels: u64,
    served: Option<Served>,
    /// Somebody chose a model, or none: what was to happen at the start is over.
    is_chosen: bool,
    /// What the platform should know, and what it was told last.
    to_record: Option<Value>,
    recorded: Option<Value>,
}

struct Underway {
    number: u64,
    cause: Cause,
    plan: ModelPlan,
    /// The engine knows of it.
    is_handed_on: bool,
}

/// How the model that answers came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Who wanted it.
    pub cause: Cause,
    /// When it was ready.
    pub since: Instant,
}

impl Lifecycle {
    /// The life cycle of the models of this session.
    pub fn new(session: Arc<Session>, settings: LifecycleSettings) -> Self {
        let rows = Catalog::embedded().rows_for_clients();
        let (state, stopping, past_settled, record_turn) = Default::default();
        Self(Arc::new(Inner { session, settings, rows, state, stopping, past_settled, record_turn }))
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.0.session
    }

    /// What it was told.
    pub fn settings(&self) -> &LifecycleSettings {
        &self.0.settings
    }

    /// The published models as clients are shown them.
    pub fn rows(&self) -> &[Value] {
        &self.0.rows
    }

    /// Loads a model and answers when it is served. A choice breaks off what was only begun at the start of the process, and waits
    /// for other choices; the model that is served goes on meanwhile, and stays if this one fails.
    ///
    /// # Errors
    /// The engine's.
    pub async fn deploy(&self, plan: ModelPlan, cause: Cause) -> Result<ServedModel, SessionError> {
        let underway = self.begin(&plan, cause)?;
        let lifecycle = self.clone();
        // Of its own, because what is begun is also ended if the caller goes away.
        let work = tokio::spawn(async move { lifecycle.deploy_to_the_end(plan, cause, underway).await });
        work.await.unwrap_or_else(|error| Err(SessionError::Internal(error.to_string())))
    }

    async fn deploy_to_the_end(
        &self,
        plan: ModelPlan,
        cause: Cause,
        underway: UnderwayGuard,
    ) -> Result<ServedModel, SessionError> {
        let loading = {
            let mut state = self.state();
            let is_wanted = state.cancels <= underway.cancels;
            state
                .underway
                .iter_mut()
                .filter(|one| one.number == underway.number)
                .for_each(|one| one.is_handed_on = true);
            is_wanted.then(|| self.0.session.deploy(plan))
        };
        let result = match loading {
            Some(loading) => loading.await,
            None => Err(EngineError::Cancelled.into()),
        };
        drop(underway);
        if let Ok(served) = &result {
            self.note_served(served, cause);
        }
        self.show_end();
        result
    }

    /// Shows the platform's users what is there now that nothing is being loaded, after a load that failed as well.
    fn show_end(&self) {
        let state = self.state();
        if self.is_stopping() || !state.underway.is_empty() {
            return;
        }
        let is_served = self.0.session.deployment().model().is_some();
        let subtask = if is_served { telemetry::DEPLOYED } else { telemetry::STARTED };
        telemetry::progress(subtask, 0, 1);
        telemetry::progress(subtask, 1, 1);
    }

    /// [`Self::deploy`] for whom nobody waits. What becomes of it shows in the session's deployment.
    pub fn deploy_in_background(&self, plan: ModelPlan, cause: Cause) {
        let Ok(underway) = self.begin(&plan, cause) else { return };
        let lifecycle = self.clone();
        tokio::spawn(async move { lifecycle.deploy_to_the_end(plan, cause, underway).await });
    }

    /// Breaks off the load under way and those that wait for their turn. False if there is none.
    pub fn cancel(&self) -> bool {
        self.note_choice();
        let mut state = self.state();
        self.break_off(&mut state) || state.underway.iter().any(|underway| !underway.is_handed_on)
    }

    /// Breaks off what is being loaded, and takes the model that is served off its devices for good.
    pub async fn stop(&self) {
        self.cancel();
        self.0.session.unload().await;
        self.state().served = None;
        self.show_end();
    }

    /// How the model that answers came about.
    pub fn served(&self) -> Option<Served> {
        self.state().served
    }

    /// Who wants the model that is being loaded.
    pub fn loading_cause(&self) -> Option<Cause> {
        self.state().underway.first().map(|underway| underway.cause)
    }

    /// Begins the end of the process: from now on it is not ready, and what is under way is finished.
    pub fn begin_shutdown(&self) {
        if !self.0.stopping.is_cancelled() {
            tracing::info!("shutting down");
        }
        self.0.stopping.cancel();
        self.break_off(&mut self.state());
    }

    /// Breaks off every deployment that has begun. False if the engine knows of none.
    fn break_off(&self, state: &mut State) -> bool {
        state.cancels += 1;
        self.0.session.cancel_loading()
    }

    /// Whether the process is about to end.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    /// Done when the process is to end.
    pub async fn shutdown_begun(&self) {
        self.0.stopping.cancelled().await;
    }

    /// Notes a deployment that begins, and breaks off those that it supersedes: what was begun at the start of the process and
    /// nobody has chosen meanwhile. After a choice nothing of the start begins any more.
    fn begin(&self, plan: &ModelPlan, cause: Cause) -> Result<UnderwayGuard, EngineError> {
        if cause.is_choice() {
            self.note_choice();
        }
        let mut state = self.state();
        if self.is_stopping() {
            return Err(EngineError::ShuttingDown);
        }
        if state.is_chosen && !cause.is_choice() {
            return Err(EngineError::Cancelled);
        }
        let is_chosen = state.underway.iter().any(|underway| underway.cause.is_choice());
        let is_other = state.underway.iter().any(|underway| underway.plan != *plan);
        if is_other && !is_chosen {
            self.break_off(&mut state);
        }
        state.count += 1;
        let (number, cancels) = (state.count, state.cancels);
        state.underway.push(Underway { number, cause, plan: plan.clone(), is_handed_on: false });
        telemetry::progress(telemetry::DEPLOYING, 0, 1);
        Ok(UnderwayGuard { lifecycle: self.clone(), number, cancels })
    }

    fn note_served(&self, served: &ServedModel, cause: Cause) {
        self.state().served = Some(Served { cause, since: Instant::now() });
        self.record(served);
    }

    fn note_choice(&self) {
        self.state().is_chosen = true;
        self.0.past_settled.cancel();
    }

    fn is_chosen(&self) -> bool {
        self.state().is_chosen
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a deployment off the list when it ends.
struct UnderwayGuard {
    lifecycle: Lifecycle,
    number: u64,
    /// How often deployments had been broken off when it began.
    cancels: u64,
}

impl Drop for UnderwayGuard {
    fn drop(&mut self) {
        self.lifecycle.state().underway.retain(|underway| underway.number != self.number);
    }
}
