//! Settings that cannot be served. Every message names the key and what it should have been.

use serde_json::Value;
use thiserror::Error;

use super::TaskPrompt;

/// Why a caller's state was refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SettingsError {
    /// A value of the wrong type or outside its range.
    #[error("{key} must be {expected}, not {found}")]
    InvalidValue {
        /// The setting.
        key: String,
        /// What it may be.
        expected: &'static str,
        /// What it was, as JSON, shortened.
        found: String,
    },
    /// An argument that the route cannot do without.
    #[error("{key} is required")]
    Missing {
        /// The argument.
        key: &'static str,
    },
    /// More than a request may ask for.
    #[error("{key} holds {given}, at most {most} are allowed")]
    TooMany {
        /// The argument.
        key: String,
        /// What the caller asked for.
        given: usize,
        /// What is allowed.
        most: usize,
    },
    /// No pictures are named; the text is the original's.
    #[error("Image ids are not provided")]
    NoImageIds,
    /// A key that means nothing.
    #[error("there is no setting {key:?}, only {known}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The settings that there are.
        known: String,
    },
    /// A task that no model has.
    #[error("task_prompt must be one of {}, not {given:?}", TaskPrompt::list_all())]
    UnknownTask {
        /// The caller's value.
        given: String,
    },
}

impl SettingsError {
    /// Enough of a wrong value to recognise it by.
    const FOUND_CHARS: usize = 60;

    /// A value that is not what it should be.
    pub fn invalid(key: &str, expected: &'static str, found: &Value) -> Self {
        Self::InvalidValue { key: shorten(key), expected, found: shorten(&found.to_string()) }
    }

    pub(super) fn unknown_key(key: &str, known: String) -> Self {
        Self::UnknownKey { key: shorten(key), known }
    }

    pub(super) fn unknown_task(given: &str) -> Self {
        Self::UnknownTask { given: shorten(given) }
    }
}

/// A caller's text may be long; the message that quotes it may not.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(SettingsError::FOUND_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
