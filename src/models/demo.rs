//! The demo model: a small Florence-2 that knows coloured shapes, part of the program so that a first run needs nothing
//! else. It is not in `models.json`, and no list of the platform shows it.

use crate::florence::{CheckpointFiles, SAFETENSORS_FILE, TOKENIZER_FILE, config};

/// Its name.
pub const DEMO_MODEL: &str = "demo";

/// Its tokenizer.
pub(super) const TOKENIZER: &[u8] = include_bytes!("demo/tokenizer.json");

/// Its files.
pub const fn files() -> CheckpointFiles {
    CheckpointFiles::Embedded {
        name: DEMO_MODEL,
        files: &[
            (config::CONFIG_FILE, include_bytes!("demo/config.json")),
            (config::PREPROCESSOR_FILE, include_bytes!("demo/preprocessor_config.json")),
            (TOKENIZER_FILE, TOKENIZER),
            (SAFETENSORS_FILE, include_bytes!("demo/model.safetensors")),
        ],
    }
}
