//! What the platform remembers of a deployment, so that a process that was started anew after a failure has its model again.
//!
//! All of it is for what it is worth: a platform that is slow, silent or broken costs a line in the log.

use std::time::Duration;

use tokio::time::timeout;

use super::deploy_params::recorded_plan;
use super::{DeployParams, Lifecycle};
use crate::engine::{ModelPlan, ServedModel};
use crate::supervisely::{Platform, PlatformError};

/// Longest that the platform is asked about the past.
const READ_PATIENCE: Duration = Duration::from_secs(15);
/// Longest that it is told something.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

impl Lifecycle {
    /// The deployment that was recorded before this process began.
    pub(super) async fn recorded(&self) -> Option<ModelPlan> {
        let (platform, task_id) = self.platform()?;
        let record = ask("the recorded deployment", platform.recorded_deployment(task_id)).await??;
        match recorded_plan(&record, self.settings()) {
            Ok(plan) => Some(plan),
            Err(error) => {
                tracing::warn!(%error, "the recorded deployment cannot be followed");
                None
            }
        }
    }

    /// Whether whoever started the task wants a model at once, where the environment does not say.
    pub(super) async fn wants_autostart(&self) -> bool {
        let Some((platform, task_id)) = self.platform() else { return false };
        ask("the task's parameters", platform.wants_autostart(task_id)).await.flatten().unwrap_or(false)
    }

    /// Tells the platform what is served, in the background, unless it knows.
    pub(super) fn record(&self, served: &ServedModel) {
        let Some((platform, task_id)) = self.platform() else { return };
        let Ok(parameters) = serde_json::to_value(DeployParams::of(served, self.rows())) else { return };
        self.state().to_record = Some(parameters);
        let lifecycle = self.clone();
        tokio::spawn(async move {
            // What was recorded before this process began must not be written over before it was read.
            lifecycle.0.past_settled.cancelled().await;
            // One after the other, and always the newest.
            let _turn = lifecycle.0.record_turn.lock().await;
            let (wanted, known) = {
                let state = lifecycle.state();
                (state.to_record.clone(), state.recorded.clone())
            };
            let Some(parameters) = wanted.filter(|wanted| known.as_ref() != Some(wanted)) else { return };
            match timeout(WRITE_PATIENCE, platform.record_deployment(task_id, &parameters)).await {
                Ok(Ok(())) => lifecycle.state().recorded = Some(parameters),
                // The next deployment tries again, also of the same model.
                _ => tracing::warn!("the platform was not told about the model, a restarted session will not have it"),
            }
        });
    }

    /// The platform that runs us, and its number for us.
    fn platform(&self) -> Option<(Platform, i64)> {
        let task_id = self.settings().task_id?;
        let platform = self.session().platform(None, None).ok()?;
        Some((platform.until(&self.0.stopping), task_id))
    }
}

async fn ask<T>(what: &str, answer: impl Future<Output = Result<T, PlatformError>>) -> Option<T> {
    match timeout(READ_PATIENCE, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::warn!(%error, "{what} cannot be had");
            None
        }
        Err(_) => {
            tracing::warn!("the platform did not tell {what} in time");
            None
        }
    }
}
