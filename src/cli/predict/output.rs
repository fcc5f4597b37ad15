//! What is written: annotations and drawings, of which none takes the place of another or of a picture.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::florence::image::Picture;
use crate::media::draw_labelled_boxes;
use crate::session::{BOX_SUFFIX, POLYGON_SUFFIX};

/// Writes annotations. What earlier runs left is overwritten.
#[derive(Debug)]
pub(super) struct Output {
    draws: bool,
    /// Files of this run, each with the picture that it is or belongs to.
    taken: HashMap<PathBuf, String>,
}

/// The files for one picture.
#[derive(Debug)]
pub(super) struct Targets {
    picture: String,
    annotation: PathBuf,
    drawing: Option<PathBuf>,
}

impl Output {
    pub(super) fn new(draws: bool) -> Self {
        Self { draws, taken: HashMap::new() }
    }

    /// Keeps a picture of the run from being overwritten.
    pub(super) fn protect(&mut self, picture: &Path) {
        self.taken.insert(canonical(picture), picture.display().to_string());
    }

    /// `FOLDER/<file name>.json`, and `.png` for the drawing. `picture` is what messages call it.
    ///
    /// # Errors
    /// One of them is there already, or the folder cannot be made.
    pub(super) fn targets(&self, folder: &Path, file_name: &OsStr, picture: String) -> Result<Targets, String> {
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        let folder = canonical(folder);
        let target = |extension: &str| {
            let mut name = file_name.to_owned();
            name.push(".");
            name.push(extension);
            folder.join(name)
        };
        let targets = Targets { picture, annotation: target("json"), drawing: self.draws.then(|| target("png")) };
        for target in targets.paths() {
            if let Some(first) = self.taken.get(target) {
                return Err(format!("{} is already there for {first}", target.display()));
            }
        }
        Ok(targets)
    }

    /// Writes the annotation, and the drawing where there is to be one.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn write(
        &mut self,
        targets: &Targets,
        annotation: &Value,
        picture: Option<&Picture>,
    ) -> Result<(), String> {
        std::fs::write(&targets.annotation, annotation.to_string())
            .map_err(|error| unwritable(&targets.annotation, &error))?;
        if let (Some(drawing), Some(picture)) = (&targets.drawing, picture) {
            let drawn = draw_labelled_boxes(picture, &labelled_boxes(annotation));
            drawn.save(drawing).map_err(|error| unwritable(drawing, &error))?;
        }
        self.taken.extend(targets.paths().map(|path| (path.to_owned(), targets.picture.clone())));
        Ok(())
    }
}

impl Targets {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.annotation.as_path()).chain(self.drawing.as_deref())
    }
}

fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("cannot write {}: {error}", path.display())
}

/// The one name of a path, whatever way it was written.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A name of the platform as the name of a file or folder: it leads nowhere else.
pub(super) fn file_safe(name: &str) -> String {
    let safe: String = name.chars().map(|c| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c }).collect();
    match safe.as_str() {
        "" | "." | ".." => "_".to_owned(),
        _ => safe,
    }
}

/// Each label's name, and the box around it.
fn labelled_boxes(annotation: &Value) -> Vec<(String, [i64; 4])> {
    let labels = annotation["objects"].as_array().map(Vec::as_slice).unwrap_or_default();
    labels.iter().filter_map(|label| Some((label_name(label["classTitle"].as_str()?), bounds(label)?))).collect()
}

/// Every class ends in one of the suffixes; on the picture that only takes room.
fn label_name(class: &str) -> String {
    let suffixes = [BOX_SUFFIX, POLYGON_SUFFIX];
    suffixes.iter().find_map(|suffix| class.strip_suffix(suffix)).unwrap_or(class).to_owned()
}

fn bounds(label: &Value) -> Option<[i64; 4]> {
    let corners = label.pointer("/points/exterior")?.as_array()?;
    let axis = |axis: usize| corners.iter().filter_map(move |corner| corner.get(axis)?.as_i64());
    Some([axis(0).min()?, axis(1).min()?, axis(0).max()?, axis(1).max()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_of_any_shape_have_a_box_to_draw() {
        let label = |class: &str, exterior: Value| json!({"classTitle": class, "points": {"exterior": exterior}});
        let annotation = json!({"objects": [
            label("a star_bbox", json!([[1, 2], [30, 40]])),
            label("dog_polygon", json!([[5, 9], [1, 2], [7, 3]])),
            label("nothing", json!([])),
        ]});
        let expected = [("a star".to_owned(), [1, 2, 30, 40]), ("dog".to_owned(), [1, 2, 7, 9])];
        assert_eq!(labelled_boxes(&annotation), expected);
        assert!(labelled_boxes(&json!({})).is_empty());
    }

    #[test]
    fn names_of_the_platform_lead_nowhere_else() {
        assert_eq!(file_safe("ds 1 (ä).png"), "ds 1 (ä).png");
        assert_eq!(file_safe("../../etc/x\0"), ".._.._etc_x_");
        assert_eq!([file_safe(""), file_safe("."), file_safe("..")], ["_", "_", "_"]);
    }

    #[test]
    fn nothing_of_the_run_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.png"), "").unwrap();
        let mut output = Output::new(true);
        output.protect(&path("a.png"));
        let targets = |output: &Output, name: &str| output.targets(folder.path(), OsStr::new(name), name.to_owned());
        assert!(targets(&output, "a").unwrap_err().contains("a.png is already there"), "the drawing's place is taken");
        let first = targets(&output, "b").unwrap();
        output.write(&first, &json!({}), None).unwrap();
        assert!(targets(&output, "b").unwrap_err().contains("for b"));
        assert!(path("b.json").is_file() && !path("b.png").exists());
    }
}
