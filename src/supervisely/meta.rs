//! The project meta that describes the labels: a set of classes that grows with what the model names.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::{CONFIDENCE_TAG, UNNAMED_CLASS};

/// Geometry of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A box.
    Rectangle,
}

/// One class of the meta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectClass {
    /// Name, unique in the meta.
    pub title: String,
    description: String,
    /// Geometry of its labels.
    pub shape: Shape,
    /// `#RRGGBB`.
    pub color: String,
    geometry_config: EmptyObject,
    hotkey: String,
}

/// One tag of the meta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TagMeta {
    /// Name, unique in the meta.
    pub name: String,
    /// Type of its values.
    pub value_type: String,
    /// `#RRGGBB`.
    pub color: String,
    hotkey: String,
    applicable_type: String,
    classes: Vec<String>,
    target_type: String,
}

/// The meta on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectMeta {
    /// Every class that the model has named so far.
    pub classes: Vec<ObjectClass>,
    /// The tags of its labels.
    pub tags: Vec<TagMeta>,
    project_settings: ProjectSettings,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct EmptyObject {}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProjectSettings {
    multi_view: MultiView,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct MultiView {
    enabled: bool,
    tag_name: Option<String>,
    tag_id: Option<i64>,
    is_synced: bool,
}

/// The classes that the model has named since it was deployed. Naming never takes a class away.
#[derive(Debug)]
pub struct ClassRegistry {
    table: Mutex<ClassTable>,
}

#[derive(Debug, Default)]
struct ClassTable {
    classes: Vec<ObjectClass>,
    titles: HashSet<String>,
}

impl ClassRegistry {
    /// Callers' phrases become classes, so the set must not grow without end. Clients add a class that is missing
    /// here from the label itself.
    const MAX_CLASSES: usize = 10_000;

    /// The registry of a model that has not predicted yet: class `object` alone.
    pub fn new() -> Self {
        let mut table = ClassTable::default();
        table.add(UNNAMED_CLASS, Shape::Rectangle);
        Self { table: Mutex::new(table) }
    }

    /// Adds the classes that are new, in the order given.
    pub fn register<'a>(&self, classes: impl IntoIterator<Item = (&'a str, Shape)>) {
        let mut table = self.lock();
        for (title, shape) in classes {
            if table.classes.len() < Self::MAX_CLASSES {
                table.add(title, shape);
            }
        }
    }

    /// The meta as of now.
    pub fn project_meta(&self) -> ProjectMeta {
        ProjectMeta {
            classes: self.lock().classes.clone(),
            tags: vec![TagMeta::confidence()],
            project_settings: ProjectSettings::default(),
        }
    }

    /// A panic elsewhere cannot leave the table half changed in a way that matters, so a poisoned lock is taken.
    fn lock(&self) -> MutexGuard<'_, ClassTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ClassRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl ClassTable {
    fn add(&mut self, title: &str, shape: Shape) {
        if !self.titles.contains(title) {
            self.titles.insert(title.to_owned());
            let color = color_of(self.classes.len(), title);
            self.classes.push(ObjectClass {
                title: title.to_owned(),
                description: String::new(),
                shape,
                color,
                geometry_config: EmptyObject {},
                hotkey: String::new(),
            });
        }
    }
}

impl TagMeta {
    fn confidence() -> Self {
        Self {
            name: CONFIDENCE_TAG.to_owned(),
            value_type: "any_number".to_owned(),
            color: "#4A90D9".to_owned(),
            hotkey: String::new(),
            applicable_type: "all".to_owned(),
            classes: Vec::new(),
            target_type: "all".to_owned(),
        }
    }
}

/// Colours of the first classes, chosen to be told apart on a photograph.
const PALETTE: [&str; 12] = [
    "#E6194B", "#3CB44B", "#4363D8", "#F58231", "#911EB4", "#008080", "#F032E6", "#9A6324", "#808000", "#46B3C9",
    "#800000", "#000075",
];

/// The palette first; afterwards a colour that follows from the name alone, so it is the same after a restart.
fn color_of(index: usize, title: &str) -> String {
    match PALETTE.get(index) {
        Some(color) => (*color).to_owned(),
        None => hashed_color(title),
    }
}

/// A saturated colour of a hue that the name's hash picks.
fn hashed_color(title: &str) -> String {
    const HUES: u64 = 6 * 256;
    const HIGH: u64 = 230;
    const LOW: u64 = 25;
    let hue = fnv1a(title) % HUES;
    let ramp = LOW + (hue % 256) * (HIGH - LOW) / 255;
    let (red, green, blue) = match hue / 256 {
        0 => (HIGH, ramp, LOW),
        1 => (HIGH + LOW - ramp, HIGH, LOW),
        2 => (LOW, HIGH, ramp),
        3 => (LOW, HIGH + LOW - ramp, HIGH),
        4 => (ramp, LOW, HIGH),
        _ => (HIGH, LOW, HIGH + LOW - ramp),
    };
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// The FNV-1a hash; unlike the standard library's it never changes between releases.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn is_color(value: &str) -> bool {
        value.len() == 7 && value.starts_with('#') && value.bytes().skip(1).all(|b| b.is_ascii_hexdigit())
    }

    #[test]
    fn a_fresh_meta_is_that_of_the_recording() {
        let mut meta = serde_json::to_value(ClassRegistry::new().project_meta()).unwrap();
        meta["classes"][0]["color"] = json!("<#RRGGBB>");
        meta["tags"][0]["color"] = json!("<#RRGGBB>");
        assert_eq!(
            serde_json::to_string(&meta).unwrap(),
            concat!(
                r##"{"classes":[{"title":"object","description":"","shape":"rectangle","color":"<#RRGGBB>","##,
                r##""geometry_config":{},"hotkey":""}],"tags":[{"name":"confidence","value_type":"any_number","##,
                r##""color":"<#RRGGBB>","hotkey":"","applicable_type":"all","classes":[],"target_type":"all"}],"##,
                r##""projectSettings":{"multiView":{"enabled":false,"tagName":null,"tagId":null,"isSynced":false}}}"##,
            )
        );
    }

    #[test]
    fn classes_are_added_once_and_keep_their_colour() {
        let registry = ClassRegistry::new();
        registry.register([("zebra_bbox", Shape::Rectangle), ("ox_bbox", Shape::Rectangle)]);
        let before = registry.project_meta();
        registry.register([("ox_bbox", Shape::Rectangle), ("elk_bbox", Shape::Rectangle)]);
        let after = registry.project_meta();
        assert_eq!(after.classes.get(..3), Some(before.classes.as_slice()));
        assert_eq!(after.classes.len(), 4);
    }

    #[test]
    fn every_class_has_a_colour_and_the_set_is_bounded() {
        let registry = ClassRegistry::new();
        let titles: Vec<String> = (0..ClassRegistry::MAX_CLASSES + 5).map(|i| format!("class {i}")).collect();
        registry.register(titles.iter().map(|title| (title.as_str(), Shape::Rectangle)));
        let meta = registry.project_meta();
        assert_eq!(meta.classes.len(), ClassRegistry::MAX_CLASSES);
        assert!(meta.classes.iter().all(|class| is_color(&class.color)));
    }
}
