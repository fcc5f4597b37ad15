//! What the black-box suites share: where the golden data lies, chance that repeats, and pictures with a truth.

#![allow(dead_code, reason = "each suite uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

pub mod engines;
pub mod random;
pub mod scenes;

use std::path::{Path, PathBuf};

/// The golden sets of the repository, and the larger ones beside it where they are.
pub fn golden_roots() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = here.join("tests/fixtures/golden");
    assert!(own.is_dir(), "{} is part of the repository", own.display());
    let large = here.join("../shared/reference/golden");
    if large.is_dir() {
        return vec![own, large];
    }
    eprintln!("SKIPPED the large golden sets: there is no {}", large.display());
    vec![own]
}

/// A JSON file.
pub fn read_json(path: &Path) -> serde_json::Value {
    let content = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&content).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
