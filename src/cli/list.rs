//! `models`: the list of models.json.

use super::error::CliResult;
use super::print_line;
use crate::models::{Catalog, ModelFolders, ModelSource};

/// Prints one line a model: name, size, accuracy, date, where it is, repository.
pub fn run() -> CliResult<()> {
    print_line(&format!(
        "{:<20} {:>6} {:>9} {:>11}  {:<8} {}",
        "model", "size", "COCO mAP", "date", "where", "repository"
    ))?;
    let folders = ModelFolders::from_env();
    for entry in Catalog::embedded().entries() {
        let size = entry.size().unwrap_or_else(|| "-".to_owned());
        let accuracy = entry.accuracy().map_or_else(|| "-".to_owned(), |accuracy| accuracy.to_string());
        let date = entry.text("Date");
        let place = ModelSource::choose(Some(&entry.name), None)?.location(&folders).name();
        print_line(&format!("{:<20} {size:>6} {accuracy:>9} {date:>11}  {place:<8} {}", entry.name, entry.repository))?;
    }
    Ok(())
}
