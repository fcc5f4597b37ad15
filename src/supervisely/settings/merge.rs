//! How a caller's settings are completed before they are read.

use serde_json::{Map, Value};

use super::SettingsError;
use super::defaults::DEFAULT_SETTINGS;
use crate::florence::task::Task;

/// Names under which models know the least score of a prediction.
const CONFIDENCE_KEYS: [&str; 4] = ["conf", "confidence", "confidence_threshold", "confidence_thresh"];

/// This model never slides a window over a picture.
const SLIDING_WINDOW_MODE: &str = "none";

/// The settings of a request's state, completed as the platform's SDK does it.
///
/// One rule is ours: the original fills in the default task even for a caller who sent a text and no task, and so
/// ignores the text. Here such a text is grounded.
pub(super) fn merge(state: &Map<String, Value>) -> Result<Map<String, Value>, SettingsError> {
    let mut settings = match state.get("settings") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(settings)) => settings.clone(),
        Some(other) => return Err(SettingsError::invalid("settings", "an object", other)),
    };
    if let Some(region) = state.get("rectangle") {
        settings.insert("rectangle".to_owned(), region.clone());
    }
    spread_confidence(&mut settings);
    settings.insert("sliding_window_mode".to_owned(), Value::from(SLIDING_WINDOW_MODE));
    if is_null(&settings, "task_prompt") && has_text(&settings) {
        settings.insert("task_prompt".to_owned(), Value::from(Task::PhraseGrounding.token()));
    }
    for (key, default) in DEFAULT_SETTINGS.iter() {
        if !settings.contains_key(key) {
            settings.insert(key.clone(), default.clone());
        }
    }
    Ok(settings)
}

/// A `conf` goes before every other spelling that the caller sent.
fn spread_confidence(settings: &mut Map<String, Value>) {
    let Some(confidence) = settings.get("conf").filter(|conf| !conf.is_null()).cloned() else { return };
    for key in CONFIDENCE_KEYS {
        if let Some(value) = settings.get_mut(key) {
            *value = confidence.clone();
        }
    }
}

fn is_null(settings: &Map<String, Value>, key: &str) -> bool {
    settings.get(key).is_none_or(Value::is_null)
}

fn has_text(settings: &Map<String, Value>) -> bool {
    settings.get("text").and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(state: Value) -> Value {
        Value::Object(merge(state.as_object().unwrap()).unwrap())
    }

    #[test]
    fn absent_and_null_settings_are_the_defaults() {
        let expected = json!({
            "sliding_window_mode": "none", "task_prompt": "<CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>", "text": "",
            "mapping": null, "max_new_tokens": 1024, "scores": false, "conf": 0,
            "nms_iou": null, "max_box_area": 1, "min_box_px": 0
        });
        assert_eq!(merged(json!({})), expected);
        assert_eq!(merged(json!({"settings": null})), expected);
        assert_eq!(merged(json!({"settings": {"sliding_window_mode": "basic"}})), expected);
    }

    #[test]
    fn a_present_null_stays_null() {
        let settings = merged(json!({"settings": {"text": null, "conf": null, "confidence": 0.5}}));
        assert_eq!(settings["text"], Value::Null);
        assert_eq!(settings["conf"], Value::Null);
        assert_eq!(settings["confidence"], json!(0.5));
    }

    #[test]
    fn conf_overwrites_the_spellings_that_are_there() {
        let settings = merged(json!({"settings": {"conf": 0.3, "confidence_thresh": 0.9}}));
        assert_eq!(settings["confidence_thresh"], json!(0.3));
        assert_eq!(settings.get("confidence"), None);
    }

    #[test]
    fn a_rectangle_of_the_state_goes_before_that_of_the_settings() {
        let settings = merged(json!({"rectangle": {"a": 1}, "settings": {"rectangle": {"b": 2}}}));
        assert_eq!(settings["rectangle"], json!({"a": 1}));
        let settings = merged(json!({"rectangle": null, "settings": {"rectangle": {"b": 2}}}));
        assert_eq!(settings["rectangle"], Value::Null);
    }

    #[test]
    fn a_text_without_a_task_is_grounded() {
        let task = |settings: Value| merged(json!({"settings": settings}))["task_prompt"].clone();
        let grounding = json!("<CAPTION_TO_PHRASE_GROUNDING>");
        let default = json!("<CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>");
        assert_eq!(task(json!({"mapping": null, "mode": "text_prompt", "text": "wheel"})), grounding);
        assert_eq!(task(json!({"task_prompt": null, "text": "wheel"})), grounding);
        assert_eq!(task(json!({"text": " "})), default);
        assert_eq!(task(json!({"task_prompt": "<OD>", "text": "wheel"})), json!("<OD>"));
        assert_eq!(task(json!({"task_prompt": null})), Value::Null);
    }

    #[test]
    fn settings_must_be_an_object() {
        let state = json!({"settings": "x"});
        let error = merge(state.as_object().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "settings must be an object, not \"x\"");
    }
}
