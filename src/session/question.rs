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
    Prompt(TaskText),
    /// A task about the region of interest, which the model is told instead of being shown nothing else.
    Region(Task),
    /// A caption is asked for, and then where its phrases are.
    GroundedCaption(Task),
    /// A prompt for each class, asked together; the class names what its prompt finds.
    Classes(Vec<ClassPrompt>),
}

/// A task with the text that it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskText {
    /// The task.
    pub task: Task,
    /// The caller's text, empty for tasks that take none.
    pub text: String,
}

/// A prompt that looks for objects of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassPrompt {
    /// The class.
    pub class: String,
    /// What is asked.
    pub prompt: TaskText,
}

impl TaskText {
    /// Refuses here what the model's own prompt builder would refuse later, before any picture is decoded.
    fn new(task: Task, text: &str) -> Result<Self, SessionError> {
        let prompt = Self { task, text: text.to_owned() };
        expand_prompt(&prompt.to_prompt())?;
        Ok(prompt)
    }

    /// As the model's prompts are written, task token first.
    pub fn to_prompt(&self) -> String {
        format!("{}{}", self.task.token(), self.text)
    }
}

impl Question {
    /// The question that the settings ask. A mapping goes before a text; a cascade has its own text.
    ///
    /// # Errors
    /// A mapping for a task that finds nothing which a class could name, or a task that does not take the text.
    pub fn from_settings(settings: &InferenceSettings) -> Result<Self, SessionError> {
        let task = grounding_or_single(settings.task_prompt);
        match (&settings.mapping, settings.task_prompt) {
            (Some(_), _) if !gives_labels(task) => Err(SessionError::TaskWithoutLabels { task: settings.task_prompt }),
            (Some(classes), _) => ask_for_classes(task, classes),
            (None, TaskPrompt::Cascade(caption)) => Ok(Self::GroundedCaption(caption)),
            (None, TaskPrompt::Single(_)) if task.is_about_region() && settings.text.trim().is_empty() => {
                Ok(Self::Region(task))
            }
            // A text beside a task that takes none is left aside, as the original does with its default settings.
            (None, TaskPrompt::Single(_)) if !task.takes_text() => TaskText::new(task, "").map(Self::Prompt),
            (None, TaskPrompt::Single(_)) => TaskText::new(task, &settings.text).map(Self::Prompt),
        }
    }
}

/// The prompt that asks where a caption's phrases are.
pub(super) fn ground_caption(caption: &str) -> TaskText {
    TaskText { task: Task::PhraseGrounding, text: caption.to_owned() }
}

/// The values of `task_prompt` whose answers become labels, separated by commas.
pub(super) fn list_tasks_with_labels() -> String {
    TaskPrompt::list(TaskPrompt::all().filter(|value| gives_labels(grounding_or_single(*value))))
}

/// The task whose answer becomes the labels. Beside a mapping a cascade means plain grounding.
fn grounding_or_single(task_prompt: TaskPrompt) -> Task {
    match task_prompt {
        TaskPrompt::Cascade(_) => Task::PhraseGrounding,
        TaskPrompt::Single(task) => task,
    }
}

fn gives_labels(task: Task) -> bool {
    task.answer_kind() != AnswerKind::PureText || task.is_about_region()
}

fn ask_for_classes(task: Task, classes: &[ClassPrompts]) -> Result<Question, SessionError> {
    let given = classes.iter().map(|class| class.prompts.len()).sum();
    if given > MAX_PROMPTS {
        return Err(SessionError::TooManyPrompts { given, most: MAX_PROMPTS });
    }
    let mut questions = Vec::with_capacity(given);
    for ClassPrompts { class, prompts } in classes {
        for prompt in prompts {
            questions.push(ClassPrompt { class: class.clone(), prompt: TaskText::new(task, prompt)? });
        }
    }
    Ok(Question::Classes(questions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn question(settings: Value) -> Result<Question, SessionError> {
        let settings = InferenceSettings::parse(settings.as_object().unwrap().clone()).unwrap();
        Question::from_settings(&settings)
    }

    fn prompt(task: Task, text: &str) -> Result<Question, SessionError> {
        Ok(Question::Prompt(TaskText { task, text: text.to_owned() }))
    }

    #[test]
    fn the_default_grounds_a_caption() {
        assert_eq!(question(json!({})), Ok(Question::GroundedCaption(Task::Caption)));
        let detailed = json!({"task_prompt": "<DETAILED_CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>", "text": "ignored"});
        assert_eq!(question(detailed), Ok(Question::GroundedCaption(Task::DetailedCaption)));
    }

    #[test]
    fn a_text_is_grounded_as_it_is() {
        assert_eq!(question(json!({"text": " two dogs"})), prompt(Task::PhraseGrounding, " two dogs"));
        let empty = json!({"task_prompt": "<CAPTION_TO_PHRASE_GROUNDING>", "text": null});
        assert_eq!(question(empty), prompt(Task::PhraseGrounding, ""));
    }

    #[test]
    fn tasks_without_input_leave_the_text_aside() {
        assert_eq!(question(json!({"task_prompt": "<OD>", "text": "car"})), prompt(Task::ObjectDetection, ""));
        assert_eq!(question(json!({"task_prompt": "<REGION_PROPOSAL>"})), prompt(Task::RegionProposal, ""));
    }

    #[test]
    fn a_mapping_asks_a_prompt_for_each_class() {
        let expected = Question::Classes(
            [("Vehicle", "car"), ("Plant", "")]
                .map(|(class, text)| ClassPrompt {
                    class: class.to_owned(),
                    prompt: TaskText { task: Task::PhraseGrounding, text: text.to_owned() },
                })
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
    fn every_task_can_be_asked() {
        for task in Task::ALL {
            let settings = json!({"task_prompt": task.token(), "text": ""});
            match question(settings).unwrap() {
                Question::Prompt(prompt) => assert_eq!(prompt.task, task),
                Question::Region(found) => assert!(found == task && task.is_about_region()),
                other => panic!("{other:?}"),
            }
        }
        let named = json!({"task_prompt": "<REGION_TO_CATEGORY>", "text": "<loc_1><loc_2><loc_3><loc_4>"});
        assert_eq!(question(named), prompt(Task::RegionToCategory, "<loc_1><loc_2><loc_3><loc_4>"));
    }

    #[test]
    fn a_class_cannot_name_a_caption() {
        for task in ["<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>", "<OCR>"] {
            let error = question(json!({"task_prompt": task, "mapping": {"a": null}})).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{task} finds nothing that a class of the mapping could name")),
                "{error}"
            );
            assert!(error.contains("<OCR_WITH_REGION>") && error.contains("<OD>"), "{error}");
        }
        assert!(question(json!({"task_prompt": "<OCR_WITH_REGION>", "mapping": {"a": null}})).is_ok());
    }
}
