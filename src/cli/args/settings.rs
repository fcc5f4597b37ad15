//! Inference settings as `--settings` has them: the name of a file, or words such as `conf=0.3`.

use std::path::Path;

use serde_json::{Map, Number, Value};

use super::super::error::{CliError, CliResult};
use crate::supervisely::InferenceSettings;

/// Reads the words that follow `--settings`. What a setting may be is checked elsewhere, whether there is such a one here.
pub(super) fn read_settings(words: &[String]) -> CliResult<Map<String, Value>> {
    let settings = match words {
        [file] if is_file(file) => read_file(file)?,
        words => words.iter().map(|word| read_word(word)).collect::<CliResult<_>>()?,
    };
    InferenceSettings::check_keys(&settings).map_err(|error| CliError::Usage(format!("--settings: {error}")))?;
    Ok(settings)
}

/// How a file is written.
#[derive(Debug, Clone, Copy)]
enum Notation {
    Json,
    Yaml,
}

impl Notation {
    /// The file's name tells, as in the original.
    fn of(file: &str) -> Option<Self> {
        let extension = Path::new(file).extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// A name with a colon may be a file's as well.
fn is_file(word: &str) -> bool {
    Path::new(word).is_file() || (Notation::of(word).is_some() && split(word).is_none())
}

fn read_file(file: &str) -> CliResult<Map<String, Value>> {
    let wrong = |reason: &dyn std::fmt::Display| CliError::Usage(format!("--settings {file}: {reason}"));
    let notation = Notation::of(file).ok_or_else(|| wrong(&"the name has to end in .json, .yaml or .yml"))?;
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let content: Value = match notation {
        Notation::Json => serde_json::from_str(&text).map_err(|error| wrong(&error))?,
        Notation::Yaml => yaml_serde::from_str(&text).map_err(|error| wrong(&error))?,
    };
    match content {
        Value::Object(settings) => Ok(settings),
        // A file of comments alone.
        Value::Null => Ok(Map::new()),
        _ => Err(wrong(&"it has to hold settings by their names")),
    }
}

fn read_word(word: &str) -> CliResult<(String, Value)> {
    let (key, text) = split(word).ok_or_else(|| {
        CliError::Usage(format!(
            "--settings {word}: that is neither key=value nor key:value nor one file's name in .json, .yaml or .yml; pictures \
             are named before --settings"
        ))
    })?;
    Ok((key.to_owned(), read_value(key, text)))
}

/// At the first of the two signs: a value may hold the other.
fn split(word: &str) -> Option<(&str, &str)> {
    word.split_once(['=', ':']).filter(|(key, _)| !key.is_empty())
}

/// true and false, none and null in any case, a number, or JSON; anything else is text, and so is everything for a setting
/// that is a text.
fn read_value(key: &str, text: &str) -> Value {
    if InferenceSettings::is_text(key) {
        return Value::from(text);
    }
    match text.to_ascii_lowercase().as_str() {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        "none" | "null" => return Value::Null,
        _ => {}
    }
    let number = || text.parse().ok().and_then(Number::from_f64).map(Value::Number);
    serde_json::from_str(text).ok().or_else(number).unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read_settings(&words).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn words_have_types() {
        let settings = read(&["conf=0.3", "max_new_tokens:64", "scores=True", "nms_iou=none", "max_box_area=.5"]);
        let expected = json!({"conf": 0.3, "max_new_tokens": 64, "scores": true, "nms_iou": null, "max_box_area": 0.5});
        assert_eq!(settings.unwrap(), expected);
        let settings = read(&["mapping={\"ball\": [\"a red ball\", \"x:y\"]}", "text:size = 4", "task_prompt=<OD>"]);
        let expected = json!({"mapping": {"ball": ["a red ball", "x:y"]}, "text": "size = 4", "task_prompt": "<OD>"});
        assert_eq!(settings.unwrap(), expected);
    }

    #[test]
    fn a_text_stays_one_whatever_it_looks_like() {
        for text in ["2024", "true", "null", "{}"] {
            assert_eq!(read(&[&format!("text={text}")]).unwrap(), json!({ "text": text }));
        }
        assert_eq!(read(&["mapping=ball"]).unwrap(), json!({"mapping": "ball"}));
        assert_eq!(read(&["conf=inf"]).unwrap(), json!({"conf": "inf"}), "no number that JSON has");
    }

    #[test]
    fn what_is_no_setting_is_told() {
        let reason = |words: &[&str]| read(words).unwrap_err();
        assert!(reason(&["confidence=0.3"]).contains("conf, "), "{}", reason(&["confidence=0.3"]));
        assert!(reason(&["conf=0.3", "a.png"]).contains("a.png"));
        assert!(reason(&["=3"]).contains("key=value"));
        assert!(reason(&["absent.yaml"]).contains("absent.yaml: No such file"));
    }

    #[test]
    fn files_are_json_or_yaml_by_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let read_as = |name: &str, content: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, content).unwrap();
            read(&[file.to_str().unwrap()])
        };
        let yaml =
            "# what to find\ntext: a red circle\nconf: 0.25\nmapping:\n  ball: [round, red]\n  cup:\nscores: true\n";
        let expected = json!({"text": "a red circle", "conf": 0.25, "mapping": {"ball": ["round", "red"], "cup": null},
            "scores": true});
        assert_eq!(read_as("a.yaml", yaml).unwrap(), expected);
        assert_eq!(read_as("a:b.YML", yaml).unwrap(), expected, "although the name could be a key and a value");
        assert_eq!(read_as("a.json", &expected.to_string()).unwrap(), expected);
        assert_eq!(read_as("empty.yaml", "# nothing\n").unwrap(), json!({}));
        for (name, content, part) in [
            ("a.txt", "{}", ".yaml"),
            ("b.json", "{oops", "key must be a string"),
            ("b.yaml", "a: [1", "line"),
            ("list.yaml", "- 1", "by their names"),
            ("c.yaml", "speed: 3", "speed"),
        ] {
            let reason = read_as(name, content).unwrap_err();
            assert!(reason.contains(part), "{name}: {reason}");
        }
    }
}
