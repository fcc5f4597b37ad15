//! From settings to what the model is asked about each picture.

use super::SessionError;
use crate::florence::task::{AnswerKind, Task, expand_prompt};
use crate::supervisely::{ClassPrompts, InferenceSettings, TaskPrompt};

/// Most prompts about one picture: enough for the largest published sets of detection classes.
const MAX_PROMPTS: usize = 4096;

/// What is asked about each picture of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// One prompt; the answer names what it finds.
    Prompt(String),
    /// A caption is asked for, and then where its phrases are.
    GroundedCaption(Task),
    /// A prompt for each class, asked together; the class names what its prompt finds.
    Classes(Vec<ClassPrompt>),
}

/// A prompt that looks for objects of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassPrompt {
    /// The class.
    pub class: String,
    /// The prompt, task token included.
    pub prompt: String,
}

impl Question {
    /// The question that the settings ask. A mapping goes before a text; a cascade has its own text.
    ///
    /// # Errors
    /// A task without boxes, or one that does not take the text.
    pub fn from_settings(settings: &InferenceSettings) -> Result<Self, SessionError> {
        let task = grounding_or_single(settings.task_prompt);
        if !gives_boxes(task) {
            return Err(SessionError::TaskWithoutBoxes { task: settings.task_prompt });
        }
        match (&settings.mapping, settings.task_prompt) {
            (Some(classes), _) => ask_for_classes(task, classes),
            (None, TaskPrompt::Cascade(caption)) => Ok(Self::GroundedCaption(caption)),
            // A text beside a task that takes none is left aside, as the original does with its default settings.
            (None, TaskPrompt::Single(_)) if !task.takes_text() => Ok(Self::Prompt(task.token().to_owned())),
            (None, TaskPrompt::Single(_)) => build_prompt(task, &settings.text).map(Self::Prompt),
        }
    }
}

/// The prompt that asks where a caption's phrases are.
pub(super) fn ground_caption(caption: &str) -> String {
    format!("{}{caption}", Task::PhraseGrounding.token())
}

/// The values of `task_prompt` whose answers become labels, separated by commas.
pub(super) fn list_tasks_with_boxes() -> String {
    TaskPrompt::list(TaskPrompt::all().filter(|value| gives_boxes(grounding_or_single(*value))))
}

/// The task whose answer becomes the labels. Beside a mapping a cascade means plain grounding.
fn grounding_or_single(task_prompt: TaskPrompt) -> Task {
    match task_prompt {
        TaskPrompt::Cascade(_) => Task::PhraseGrounding,
        TaskPrompt::Single(task) => task,
    }
}

fn gives_boxes(task: Task) -> bool {
    matches!(task.answer_kind(), AnswerKind::LabelledBoxes | AnswerKind::PhraseGrounding | AnswerKind::Boxes)
}

fn ask_for_classes(task: Task, classes: &[ClassPrompts]) -> Result<Question, SessionError> {
    let given = classes.iter().map(|class| class.prompts.len()).sum();
    if given > MAX_PROMPTS {
        return Err(SessionError::TooManyPrompts { given, most: MAX_PROMPTS });
    }
    let mut questions = Vec::with_capacity(given);
    for ClassPrompts { class, prompts } in classes {
        for prompt in prompts {
            questions.push(ClassPrompt { class: class.clone(), prompt: build_prompt(task, prompt)? });
        }
    }
    Ok(Question::Classes(questions))
}

/// Refuses here what the model's own prompt builder would refuse later, before any picture is decoded.
fn build_prompt(task: Task, text: &str) -> Result<String, SessionError> {
    let prompt = format!("{}{text}", task.token());
    expand_prompt(&prompt)?;
    Ok(prompt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn question(settings: Value) -> Result<Question, SessionError> {
        let settings = InferenceSettings::parse(settings.as_object().unwrap().clone()).unwrap();
        Question::from_settings(&settings)
    }

    fn prompt(text: &str) -> Result<Question, SessionError> {
        Ok(Question::Prompt(text.to_owned()))
    }

    #[test]
    fn the_default_grounds_a_caption() {
        assert_eq!(question(json!({})), Ok(Question::GroundedCaption(Task::Caption)));
        let detailed = json!({"task_prompt": "<DETAILED_CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>", "text": "ignored"});
        assert_eq!(question(detailed), Ok(Question::GroundedCaption(Task::DetailedCaption)));
    }

    #[test]
    fn a_text_is_grounded_as_it_is() {
        assert_eq!(question(json!({"text": " two dogs"})), prompt("<CAPTION_TO_PHRASE_GROUNDING> two dogs"));
        let empty = json!({"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": null});
        assert_eq!(question(empty), prompt("<CAPTION_TO_PHRASE_GROUNDING>"));
    }

    #[test]
    fn tasks_without_input_leave_the_text_aside() {
        assert_eq!(question(json!({"task_prompt": "<OD>", "text": "car"})), prompt("<OD>"));
        assert_eq!(question(json!({"task_prompt": "<REGION_PROPOSAL>"})), prompt("<REGION_PROPOSAL>"));
    }

    #[test]
    fn a_mapping_asks_a_prompt_for_each_class() {
        let expected = Question::Classes(
            [("Vehicle", "<CAPTION_TO_PHRASE_GROUNDING>car"), ("Plant", "<CAPTION_TO_PHRASE_GROUNDING>")]
                .map(|(class, prompt)| ClassPrompt { class: class.to_owned(), prompt: prompt.to_owned() })
                .to_vec(),
        );
        let mapping = json!({"Vehicle": "car", "Plant": null});
        for text in [json!(null), json!(""), json!("loses against the mapping")] {
            let settings = json!({"mapping": mapping, "text": text});
            assert_eq!(question(settings).as_ref(), Ok(&expected), "text {text}");
        }
        let detailed =
            json!({"mapping": mapping, "task_prompt": "<MORE_DETAILED_CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>"});
        assert_eq!(question(detailed), Ok(expected), "a cascade means plain grounding");
    }

    #[test]
    fn a_mapping_cannot_give_text_to_a_task_that_takes_none() {
        let error = question(json!({"mapping": {"a": "car"}, "task_prompt": "<OD>"})).unwrap_err();
        assert_eq!(error.to_string(), "the task <OD> takes no further text, but was given \"<OD>car\"");
        assert!(question(json!({"mapping": {"a": null}, "task_prompt": "<OD>"})).is_ok());
    }

    #[test]
    fn a_mapping_is_bounded() {
        let prompts = vec!["car"; MAX_PROMPTS + 1];
        let error = question(json!({"mapping": {"a": prompts}})).unwrap_err();
        assert_eq!(error, SessionError::TooManyPrompts { given: MAX_PROMPTS + 1, most: MAX_PROMPTS });
    }

    #[test]
    fn tasks_without_boxes_are_refused_by_name() {
        let error = question(json!({"task_prompt": "<OCR>"})).unwrap_err();
        assert_eq!(
            error.to_string(),
            concat!(
                "<OCR> gives no boxes; tasks that do are <OD>, <DENSE_REGION_CAPTION>, <REGION_PROPOSAL>, ",
                "<CAPTION_TO_PHRASE_GROUNDING>, <CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>, ",
                "<DETAILED_CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>, ",
                "<MORE_DETAILED_CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>"
            )
        );
        for task in ["<CAPTION>", "<REGION_TO_SEGMENTATION>", "<OPEN_VOCABULARY_DETECTION>", "<OCR_WITH_REGION>"] {
            assert!(question(json!({"task_prompt": task})).is_err(), "{task}");
        }
    }
}
