//! The folder beside the final one in which files gather, and the step that puts it into its place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::FetchError;
use super::listing::{FILES, Listing};
use super::record::{DownloadRecord, FileRecord};
use super::transfer::{Transfer, part_of};
use crate::florence::{PICKLE_FILE, SAFETENSORS_FILE};

/// Room that is left on the disk.
const SPARE_BYTES: u64 = 64 << 20;

/// The folders of a download.
pub(super) struct Staging {
    root: PathBuf,
    name: String,
}

/// Whether a folder holds every file of a published checkpoint.
pub(in crate::models) fn is_complete(folder: &Path) -> bool {
    let has = |file: &&str| folder.join(file).is_file();
    FILES.iter().all(has) && [SAFETENSORS_FILE, PICKLE_FILE].iter().any(has)
}

/// A lock that other processes see, unless one of them has it. It ends with the file.
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, FetchError> {
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = open.map_err(FetchError::disk(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        // Some network disks have no locks: two downloads at once are then the user's to avoid.
        Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

impl Staging {
    /// The folders of this name below `root`, which is made if it is not there.
    pub fn new(root: &Path, name: &str) -> Result<Self, FetchError> {
        std::fs::create_dir_all(root).map_err(FetchError::disk(root))?;
        Ok(Self { root: root.to_owned(), name: name.to_owned() })
    }

    pub fn lock_file(&self) -> PathBuf {
        self.root.join(format!(".{}.lock", self.name))
    }

    /// Where files gather.
    pub fn folder(&self) -> PathBuf {
        self.root.join(format!(".{}.partial", self.name))
    }

    /// Where the folder that is replaced lies for a moment.
    fn old_folder(&self) -> PathBuf {
        self.root.join(format!(".{}.old", self.name))
    }

    fn final_folder(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    pub fn is_complete(&self) -> bool {
        is_complete(&self.final_folder())
    }

    pub fn record(&self) -> Option<DownloadRecord> {
        DownloadRecord::read(&self.final_folder())
    }

    /// Puts things right after a process that ended between two steps.
    pub fn recover(&self) -> Result<(), FetchError> {
        let (old, target) = (self.old_folder(), self.final_folder());
        if old.exists() && !target.exists() {
            std::fs::rename(&old, &target).map_err(FetchError::disk(&target))?;
        }
        remove_folder(&old)
    }

    /// Makes the folder, throws away what belongs to another state, and sees whether there is room.
    pub fn prepare(&self, listing: &Listing) -> Result<(), FetchError> {
        let folder = self.folder();
        std::fs::create_dir_all(&folder).map_err(FetchError::disk(&folder))?;
        let parts: Vec<PathBuf> =
            listing.files.iter().map(|file| part_of(&folder.join(&file.name), &file.oid)).collect();
        let mut here_bytes = 0;
        for entry in std::fs::read_dir(&folder).map_err(FetchError::disk(&folder))?.flatten() {
            if parts.contains(&entry.path()) {
                here_bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            } else {
                std::fs::remove_file(entry.path()).map_err(FetchError::disk(&entry.path()))?;
            }
        }
        let needed = listing.bytes().saturating_sub(here_bytes) + SPARE_BYTES;
        match free_bytes(&folder) {
            Some(free) if free < needed => Err(FetchError::NoSpace {
                folder: self.root.display().to_string(),
                free_mb: free / 1_000_000,
                needed_mb: needed / 1_000_000,
            }),
            _ => Ok(()),
        }
    }

    /// Takes a file over from the present folder where it is the same, and fetches it where it is not.
    pub async fn reuse_or(&self, transfer: Transfer<'_>) -> Result<FileRecord, FetchError> {
        let known = self.record().and_then(|mut record| record.files.remove(&transfer.remote.name));
        let known = known.filter(|known| known.oid == transfer.remote.oid && known.size == transfer.remote.size);
        let present = self.final_folder().join(&transfer.remote.name);
        match known {
            Some(known) if std::fs::hard_link(&present, &transfer.target).is_ok() => {
                transfer.done_bytes.fetch_add(known.size, std::sync::atomic::Ordering::Relaxed);
                Ok(known)
            }
            _ => transfer.run().await,
        }
    }

    /// Puts the gathered files into the place of the present ones.
    pub fn take_over(&self, record: &DownloadRecord) -> Result<(), FetchError> {
        let (folder, old, target) = (self.folder(), self.old_folder(), self.final_folder());
        record.write(&folder).map_err(FetchError::disk(&folder))?;
        match std::fs::rename(&target, &old) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(FetchError::disk(&target)(error)),
            _ => {}
        }
        std::fs::rename(&folder, &target).map_err(FetchError::disk(&target))?;
        remove_folder(&old)
    }
}

fn remove_folder(folder: &Path) -> Result<(), FetchError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FetchError::disk(folder)(error)),
        _ => Ok(()),
    }
}

/// What the disk of a folder can take, where the system tells.
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging() -> (tempfile::TempDir, Staging) {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::new(root.path(), "model").unwrap();
        (root, staging)
    }

    fn record(commit: &str) -> DownloadRecord {
        DownloadRecord { repository: "a/b".to_owned(), commit: commit.to_owned(), files: Default::default() }
    }

    #[test]
    fn a_new_folder_takes_the_place_of_the_old_one() {
        let (root, staging) = staging();
        for commit in ["first", "second"] {
            std::fs::create_dir(staging.folder()).unwrap();
            staging.take_over(&record(commit)).unwrap();
            assert_eq!(staging.record().unwrap().commit, commit);
        }
        let left: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["model"]);
    }

    #[test]
    fn a_process_that_ended_between_two_steps_leaves_the_old_one() {
        let (_root, staging) = staging();
        std::fs::create_dir(staging.old_folder()).unwrap();
        record("old").write(&staging.old_folder()).unwrap();
        staging.recover().unwrap();
        assert_eq!(staging.record().unwrap().commit, "old");
        std::fs::create_dir(staging.old_folder()).unwrap();
        staging.recover().unwrap();
        assert!(staging.record().is_some() && !staging.old_folder().exists());
    }

    #[test]
    fn one_process_at_a_time() {
        let (_root, staging) = staging();
        let first = try_lock(&staging.lock_file()).unwrap();
        assert!(first.is_some());
        assert!(try_lock(&staging.lock_file()).unwrap().is_none());
        drop(first);
        assert!(try_lock(&staging.lock_file()).unwrap().is_some());
    }
}
