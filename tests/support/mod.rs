//! What the black-box suites share: where the golden data lies, chance that repeats, and pictures with a truth.

#![allow(dead_code, reason = "each suite uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

pub mod engines;
pub mod random;
pub mod scenes;

use std::path::{Path, PathBuf};

/// The repository: where cargo says so, which is not where the program was built if it was carried to another machine.
pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The golden sets of the repository, and the larger ones beside it where they are.
pub fn golden_roots() -> Vec<PathBuf> {
    let here = root();
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
