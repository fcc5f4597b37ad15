//! What the handlers share.

use std::sync::Arc;
use std::time::Instant;

use super::budget::ByteBudget;
use super::error::ApiError;
use super::latency::LatencyWindow;
use super::limits::{MAX_HELD_UPLOAD_BYTES, MAX_HELD_VIDEO_BYTES};
use super::traffic::Traffic;
use crate::engine::ServedModel;
use crate::lifecycle::Lifecycle;
use crate::session::Session;

/// Who the server says it is; on the platform the task's environment tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name shown to users.
    pub app_name: String,
    /// The platform's task, none outside of it.
    pub session_id: Option<i64>,
    /// Whether the platform runs us, as opposed to a developer.
    pub production: bool,
}

impl Identity {
    /// The original's name where the environment has none.
    pub const DEFAULT_APP_NAME: &str = "Neural Network Serving";

    /// The identity that the variables `APP_NAME`, `TASK_ID` and `ENV` give.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The name for people, who do not know the original's default.
    pub fn shown_name(&self) -> &str {
        if self.app_name == Self::DEFAULT_APP_NAME { "Serve Florence-2" } else { &self.app_name }
    }

    /// Who runs us, in the platform's words.
    pub const fn mode(&self) -> &'static str {
        if self.production { "production" } else { "development" }
    }

    /// An empty variable counts as unset, and a task only in production, both as in the original.
    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let production = variable("ENV").is_some_and(|env| env == "production");
        Self {
            app_name: variable("APP_NAME").unwrap_or_else(|| Self::DEFAULT_APP_NAME.to_owned()),
            session_id: variable("TASK_ID").filter(|_| production).and_then(|id| id.parse().ok()),
            production,
        }
    }
}

/// What the handlers share; a clone is the same state.
#[derive(Clone)]
pub struct AppState {
    pub(super) session: Arc<Session>,
    pub(super) lifecycle: Lifecycle,
    pub(super) identity: Arc<Identity>,
    pub(super) uploads: ByteBudget,
    pub(super) videos: ByteBudget,
    /// When the server began.
    pub(super) started: Instant,
    /// What callers asked, counted and timed.
    pub(super) traffic: Arc<Traffic>,
    /// How long the last answers took.
    pub latency: Arc<LatencyWindow>,
}

impl AppState {
    /// The state of a server.
    pub fn new(lifecycle: Lifecycle, identity: Identity) -> Self {
        Self {
            session: Arc::clone(lifecycle.session()),
            lifecycle,
            identity: Arc::new(identity),
            uploads: ByteBudget::new(MAX_HELD_UPLOAD_BYTES),
            videos: ByteBudget::new(MAX_HELD_VIDEO_BYTES),
            started: Instant::now(),
            traffic: Arc::default(),
            latency: Arc::default(),
        }
    }

    /// The model that answers, or the error that says why there is none.
    pub(super) fn served_model(&self) -> Result<ServedModel, ApiError> {
        let deployment = self.session.deployment();
        deployment.model().cloned().ok_or_else(|| ApiError::not_served(&deployment))
    }

    /// Whether a model answers, be it after waking.
    pub(super) fn is_deployed(&self) -> bool {
        self.session.deployment().model().is_some()
    }

    /// Whether requests should be sent here.
    pub(super) fn is_ready(&self) -> bool {
        self.is_deployed() && !self.lifecycle.is_stopping()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(variables: &[(&str, &str)]) -> Identity {
        Identity::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_platforms_variables_are_read() {
        let on_platform = identity(&[("ENV", "production"), ("TASK_ID", "777"), ("APP_NAME", "Serve Florence-2")]);
        assert_eq!(
            on_platform,
            Identity { app_name: "Serve Florence-2".to_owned(), session_id: Some(777), production: true }
        );
    }

    #[test]
    fn a_developers_machine_has_no_task() {
        let bare = Identity { app_name: "Neural Network Serving".to_owned(), session_id: None, production: false };
        assert_eq!(identity(&[]), bare);
        assert_eq!(identity(&[("TASK_ID", "777"), ("APP_NAME", ""), ("ENV", "development")]), bare);
        assert_eq!(identity(&[("TASK_ID", "x"), ("ENV", "production")]).session_id, None);
    }
}
