//! What was fetched: kept beside the files, so that an update knows what it has, and a check what should be there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Its file.
const RECORD_FILE: &str = "download.json";
/// Bytes that are hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Where files came from, and what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRecord {
    /// The repository on the hub.
    pub repository: String,
    /// Its state, as the hub calls it.
    pub commit: String,
    /// The files by name.
    pub files: BTreeMap<String, FileRecord>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Bytes.
    pub size: u64,
    /// The hub's id of the content.
    pub oid: String,
    /// SHA-256 as it came, in hexadecimal digits.
    pub sha256: String,
}

impl DownloadRecord {
    /// The record in a folder, if there is one that can be read.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(RECORD_FILE)).ok()?).ok()
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let mut content = serde_json::to_vec_pretty(self)?;
        content.push(b'\n');
        std::fs::write(folder.join(RECORD_FILE), content)
    }

    /// Compares the files of a folder with what came; gives the first difference as text.
    pub fn check(&self, folder: &Path) -> Option<String> {
        self.files.iter().find_map(|(name, file)| match sha256_of(&folder.join(name)) {
            Ok(hash) if hash == file.sha256 => None,
            Ok(hash) => Some(format!("{name} has the SHA-256 {hash}, and came with {}", file.sha256)),
            Err(error) => Some(format!("{name}: {error}")),
        })
    }
}

/// SHA-256 of a file in hexadecimal digits.
///
/// # Errors
/// The system's.
pub fn sha256_of(file: &Path) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hash.update(chunk.get(..length).unwrap_or_default()),
        }
    }
}
