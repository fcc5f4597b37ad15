//! `models.json`: the published checkpoints that users choose from.

use serde::Deserialize;
use serde_json::Value;

use super::demo::DEMO_MODEL;
use super::error::ModelError;

/// What every command means when no model is named; the row that the app's page preselects.
pub const DEFAULT_MODEL: &str = "Florence-2-large";

/// The newest state of a repository.
pub(super) const DEFAULT_REVISION: &str = "main";

/// The file, part of the program.
const MODELS_JSON: &str = include_str!("../../models.json");

/// The published checkpoints, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    entries: Vec<CatalogEntry>,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogEntry {
    /// Such as `Florence-2-large`.
    pub name: String,
    /// Its repository on the hub, such as `microsoft/Florence-2-large`.
    pub repository: String,
    /// The state of the repository: a branch, a tag or a commit. The row may pin it.
    pub revision: String,
    /// The whole row, as clients are shown it.
    pub row: Value,
}

#[derive(Deserialize)]
struct Row {
    meta: Meta,
}

#[derive(Deserialize)]
struct Meta {
    model_name: String,
    model_files: ModelFiles,
    revision: Option<String>,
}

#[derive(Deserialize)]
struct ModelFiles {
    checkpoint: String,
}

impl CatalogEntry {
    /// A column of the table as text, empty where the row has none.
    pub fn text(&self, column: &str) -> String {
        match self.row.get(column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// Its number of parameters, such as `0.23B`. Two rows of the published file spell the column in another way.
    pub fn size(&self) -> Option<String> {
        ["Model Size", "Model size"].map(|column| self.text(column)).into_iter().find(|size| !size.is_empty())
    }

    /// Mean average precision on COCO's validation pictures of 2017, in percent.
    pub fn accuracy(&self) -> Option<f64> {
        self.row.get("COCO Det. val2017 mAP").and_then(Value::as_f64)
    }
}

impl Catalog {
    /// Reads the embedded file. A row that is not as expected is left out; a test sees to it that there is none.
    pub fn embedded() -> Self {
        let rows: Vec<Value> = serde_json::from_str(MODELS_JSON).unwrap_or_default();
        let entry = |row: Value| {
            let Meta { model_name, model_files, revision } = serde_json::from_value::<Row>(row.clone()).ok()?.meta;
            let revision = revision.unwrap_or_else(|| DEFAULT_REVISION.to_owned());
            Some(CatalogEntry { name: model_name, repository: model_files.checkpoint, revision, row })
        };
        Self { entries: rows.into_iter().filter_map(entry).collect() }
    }

    /// All of them.
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }

    /// The checkpoint of this name, in any case.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<&CatalogEntry, ModelError> {
        self.entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names = self.entries.iter().map(|entry| entry.name.as_str()).chain([DEMO_MODEL]);
            ModelError::Unknown { name: name.to_owned(), known: names.collect::<Vec<_>>().join(", ") }
        })
    }

    /// The rows as clients are shown them: numbers of the table are text there, as the original's page makes them.
    pub fn rows_for_clients(&self) -> Vec<Value> {
        let row = |entry: &CatalogEntry| {
            let mut row = entry.row.clone();
            for value in row.as_object_mut().into_iter().flat_map(|row| row.values_mut()) {
                if value.is_number() {
                    *value = Value::String(value.to_string());
                }
            }
            row
        };
        self.entries.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_four_checkpoints() {
        let catalog = Catalog::embedded();
        let names: Vec<_> = catalog.entries().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["Florence-2-base", "Florence-2-large", "Florence-2-base-ft", "Florence-2-large-ft"]);
        assert!(catalog.entries().iter().all(|entry| entry.repository == format!("microsoft/{}", entry.name)));
        assert_eq!(catalog.find("florence-2-LARGE").unwrap().name, DEFAULT_MODEL);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Catalog::embedded().find("Florence-3").unwrap_err().to_string();
        assert!(error.contains("Florence-3") && error.contains("Florence-2-base-ft") && error.contains("demo"));
    }

    #[test]
    fn clients_see_numbers_as_text() {
        let rows = Catalog::embedded().rows_for_clients();
        assert_eq!(rows[1]["COCO Det. val2017 mAP"], "37.5");
        assert_eq!(rows[0]["Model Size"], "0.23B");
        assert_eq!(rows[2]["Model size"], "0.23B");
    }
}
