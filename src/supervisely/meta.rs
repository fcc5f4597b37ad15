//! The project meta that describes the labels: a set of classes that grows with what the model names.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use super::{Annotation, CONFIDENCE_TAG, UNNAMED_CLASS};

/// Geometry of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A box.
    Rectangle,
    /// An outline.
    Polygon,
}

impl Shape {
    /// As the platform writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rectangle => "rectangle",
            Self::Polygon => "polygon",
        }
    }
}

/// One class of the meta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
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

impl ObjectClass {
    /// A class in a colour that follows from its name.
    pub fn new(title: &str, shape: Shape) -> Self {
        Self {
            title: title.to_owned(),
            description: String::new(),
            shape,
            color: hashed_color(title),
            geometry_config: EmptyObject {},
            hotkey: String::new(),
        }
    }

    /// The same class under another name.
    #[must_use]
    pub fn renamed(&self, title: &str) -> Self {
        Self { title: title.to_owned(), ..self.clone() }
    }
}

/// One tag of the meta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectMeta {
    /// Every class that the model has named so far.
    pub classes: Vec<ObjectClass>,
    /// The tags of its labels.
    pub tags: Vec<TagMeta>,
    project_settings: ProjectSettings,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
struct EmptyObject {}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectSettings {
    multi_view: MultiView,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MultiView {
    enabled: bool,
    tag_name: Option<String>,
    tag_id: Option<i64>,
    is_synced: bool,
}

/// The classes and tags that the model has used since it was deployed. Using never takes one away.
#[derive(Debug)]
pub struct ClassRegistry {
    table: Mutex<ClassTable>,
}

#[derive(Debug, Default)]
struct ClassTable {
    classes: Vec<ObjectClass>,
    titles: HashSet<String>,
    /// Beside the one for scores.
    tags: Vec<TagMeta>,
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

    /// Adds the classes and tags of these annotations that are new, in their order.
    pub fn register_all<'a>(&self, annotations: impl IntoIterator<Item = &'a Annotation>) {
        annotations.into_iter().for_each(|annotation| self.register(annotation));
    }

    /// Adds the classes and tags of an annotation that are new, in its order.
    pub fn register(&self, annotation: &Annotation) {
        let mut table = self.lock();
        for label in &annotation.objects {
            if table.classes.len() < Self::MAX_CLASSES {
                table.add(&label.class_title, label.shape());
            }
        }
        let tags = annotation.tags.iter().chain(annotation.objects.iter().flat_map(|label| &label.tags));
        tags.for_each(|tag| table.add_tag(&tag.name));
    }

    /// The class of this name as it stands in the meta.
    pub fn class(&self, title: &str, shape: Shape) -> ObjectClass {
        let known = self.lock().classes.iter().find(|class| class.title == title && class.shape == shape).cloned();
        known.unwrap_or_else(|| ObjectClass::new(title, shape))
    }

    /// The meta as of now.
    pub fn project_meta(&self) -> ProjectMeta {
        let table = self.lock();
        ProjectMeta {
            classes: table.classes.clone(),
            tags: std::iter::once(TagMeta::of(CONFIDENCE_TAG)).chain(table.tags.iter().cloned()).collect(),
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
    /// Our tags are a handful, so they are simply searched.
    fn add_tag(&mut self, name: &str) {
        if name != CONFIDENCE_TAG && self.tags.iter().all(|tag| tag.name != name) {
            self.tags.push(TagMeta::of(name));
        }
    }

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
    /// The same tag under another name.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// The meta of one of our tags: scores are numbers, all others are words.
    pub fn of(name: &str) -> Self {
        let (value_type, color) = match name {
            CONFIDENCE_TAG => ("any_number", "#4A90D9".to_owned()),
            name => ("any_string", hashed_color(name)),
        };
        Self {
            name: name.to_owned(),
            value_type: value_type.to_owned(),
            color,
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
    use crate::supervisely::{Geometry, ImageSize, Label, LabelTag, Rectangle};
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

    fn annotation<'a>(titles: impl IntoIterator<Item = &'a str>) -> Annotation {
        let size = ImageSize { height: 10, width: 10 };
        let rectangle = Rectangle::from_corners([0.0, 0.0, 5.0, 5.0]).unwrap();
        let label = |title: &str| Label {
            class_title: title.to_owned(),
            tags: vec![],
            geometry: Geometry::Rectangle(rectangle),
        };
        Annotation::new(size, titles.into_iter().map(label).collect())
    }

    #[test]
    fn classes_are_added_once_and_keep_their_colour() {
        let registry = ClassRegistry::new();
        registry.register(&annotation(["zebra_bbox", "ox_bbox"]));
        let before = registry.project_meta();
        registry.register(&annotation(["ox_bbox", "elk_bbox"]));
        let after = registry.project_meta();
        assert_eq!(after.classes.get(..3), Some(before.classes.as_slice()));
        assert_eq!(after.classes.len(), 4);
    }

    #[test]
    fn every_class_has_a_colour_and_the_set_is_bounded() {
        let registry = ClassRegistry::new();
        let titles: Vec<String> = (0..ClassRegistry::MAX_CLASSES + 5).map(|i| format!("class {i}")).collect();
        registry.register(&annotation(titles.iter().map(String::as_str)));
        let meta = registry.project_meta();
        assert_eq!(meta.classes.len(), ClassRegistry::MAX_CLASSES);
        assert!(meta.classes.iter().all(|class| is_color(&class.color)));
    }

    #[test]
    fn tags_join_when_they_are_used() {
        let registry = ClassRegistry::new();
        let mut captioned = annotation(["a_bbox"]);
        captioned.tags = vec![LabelTag::text("caption", "a cat")];
        captioned.objects[0].tags = vec![LabelTag::confidence(0.5), LabelTag::text("text", "EXIT")];
        registry.register(&captioned);
        registry.register(&captioned);
        let tags: Vec<(String, String)> =
            registry.project_meta().tags.into_iter().map(|tag| (tag.name, tag.value_type)).collect();
        let expected = [("confidence", "any_number"), ("caption", "any_string"), ("text", "any_string")];
        assert_eq!(tags, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
    }
}
