//! The setting `task_prompt`: a task of the model, or a caption task whose caption is grounded.

use std::fmt;
use std::str::FromStr;

use super::SettingsError;
use crate::florence::task::Task;

/// What the model is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskPrompt {
    /// One task, written as its token.
    Single(Task),
    /// A caption task whose answer is then grounded, written `<CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>`.
    Cascade(Task),
}

impl TaskPrompt {
    /// The caption tasks that may start a cascade.
    const CAPTIONS: [Task; 3] = [Task::Caption, Task::DetailedCaption, Task::MoreDetailedCaption];

    /// Every value of the setting: the tasks first, then the cascades.
    pub fn all() -> impl Iterator<Item = Self> {
        Task::ALL.into_iter().map(Self::Single).chain(Self::CAPTIONS.map(Self::Cascade))
    }

    /// The values as a caller writes them, separated by commas.
    pub fn list_all() -> String {
        Self::list(Self::all())
    }

    /// Some values as a caller writes them, separated by commas.
    pub fn list(values: impl Iterator<Item = Self>) -> String {
        values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// The original's default, for a caller who sends null.
impl Default for TaskPrompt {
    fn default() -> Self {
        Self::Cascade(Task::Caption)
    }
}

impl fmt::Display for TaskPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(task) => f.write_str(task.token()),
            Self::Cascade(caption) => write!(f, "{}+{}", caption.token(), Task::PhraseGrounding.token()),
        }
    }
}

impl FromStr for TaskPrompt {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let text = text.trim();
        Self::all().find(|value| value.to_string() == text).ok_or_else(|| SettingsError::unknown_task(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read_back() {
        for value in TaskPrompt::all() {
            assert_eq!(value.to_string().parse(), Ok(value));
        }
        assert_eq!(TaskPrompt::all().count(), 18);
    }

    #[test]
    fn an_unknown_task_is_answered_with_the_known_ones() {
        let error = "<OCR>+<CAPTION_TO_PHRASE_GROUNDING>".parse::<TaskPrompt>().unwrap_err().to_string();
        assert!(error.starts_with("task_prompt must be one of <OCR>, "), "{error}");
        assert!(error.contains("<MORE_DETAILED_CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>"), "{error}");
        assert!("".parse::<TaskPrompt>().is_err());
    }
}
