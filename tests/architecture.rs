//! The layers use only what stands below them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

/// From the top to the bottom.
const LAYERS: [&str; 10] =
    ["cli", "server", "lifecycle", "session", "supervisely", "tracking", "media", "engine", "models", "florence"];
/// Used by all, using none.
const LEAVES: [&str; 2] = ["telemetry", "outgoing"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// The modules that a file names as `crate::NAME`.
fn uses(content: &str) -> impl Iterator<Item = (usize, &str)> {
    content.lines().enumerate().flat_map(|(number, line)| {
        let code = line.split("//").next().unwrap_or_default();
        code.match_indices("crate::").map(move |(at, mark)| {
            let rest = &code[at + mark.len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (number + 1, &rest[..end])
        })
    })
}

#[test]
fn no_arrow_points_upward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    let mut arrows = 0;
    let mut wrong = vec![];
    for file in &files {
        let inside = file.strip_prefix(&root).unwrap();
        let layer = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let place = LAYERS.iter().position(|known| *known == layer);
        for (line, used) in uses(&std::fs::read_to_string(file).unwrap()) {
            arrows += 1;
            let target = LAYERS.iter().position(|known| *known == used);
            let is_fine = LEAVES.contains(&used) || matches!((place, target), (Some(from), Some(to)) if from <= to);
            if !is_fine && layer != "lib" {
                wrong.push(format!("{}:{line} uses {used}", inside.display()));
            }
        }
    }
    assert!(arrows > 50, "only {arrows} uses were found");
    assert!(wrong.is_empty(), "upward: {wrong:#?}");
}

#[test]
fn every_module_is_a_known_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_known = LAYERS.contains(&name.as_str()) || LEAVES.contains(&name.as_str());
        assert!(is_known || ["lib", "main"].contains(&name.as_str()), "{name} has no place among the layers");
    }
}

#[test]
fn layers_know_only_the_crates_of_their_trade() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let strangers: [(&str, &[&str]); 7] = [
        ("florence", &["tokio", "axum", "reqwest", "hf_hub"]),
        ("models", &["axum", "candle_core"]),
        ("engine", &["axum", "reqwest", "hf_hub"]),
        ("media", &["axum", "candle_core"]),
        ("tracking", &["axum", "candle_core", "tokio", "reqwest"]),
        ("supervisely", &["axum", "candle_core"]),
        ("session", &["axum", "candle_core"]),
    ];
    for (layer, strangers) in strangers {
        let mut files = vec![];
        sources(&root.join(layer), &mut files);
        assert!(!files.is_empty(), "{layer}");
        for file in files {
            let content = std::fs::read_to_string(&file).unwrap();
            let code = content.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let found = strangers.iter().find(|stranger| line.contains(&format!("{stranger}::")));
                assert!(found.is_none(), "{} uses {found:?}", file.display());
            }
        }
    }
}
