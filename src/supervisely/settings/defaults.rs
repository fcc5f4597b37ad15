//! The default settings: one YAML text, shown to callers with its comments and read here for its values.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{InferenceSettings, SettingsError};

/// Every setting that a caller may send, with its default. Clients refuse keys that it does not name.
pub const DEFAULT_SETTINGS_YAML: &str = include_str!("inference_settings.yaml");

/// The one setting beside them, which is about a picture.
const REGION_KEY: &str = "rectangle";

/// The values of [`DEFAULT_SETTINGS_YAML`].
pub(super) static DEFAULT_SETTINGS: LazyLock<Map<String, Value>> =
    LazyLock::new(|| read_flat_yaml(DEFAULT_SETTINGS_YAML));

/// Reads `key: value` lines whose values are JSON or bare text. Our own text needs no more of YAML than that.
fn read_flat_yaml(text: &str) -> Map<String, Value> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            (key.to_owned(), value)
        })
        .collect()
}

impl InferenceSettings {
    /// Refuses a key that no setting has. The server ignores such keys, because clients send many of them; where people write
    /// settings by hand, they are mistakes.
    ///
    /// # Errors
    /// The first unknown key.
    pub fn check_keys(settings: &Map<String, Value>) -> Result<(), SettingsError> {
        let known = || DEFAULT_SETTINGS.keys().map(String::as_str).chain([REGION_KEY]);
        match settings.keys().find(|key| known().all(|known| known != key.as_str())) {
            Some(key) => Err(SettingsError::unknown_key(key, known().collect::<Vec<_>>().join(", "))),
            None => Ok(()),
        }
    }

    /// Whether the setting of this name is a text.
    pub fn is_text(key: &str) -> bool {
        DEFAULT_SETTINGS.get(key).is_some_and(Value::is_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::florence::generation::GenerationOptions;
    use serde_json::json;

    #[test]
    fn the_text_holds_these_defaults() {
        assert_eq!(
            Value::Object(DEFAULT_SETTINGS.clone()),
            json!({
                "task_prompt": "<CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>",
                "text": "",
                "mapping": null,
                "max_new_tokens": GenerationOptions::DEFAULT_MAX_NEW_TOKENS,
                "scores": false,
                "conf": 0,
                "nms_iou": null,
                "max_box_area": 1,
                "min_box_px": 0,
            })
        );
    }

    #[test]
    fn every_line_is_a_comment_or_a_setting() {
        let lines = DEFAULT_SETTINGS_YAML.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines, DEFAULT_SETTINGS.len());
    }

    #[test]
    fn keys_without_a_setting_are_told_with_those_that_have_one() {
        let check = |settings: Value| InferenceSettings::check_keys(settings.as_object().unwrap());
        assert_eq!(check(json!({"text": 1, "rectangle": null, "min_box_px": ""})), Ok(()));
        let error = check(json!({"text": "", "confidence": 1})).unwrap_err().to_string();
        assert!(error.contains("\"confidence\"") && error.contains("max_new_tokens, "), "{error}");
        assert!(InferenceSettings::is_text("task_prompt") && !InferenceSettings::is_text("conf"));
    }
}
