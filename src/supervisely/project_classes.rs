//! A project's meta on the platform, while predictions bring classes and tags that it may lack.

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::meta::{ObjectClass, ProjectSettings, TagMeta};

/// Shape of a class that takes every geometry.
const ANY_SHAPE: &str = "any";
/// Times that a name which is taken gets the ending.
const MAX_RENAMES: usize = 1;

/// A class or tag that has no place in a project.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the project uses {name:?} for another kind of {what}, and {renamed:?} as well")]
pub struct NameConflict {
    what: &'static str,
    name: String,
    renamed: String,
}

/// A project's meta, and whether it has to be sent back.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectClasses {
    meta: Map<String, Value>,
    suffix: String,
    is_changed: bool,
}

impl ProjectClasses {
    /// The meta as the platform wrote it. `suffix` is the ending of names that are taken by something else.
    pub fn new(meta: Map<String, Value>, suffix: &str) -> Self {
        Self { meta, suffix: suffix.to_owned(), is_changed: false }
    }

    /// The name under which the project has this class, which joins it if it has none such.
    ///
    /// # Errors
    /// The name and its other form are both taken by classes of another geometry.
    pub fn admit_class(&mut self, class: &ObjectClass) -> Result<String, NameConflict> {
        let shape = class.shape.name();
        let fits = |known: &Value| [shape, ANY_SHAPE].into_iter().any(|fitting| known["shape"] == fitting);
        let name = self.free_name("classes", "title", class.title.trim(), fits)?;
        let make = |name: &str| json!(class.renamed(name));
        Ok(self.admit("classes", "title", name, make))
    }

    /// The name under which the project has this tag.
    ///
    /// # Errors
    /// As for classes.
    pub fn admit_tag(&mut self, tag: &TagMeta) -> Result<String, NameConflict> {
        let fits = |known: &Value| known["value_type"] == tag.value_type.as_str();
        let name = self.free_name("tags", "name", tag.name.trim(), fits)?;
        let make = |name: &str| json!(tag.renamed(name));
        Ok(self.admit("tags", "name", name, make))
    }

    /// The meta if it has changed since it was last stored.
    pub fn to_store(&self) -> Option<&Map<String, Value>> {
        self.is_changed.then_some(&self.meta)
    }

    /// It was stored; the platform answered with what it has now, which older ones do not.
    pub fn set_stored(&mut self, answer: Map<String, Value>) {
        self.is_changed = false;
        if answer.contains_key("classes") {
            self.meta = answer;
        }
    }

    fn find(&self, list: &str, key: &str, name: &str) -> Option<&Value> {
        self.meta.get(list)?.as_array()?.iter().find(|known| known[key] == name)
    }

    fn free_name(
        &self,
        list: &'static str,
        key: &str,
        name: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<String, NameConflict> {
        let mut tried = name.to_owned();
        for _ in 0..=MAX_RENAMES {
            if self.find(list, key, &tried).is_none_or(&fits) {
                return Ok(tried);
            }
            tried.push_str(&self.suffix);
        }
        let what = if list == "classes" { "class" } else { "tag" };
        Err(NameConflict { what, name: name.to_owned(), renamed: format!("{name}{}", self.suffix) })
    }

    fn admit(&mut self, list: &str, key: &str, name: String, make: impl Fn(&str) -> Value) -> String {
        if self.find(list, key, &name).is_none() {
            let all = self.meta.entry(list).or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut() {
                all.push(make(&name));
                self.is_changed = true;
            }
            // As the SDK sends it with every change.
            self.meta.entry("projectSettings").or_insert_with(|| json!(ProjectSettings::default()));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisely::{CONFIDENCE_TAG, Shape};

    fn classes(meta: Value) -> ProjectClasses {
        ProjectClasses::new(meta.as_object().unwrap().clone(), "_nn")
    }

    fn class(title: &str) -> ObjectClass {
        ObjectClass::new(title, Shape::Rectangle)
    }

    #[test]
    fn a_fitting_class_is_used_as_it_is() {
        let known = json!({"classes": [{"title": "a", "shape": "rectangle", "id": 5}, {"title": "b", "shape": "any"}]});
        let mut classes = classes(known);
        assert_eq!(
            (classes.admit_class(&class(" a ")), classes.admit_class(&class("b"))),
            (Ok("a".into()), Ok("b".into()))
        );
        assert_eq!(classes.to_store(), None);
    }

    #[test]
    fn a_missing_class_joins_once() {
        let mut classes = classes(json!({"classes": [{"title": "a", "shape": "polygon"}], "projectType": "images"}));
        assert_eq!(classes.admit_class(&class("c")), Ok("c".into()));
        assert_eq!(classes.admit_class(&class("c")), Ok("c".into()));
        assert_eq!(classes.admit_class(&class("a")), Ok("a_nn".into()));
        let meta = classes.to_store().unwrap();
        let titles: Vec<&Value> = meta["classes"].as_array().unwrap().iter().map(|class| &class["title"]).collect();
        assert_eq!((titles, &meta["projectType"]), (vec![&json!("a"), &json!("c"), &json!("a_nn")], &json!("images")));
        classes.set_stored(Map::from_iter([("success".to_owned(), json!(true))]));
        assert_eq!((classes.admit_class(&class("c")), classes.to_store()), (Ok("c".into()), None));
    }

    #[test]
    fn names_that_are_taken_twice_are_an_error() {
        let taken = json!({"classes": [{"title": "a", "shape": "polygon"}, {"title": "a_nn", "shape": "bitmap"}]});
        let error = classes(taken).admit_class(&class("a")).unwrap_err().to_string();
        assert_eq!(error, "the project uses \"a\" for another kind of class, and \"a_nn\" as well");
    }

    #[test]
    fn tags_are_told_apart_by_their_values() {
        let mut classes = classes(json!({"tags": [{"name": "confidence", "value_type": "any_string"}]}));
        let tag = TagMeta::of(CONFIDENCE_TAG);
        assert_eq!(classes.admit_tag(&tag), Ok("confidence_nn".into()));
        assert_eq!(classes.to_store().unwrap()["tags"][1]["value_type"], "any_number");
    }
}
