//! Which model is loaded when the process starts, if any.
//!
//! A deployment that the platform recorded before the process failed goes before everything else that was said at the start.
//! Since asking the platform takes as long as it takes, what is known without it begins at once, and is broken off if the
//! record names another model.

use super::{Cause, Lifecycle};
use crate::engine::{EngineError, ModelPlan};
use crate::session::SessionError;
use crate::supervisely::is_truthy;

/// The launch dialog's variable, its other spelling for shells, and that of starts by hand.
const AUTOSTART_VARIABLES: [&str; 3] = ["modal.state.autostart", "MODAL_STATE_AUTOSTART", "AUTOSTART"];

/// What is to be loaded when the process starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    plan: ModelPlan,
    when: When,
}

/// Whether it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// At once.
    Now(Cause),
    /// If the platform says so.
    IfWanted,
    /// When somebody asks for it.
    Later,
}

impl Start {
    /// Reads the environment. `is_named` says whether the command line names the model of the plan, which then is loaded in any
    /// case. A developer's machine needs no word, a platform does.
    pub fn from_env(plan: ModelPlan, is_named: bool, on_platform: bool) -> Self {
        let when = When::decide(|name| std::env::var(name).ok(), is_named, on_platform);
        Self { plan, when }
    }
}

impl When {
    fn decide(variable: impl Fn(&str) -> Option<String>, is_named: bool, on_platform: bool) -> Self {
        let said = AUTOSTART_VARIABLES.into_iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
        match said.map(|value| is_truthy(&value)) {
            _ if is_named => Self::Now(Cause::Command),
            Some(true) => Self::Now(Cause::Autostart),
            Some(false) => Self::Later,
            None if on_platform => Self::IfWanted,
            None => Self::Now(Cause::Command),
        }
    }
}

impl Lifecycle {
    /// Loads what is to be loaded at the start. Ends when that is settled.
    pub async fn start(&self, start: Start) {
        let Start { plan, when } = start;
        let first = match when {
            When::Now(cause) => {
                self.deploy_in_background(plan.clone(), cause);
                Some(cause)
            }
            When::IfWanted | When::Later => None,
        };
        let (recorded, is_wanted) =
            tokio::join!(self.recorded(), async { when == When::IfWanted && self.wants_autostart().await });
        self.0.past_settled.cancel();
        if self.is_chosen() {
            return;
        }
        let fallback = first.or(is_wanted.then_some(Cause::Autostart));
        match recorded {
            Some(recorded) if first.is_some() && plan.comes_to(&recorded) => {}
            Some(recorded) => {
                tracing::info!(model = recorded.source.name(), "the model that was served before comes back");
                if self.restore(recorded).await.is_err()
                    && let Some(cause) = fallback.filter(|_| !self.is_chosen())
                {
                    self.deploy_in_background(plan, cause);
                }
            }
            None if first.is_some() => {}
            None if is_wanted => self.deploy_in_background(plan, Cause::Autostart),
            None => tracing::info!("no model is loaded by itself: choose one on the page, or deploy one"),
        }
    }

    /// Loads a recorded model, on the usual devices if those of the record are gone.
    async fn restore(&self, plan: ModelPlan) -> Result<(), SessionError> {
        let usual = ModelPlan { devices: self.settings().devices.clone(), ..plan.clone() };
        match self.deploy(plan, Cause::Restart).await {
            Err(SessionError::Engine(EngineError::Device(reason))) => {
                tracing::warn!("{reason}; the usual devices are taken");
                self.deploy(usual, Cause::Restart).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(variables: &[(&str, &str)], is_named: bool, on_platform: bool) -> When {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        When::decide(variable, is_named, on_platform)
    }

    #[test]
    fn the_launch_dialog_decides_in_either_spelling() {
        for name in AUTOSTART_VARIABLES {
            assert_eq!(decide(&[(name, "true")], false, true), When::Now(Cause::Autostart));
            assert_eq!(decide(&[(name, "false")], false, true), When::Later);
        }
        assert_eq!(
            decide(&[("modal.state.autostart", "True"), ("AUTOSTART", "0")], false, true),
            When::Now(Cause::Autostart)
        );
        assert_eq!(decide(&[("AUTOSTART", "")], false, true), When::IfWanted);
    }

    #[test]
    fn a_developer_needs_no_word() {
        assert_eq!(decide(&[], false, false), When::Now(Cause::Command));
        assert_eq!(decide(&[("AUTOSTART", "no")], false, false), When::Later);
        assert_eq!(decide(&[("AUTOSTART", "no")], true, true), When::Now(Cause::Command));
    }
}
