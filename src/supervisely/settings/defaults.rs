//! The default settings: one YAML text, shown to callers with its comments and read here for its values.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Every setting that a caller may send, with its default. Clients refuse keys that it does not name.
pub const DEFAULT_SETTINGS_YAML: &str = include_str!("inference_settings.yaml");

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
}
