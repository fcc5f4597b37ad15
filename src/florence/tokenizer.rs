//! Text to token ids and back, with the location and task tokens that the checkpoints add to BART's vocabulary.

use std::collections::HashSet;

use tokenizers::{AddedToken, Tokenizer as Bpe};

use super::error::{CheckpointResult, FlorenceError};
use super::files::CheckpointFiles;

/// The file that holds vocabulary and merges.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// Location tokens, which divide each side of the picture.
const LOCATIONS: usize = 1000;
/// Tokens added before the locations.
const BEFORE_LOCATIONS: [&str; 4] = ["<od>", "</od>", "<ocr>", "</ocr>"];
/// Tokens added behind them. The spelling of `desciption` is that of the published vocabulary.
const BEHIND_LOCATIONS: [&str; 20] = [
    "<cap>",
    "</cap>",
    "<ncap>",
    "</ncap>",
    "<dcap>",
    "</dcap>",
    "<grounding>",
    "</grounding>",
    "<seg>",
    "</seg>",
    "<sep>",
    "<region_cap>",
    "</region_cap>",
    "<region_to_desciption>",
    "</region_to_desciption>",
    "<proposal>",
    "</proposal>",
    "<poly>",
    "</poly>",
    "<and>",
];

/// A checkpoint's tokenizer.
pub struct Tokenizer {
    bpe: Bpe,
    locations: HashSet<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and adds the 1024 tokens that it lacks, in their order; ids follow from the file.
    ///
    /// # Errors
    /// The file is missing or is no tokenizer.
    pub fn load(files: &CheckpointFiles) -> CheckpointResult<Self> {
        let content = files.read(TOKENIZER_FILE)?;
        let invalid = |error: tokenizers::Error| files.invalid(TOKENIZER_FILE, error.to_string());
        let mut bpe = Bpe::from_bytes(&content).map_err(invalid)?;
        // A file may ask for both; a prompt is neither cut nor filled here.
        bpe.with_truncation(None).map_err(invalid)?;
        bpe.with_padding(None);
        let missing: Vec<_> = added_tokens()
            .filter(|token| bpe.token_to_id(token).is_none())
            .map(|token| AddedToken::from(token, true).normalized(false))
            .collect();
        bpe.add_special_tokens(missing).map_err(invalid)?;
        let locations = (0..LOCATIONS).filter_map(|bin| bpe.token_to_id(&location_token(bin))).collect();
        Ok(Self { bpe, locations })
    }

    /// Ids of a text, between the tokens that begin and end one.
    ///
    /// # Errors
    /// The tokenizer's.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, FlorenceError> {
        let encoding = self.bpe.encode_fast(text, true).map_err(|error| FlorenceError::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, special tokens kept, nothing between them. Bytes that are no UTF-8 become U+FFFD, ids outside
    /// the vocabulary nothing.
    ///
    /// # Errors
    /// The tokenizer's.
    pub fn decode(&self, ids: &[u32]) -> Result<String, FlorenceError> {
        self.bpe.decode(ids, false).map_err(|error| FlorenceError::Tokenizer(error.to_string()))
    }

    /// The greatest id that a text can become.
    pub fn greatest_id(&self) -> u32 {
        self.bpe.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// Whether an id is one of the location tokens.
    pub fn is_location(&self, id: u32) -> bool {
        self.locations.contains(&id)
    }
}

fn location_token(bin: usize) -> String {
    format!("<loc_{bin}>")
}

fn added_tokens() -> impl Iterator<Item = String> {
    let before = BEFORE_LOCATIONS.into_iter().map(str::to_owned);
    let behind = BEHIND_LOCATIONS.into_iter().map(str::to_owned);
    before.chain((0..LOCATIONS).map(location_token)).chain(behind)
}
