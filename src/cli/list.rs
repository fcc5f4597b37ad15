//! `models`: the list of models.json.

use super::error::CliResult;
use super::print_line;
use crate::models::Catalog;

/// Prints one line a model: name, size, accuracy, date, repository.
pub fn run() -> CliResult<()> {
    print_line(&format!("{:<20} {:>6} {:>9} {:>11}  {}", "model", "size", "COCO mAP", "date", "repository"))?;
    for entry in Catalog::embedded().entries() {
        // Two rows of the published file spell the size's key in another way.
        let field = |names: &[&str]| {
            let value = names.iter().find_map(|name| entry.row.get(name));
            value
                .map_or_else(|| "-".to_owned(), |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let (size, accuracy) = (field(&["Model Size", "Model size"]), field(&["COCO Det. val2017 mAP"]));
        let date = field(&["Date"]);
        print_line(&format!("{:<20} {size:>6} {accuracy:>9} {date:>11}  {}", entry.name, entry.repository))?;
    }
    Ok(())
}
