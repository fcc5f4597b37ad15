//! What was fetched: kept beside the files, so that an update knows what it has, and a check what should be there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::models::catalog::DEFAULT_REVISION;

/// Its file.
const RECORD_FILE: &str = "download.json";
/// Bytes that are hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Where files came from, and what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRecord {
    /// The repository on the hub.
    pub repository: String,
    /// The revision that was asked for; records of earlier versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
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

    /// Whether these files are what is meant by a revision, as far as can be told without asking the hub.
    pub fn is_of(&self, revision: &str) -> bool {
        self.commit == revision || self.revision.as_deref().unwrap_or(DEFAULT_REVISION) == revision
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let mut content = serde_json::to_vec_pretty(self)?;
        content.push(b'\n');
        // In one step: a folder without a record that can be read is somebody else's.
        let written = folder.join(format!(".{RECORD_FILE}"));
        std::fs::write(&written, content)?;
        std::fs::rename(&written, folder.join(RECORD_FILE))
    }

    /// Compares the files of a folder with what came; gives the first difference as text.
    pub fn check(&self, folder: &Path) -> Option<String> {
        self.files.iter().find_map(|(name, file)| Some(format!("{name}: {}", file.damage(&folder.join(name))?)))
    }
}

impl FileRecord {
    /// What is wrong with a file that should be this one.
    pub fn damage(&self, file: &Path) -> Option<String> {
        match std::fs::metadata(file).map(|metadata| metadata.len()) {
            Ok(size) if size != self.size => return Some(format!("it has {size} bytes, and came with {}", self.size)),
            Err(error) => return Some(error.to_string()),
            Ok(_) => {}
        }
        match sha256_of(file) {
            Ok(hash) if hash == self.sha256 => None,
            Ok(hash) => Some(format!("it has the SHA-256 {hash}, and came with {}", self.sha256)),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// SHA-256 of a file in hexadecimal digits.
///
/// # Errors
/// The system's.
pub fn sha256_of(file: &Path) -> std::io::Result<String> {
    digest_of(Sha256::new(), file)
}

/// SHA-1 of a file as git names its content, in hexadecimal digits.
pub(super) fn git_sha1_of(file: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(file)?.len();
    digest_of(Sha1::new_with_prefix(format!("blob {size}\0")), file)
}

fn digest_of(mut hash: impl Digest, file: &Path) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hash.update(chunk.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_their_tools() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        assert_eq!(sha256_of(file.path()).unwrap(), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        // `printf 'hello\n' | git hash-object --stdin`
        assert_eq!(git_sha1_of(file.path()).unwrap(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn a_record_tells_of_which_revision_it_is() {
        let mut record: DownloadRecord =
            serde_json::from_str(r#"{"repository": "a/b", "commit": "abc", "files": {}}"#).unwrap();
        assert!(record.is_of("main") && record.is_of("abc") && !record.is_of("v2"));
        record.revision = Some("v2".to_owned());
        assert!(record.is_of("v2") && record.is_of("abc") && !record.is_of("main"));
    }
}
