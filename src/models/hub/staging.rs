//! The folder beside the final one in which files gather, and the step that puts it into its place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::FetchError;
use super::listing::{FILES, Listing, RemoteFile};
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

/// What a record has of a file, if it is what the hub has.
pub(super) fn file_of<'a>(record: &'a DownloadRecord, file: &RemoteFile) -> Option<&'a FileRecord> {
    record.files.get(&file.name).filter(|known| known.oid == file.oid && known.size == file.size)
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

    /// The record without those files that are not what came: they are damaged, or gone.
    pub async fn checked_record(&self) -> Option<DownloadRecord> {
        let (mut record, folder, model) = (self.record()?, self.final_folder(), self.name.clone());
        let check = move || {
            record.files.retain(|name, file| {
                let damage = file.damage(&folder.join(name));
                if let Some(damage) = &damage {
                    tracing::warn!(model, "{name} is fetched again: {damage}");
                }
                damage.is_none()
            });
            record
        };
        // Gigabytes are read, and whoever breaks the update off does not wait for that.
        tokio::task::spawn_blocking(check).await.ok()
    }

    /// Puts things right after a process that ended between two steps. Whoever calls this has the lock.
    pub fn recover(&self) -> Result<(), FetchError> {
        let (old, target) = (self.old_folder(), self.final_folder());
        if old.exists() && !target.exists() {
            std::fs::rename(&old, &target).map_err(FetchError::disk(&target))?;
        }
        remove_folder(&old)
    }

    /// Refuses to take the place of what somebody else put there: only downloads of ours have a record.
    pub fn refuse_others(&self) -> Result<(), FetchError> {
        let target = self.final_folder();
        let is_free = match std::fs::symlink_metadata(&target) {
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(found) if found.is_dir() => self.record().is_some() || is_empty(&target),
            Ok(_) => false,
        };
        if is_free { Ok(()) } else { Err(FetchError::NotOurs { folder: target.display().to_string() }) }
    }

    /// Where a file gathers.
    pub fn part(&self, file: &RemoteFile) -> PathBuf {
        part_of(&self.folder().join(&file.name), &file.oid)
    }

    /// Makes the names of files that are complete those of parts once more: an earlier process ended after it had given
    /// them, and before it was done.
    fn reopen(&self, listing: &Listing) {
        let Some(record) = DownloadRecord::read(&self.folder()) else { return };
        for file in &listing.files {
            if record.files.get(&file.name).is_some_and(|known| known.oid == file.oid) {
                // What is not there yet, or has no name yet, needs nothing.
                let _ = std::fs::rename(self.folder().join(&file.name), self.part(file));
            }
        }
    }

    /// Makes the folder, throws away what belongs to another state, and sees whether there is room for what is not `known` to be
    /// here.
    pub fn prepare(&self, listing: &Listing, known: Option<&DownloadRecord>) -> Result<(), FetchError> {
        let folder = self.folder();
        std::fs::create_dir_all(&folder).map_err(FetchError::disk(&folder))?;
        self.reopen(listing);
        let parts: Vec<PathBuf> = listing.files.iter().map(|file| self.part(file)).collect();
        let mut here_bytes = 0;
        for entry in std::fs::read_dir(&folder).map_err(FetchError::disk(&folder))?.flatten() {
            if parts.contains(&entry.path()) {
                here_bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            } else {
                std::fs::remove_file(entry.path()).map_err(FetchError::disk(&entry.path()))?;
            }
        }
        let is_known = |file: &&RemoteFile| known.is_some_and(|record| file_of(record, file).is_some());
        here_bytes += listing.files.iter().filter(is_known).map(|file| file.size).sum::<u64>();
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

    /// Takes a file over from the present folder where it is known to be the same, and fetches it where it is not.
    pub async fn reuse_or(
        &self,
        transfer: Transfer<'_>,
        known: Option<&DownloadRecord>,
    ) -> Result<FileRecord, FetchError> {
        let known = known.and_then(|record| file_of(record, transfer.remote)).cloned();
        let present = self.final_folder().join(&transfer.remote.name);
        match known {
            // A part that lies there already is another run's, and whole or not is found out where it is checked.
            Some(known) if std::fs::hard_link(&present, &transfer.part).is_ok() => {
                transfer.done_bytes.fetch_add(known.size, std::sync::atomic::Ordering::Relaxed);
                Ok(known)
            }
            _ => transfer.run().await,
        }
    }

    /// Writes down what the present files are, if that has changed.
    pub fn note(&self, record: DownloadRecord) -> Result<(), FetchError> {
        let folder = self.final_folder();
        if self.record().as_ref() == Some(&record) {
            return Ok(());
        }
        record.write(&folder).map_err(FetchError::disk(&folder))
    }

    /// Puts the gathered files into the place of the present ones.
    pub fn take_over(&self, record: &DownloadRecord) -> Result<(), FetchError> {
        let (folder, old, target) = (self.folder(), self.old_folder(), self.final_folder());
        self.refuse_others()?;
        record.write(&folder).map_err(FetchError::disk(&folder))?;
        for (name, file) in &record.files {
            let target = folder.join(name);
            std::fs::rename(part_of(&target, &file.oid), &target).map_err(FetchError::disk(&target))?;
        }
        match std::fs::rename(&target, &old) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(FetchError::disk(&target)(error)),
            _ => {}
        }
        std::fs::rename(&folder, &target).map_err(FetchError::disk(&target))?;
        remove_folder(&old)
    }
}

/// Puts a folder back that a process took away and did not replace before it ended. Looks only where nobody is at work, and does
/// nothing where nothing can be done.
pub(in crate::models) fn mend(root: &Path, name: &str) {
    let staging = Staging { root: root.to_owned(), name: name.to_owned() };
    if !staging.old_folder().exists() || staging.final_folder().exists() {
        return;
    }
    if let Ok(Some(_lock)) = try_lock(&staging.lock_file())
        && let Err(error) = staging.recover()
    {
        tracing::warn!(model = name, %error, "an update that was broken off cannot be taken back");
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
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
        let (repository, revision) = ("a/b".to_owned(), None);
        DownloadRecord { repository, revision, commit: commit.to_owned(), files: Default::default() }
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
    fn a_look_puts_the_old_one_back_unless_somebody_is_at_work() {
        let (root, staging) = staging();
        std::fs::create_dir(staging.old_folder()).unwrap();
        record("old").write(&staging.old_folder()).unwrap();
        let lock = try_lock(&staging.lock_file()).unwrap();
        mend(root.path(), "model");
        assert!(!staging.final_folder().exists());
        drop(lock);
        mend(root.path(), "model");
        assert_eq!(staging.record().unwrap().commit, "old");
        assert!(!staging.old_folder().exists());
    }

    #[test]
    fn only_downloads_are_replaced() {
        let (_root, staging) = staging();
        assert_eq!(staging.refuse_others(), Ok(()));
        std::fs::create_dir(staging.final_folder()).unwrap();
        assert_eq!(staging.refuse_others(), Ok(()), "an empty folder is nobody's");
        std::fs::write(staging.final_folder().join("config.json"), "{}").unwrap();
        std::fs::create_dir(staging.folder()).unwrap();
        for refused in [staging.refuse_others(), staging.take_over(&record("new"))] {
            assert!(matches!(refused, Err(FetchError::NotOurs { .. })), "{refused:?}");
        }
        record("old").write(&staging.final_folder()).unwrap();
        assert_eq!(staging.refuse_others(), Ok(()));
        std::fs::rename(staging.final_folder(), staging.old_folder()).unwrap();
        std::os::unix::fs::symlink(staging.old_folder(), staging.final_folder()).unwrap();
        assert!(staging.refuse_others().is_err(), "a link leads to somebody else's place");
    }

    #[test]
    fn names_that_were_given_too_early_are_taken_back() {
        let (_root, staging) = staging();
        std::fs::create_dir(staging.folder()).unwrap();
        let file = |name: &str, oid: &str| RemoteFile {
            name: name.to_owned(),
            size: 2,
            oid: oid.to_owned(),
            sha256: None,
            git_sha1: None,
        };
        let known = |oid: &str| FileRecord { size: 2, oid: oid.to_owned(), sha256: String::new() };
        let mut written = record("new");
        written.files = [("a".to_owned(), known("1")), ("b".to_owned(), known("2"))].into();
        written.write(&staging.folder()).unwrap();
        for name in ["a", "b"] {
            std::fs::write(staging.folder().join(name), "{}").unwrap();
        }
        let listing = Listing { commit: "new".to_owned(), files: vec![file("a", "1"), file("b", "3")] };
        staging.prepare(&listing, None).unwrap();
        let left: Vec<_> = std::fs::read_dir(staging.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [staging.part(&file("a", "1"))], "of another state nothing is kept");
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
