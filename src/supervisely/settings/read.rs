//! Typed access to settings. Absent and null are `None` everywhere; a wrong type is an error that names the key.

use serde_json::{Map, Value};

use super::super::Rectangle;
use super::{ClassPrompts, Regions, SettingsError};

const REGION: &str = r#"null or a region {"points": {"exterior": [[x1, y1], [x2, y2]], "interior": []}}"#;

pub(super) fn string<'a>(settings: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, SettingsError> {
    read(settings, key, "a string", Value::as_str)
}

pub(super) fn boolean(settings: &Map<String, Value>, key: &str) -> Result<Option<bool>, SettingsError> {
    read(settings, key, "true or false", Value::as_bool)
}

pub(super) fn fraction(settings: &Map<String, Value>, key: &str) -> Result<Option<f64>, SettingsError> {
    read(settings, key, "a number from 0 to 1", |value| value.as_f64().filter(|number| (0.0..=1.0).contains(number)))
}

pub(super) fn positive_fraction(settings: &Map<String, Value>, key: &str) -> Result<Option<f64>, SettingsError> {
    read(settings, key, "a number above 0 and up to 1", |value| {
        value.as_f64().filter(|number| *number > 0.0 && *number <= 1.0)
    })
}

pub(super) fn pixels(settings: &Map<String, Value>, key: &str) -> Result<Option<f64>, SettingsError> {
    read(settings, key, "a number of pixels, 0 or more", |value| value.as_f64().filter(|number| *number >= 0.0))
}

/// Clients whose language has one kind of number may write 4 as `4.0`.
pub(super) fn positive_integer(settings: &Map<String, Value>, key: &str) -> Result<Option<usize>, SettingsError> {
    read(settings, key, "a positive integer", |value| {
        let whole = |number: f64| (number.fract() == 0.0 && (1.0..1e9).contains(&number)).then_some(number as u64);
        let integer = value.as_u64().or_else(|| value.as_f64().and_then(whole))?;
        usize::try_from(integer).ok().filter(|integer| *integer > 0)
    })
}

/// An id of the platform, as a number or as its digits.
pub(super) fn id(state: &Map<String, Value>, key: &str) -> Result<Option<i64>, SettingsError> {
    read(state, key, "a number", as_id)
}

/// Ids, one or a list of them.
pub(super) fn ids(state: &Map<String, Value>, key: &str) -> Result<Option<Vec<i64>>, SettingsError> {
    read(state, key, "a number or a list of numbers", |value| match value {
        Value::Array(ids) => ids.iter().map(as_id).collect(),
        id => as_id(id).map(|id| vec![id]),
    })
}

fn as_id(value: &Value) -> Option<i64> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64);
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A count or an index, 0 or more.
pub(super) fn index(state: &Map<String, Value>, key: &str) -> Result<Option<u64>, SettingsError> {
    read(state, key, "a whole number, 0 or more", |value| as_id(value)?.try_into().ok())
}

/// A time in seconds.
pub(super) fn seconds(state: &Map<String, Value>, key: &str) -> Result<Option<f64>, SettingsError> {
    read(state, key, "a number of seconds, 0 or more", |value| value.as_f64().filter(|seconds| *seconds >= 0.0))
}

/// An object.
pub(super) fn object<'a>(
    state: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a Map<String, Value>>, SettingsError> {
    read(state, key, "an object", Value::as_object)
}

/// Whatever the list holds, each item read by `convert`.
pub(super) fn list<T>(
    state: &Map<String, Value>,
    key: &str,
    expected: &'static str,
    convert: impl Fn(&Value) -> Option<T>,
) -> Result<Option<Vec<T>>, SettingsError> {
    read(state, key, expected, |value| value.as_array()?.iter().map(&convert).collect())
}

/// The first of several spellings that is there and not null.
pub(super) fn first<T>(
    keys: &[&str],
    read: impl Fn(&str) -> Result<Option<T>, SettingsError>,
) -> Result<Option<T>, SettingsError> {
    for key in keys {
        if let Some(value) = read(key)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

pub(super) fn mapping(settings: &Map<String, Value>) -> Result<Option<Vec<ClassPrompts>>, SettingsError> {
    const EXPECTED: &str = "an object of classes with a prompt, a list of prompts or null each";
    let Some(classes) = read(settings, "mapping", EXPECTED, Value::as_object)? else { return Ok(None) };
    let classes = classes.iter().map(|(class, prompts)| {
        let prompts = class_prompts(prompts).ok_or_else(|| {
            SettingsError::invalid(&format!("mapping.{class}"), "a prompt, a list of prompts or null", prompts)
        })?;
        Ok(ClassPrompts { class: class.clone(), prompts })
    });
    classes.collect::<Result<_, _>>().map(Some)
}

fn class_prompts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(vec![String::new()]),
        Value::String(prompt) => Some(vec![prompt.clone()]),
        Value::Array(prompts) => prompts.iter().map(|prompt| prompt.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// `rectangles`, one for each picture, goes before `rectangle`.
pub(super) fn regions(settings: &Map<String, Value>) -> Result<Regions, SettingsError> {
    let Some(regions) = read(settings, "rectangles", "null or a list of regions", Value::as_array)? else {
        let region = read(settings, "rectangle", REGION, Rectangle::from_region_json)?;
        return Ok(Regions::Same(region));
    };
    let regions = regions.iter().enumerate().map(|(index, region)| match region {
        Value::Null => Ok(None),
        region => match Rectangle::from_region_json(region) {
            Some(region) => Ok(Some(region)),
            None => Err(SettingsError::invalid(&format!("rectangles[{index}]"), REGION, region)),
        },
    });
    regions.collect::<Result<_, _>>().map(Regions::PerPicture)
}

fn read<'a, T>(
    settings: &'a Map<String, Value>,
    key: &str,
    expected: &'static str,
    convert: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, SettingsError> {
    match settings.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match convert(value) {
            Some(value) => Ok(Some(value)),
            None => Err(SettingsError::invalid(key, expected, value)),
        },
    }
}
