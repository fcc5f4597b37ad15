//! Files that were fetched, kept on disk for a while.
//!
//! Each is an anonymous file: it has no name that anybody could guess, read or overwrite, and it is gone with the process,
//! however that ends. Entries leave when they have not been used for long, or when there are too many, or too many bytes.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much is kept, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCacheSettings {
    /// Folder on the disk that holds the files; they do not show in it.
    pub folder: PathBuf,
    /// Most files.
    pub max_files: usize,
    /// Most bytes of all files.
    pub max_bytes: u64,
    /// How long a file is kept after its last use.
    pub lifetime: Duration,
}

/// Files by what they are the content of.
#[derive(Debug)]
pub struct FileCache<K> {
    settings: FileCacheSettings,
    entries: Mutex<Entries<K>>,
}

/// A file in the cache, readable even after it has left.
#[derive(Debug, Clone)]
pub struct CachedFile {
    file: Arc<File>,
    length: u64,
}

#[derive(Debug)]
struct Entries<K> {
    by_key: HashMap<K, Entry>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    file: CachedFile,
    last_used: Instant,
}

impl CachedFile {
    /// The whole content.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        read_exact_at(&self.file, &mut bytes)?;
        Ok(bytes)
    }

    /// The file itself. Its position is nobody's: read at offsets, or through a handle of your own.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Its length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }
}

impl<K: Eq + Hash + Clone> FileCache<K> {
    /// An empty cache.
    pub fn new(settings: FileCacheSettings) -> Self {
        Self { settings, entries: Mutex::new(Entries { by_key: HashMap::new(), bytes: 0 }) }
    }

    /// A new file in the cache's folder, to be filled and then put in by [`Self::insert`].
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn create(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.settings.folder)
    }

    /// The file of this key, if it is there; it then counts as used.
    pub fn get(&self, key: &K) -> Option<CachedFile> {
        let mut entries = self.lock();
        entries.expire(self.settings.lifetime);
        let entry = entries.by_key.get_mut(key)?;
        entry.last_used = Instant::now();
        Some(entry.file.clone())
    }

    /// Keeps a file that was filled. One that is larger than the whole cache is only handed back.
    ///
    /// # Errors
    /// Its length cannot be told.
    pub fn insert(&self, key: K, file: Arc<File>) -> io::Result<CachedFile> {
        let length = file.metadata()?.len();
        let cached = CachedFile { file, length };
        if length > self.settings.max_bytes {
            return Ok(cached);
        }
        let mut entries = self.lock();
        entries.expire(self.settings.lifetime);
        entries.remove(&key);
        while entries.by_key.len() >= self.settings.max_files.max(1) || entries.bytes + length > self.settings.max_bytes
        {
            if !entries.remove_oldest() {
                break;
            }
        }
        entries.bytes += length;
        entries.by_key.insert(key, Entry { file: cached.clone(), last_used: Instant::now() });
        Ok(cached)
    }

    /// Keeps these bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn insert_bytes(&self, key: K, bytes: &[u8]) -> io::Result<CachedFile> {
        let mut file = self.create()?;
        io::Write::write_all(&mut file, bytes)?;
        self.insert(key, Arc::new(file))
    }

    /// Files and bytes that are kept.
    pub fn held(&self) -> (usize, u64) {
        let entries = self.lock();
        (entries.by_key.len(), entries.bytes)
    }

    /// A panic cannot leave the entries half changed in a way that matters, so a poisoned lock is taken.
    fn lock(&self) -> MutexGuard<'_, Entries<K>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Entries<K> {
    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.by_key.remove(key) {
            self.bytes -= entry.file.length;
        }
    }

    /// There are a few hundred entries at most, so they are simply searched.
    fn remove_oldest(&mut self) -> bool {
        let oldest = self.by_key.iter().min_by_key(|(_, entry)| entry.last_used).map(|(key, _)| key.clone());
        oldest.map(|key| self.remove(&key)).is_some()
    }

    fn expire(&mut self, lifetime: Duration) {
        let now = Instant::now();
        let bytes = &mut self.bytes;
        self.by_key.retain(|_, entry| {
            let stays = now.duration_since(entry.last_used) <= lifetime;
            if !stays {
                *bytes -= entry.file.length;
            }
            stays
        });
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, 0)
}

#[cfg(not(unix))]
fn read_exact_at(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    use io::{Read, Seek};
    let mut file = file.try_clone()?;
    file.rewind()?;
    file.read_exact(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(max_files: usize, max_bytes: u64) -> (FileCache<u32>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let settings = FileCacheSettings {
            folder: folder.path().to_owned(),
            max_files,
            max_bytes,
            lifetime: Duration::from_secs(60),
        };
        (FileCache::new(settings), folder)
    }

    fn content(cache: &FileCache<u32>, key: u32) -> Option<Vec<u8>> {
        cache.get(&key).map(|file| file.read().unwrap())
    }

    #[test]
    fn what_was_used_longest_ago_leaves_first() {
        let (cache, _folder) = cache(2, 1000);
        cache.insert_bytes(1, b"one").unwrap();
        cache.insert_bytes(2, b"two").unwrap();
        assert_eq!(content(&cache, 1).as_deref(), Some(&b"one"[..]));
        cache.insert_bytes(3, b"three").unwrap();
        assert_eq!(
            (content(&cache, 1).is_some(), content(&cache, 2), content(&cache, 3).is_some()),
            (true, None, true)
        );
        cache.insert_bytes(3, b"3").unwrap();
        assert_eq!(cache.held(), (2, 4));
    }

    #[test]
    fn bytes_are_bounded() {
        let (cache, _folder) = cache(10, 10);
        cache.insert_bytes(1, &[1; 6]).unwrap();
        cache.insert_bytes(2, &[2; 6]).unwrap();
        assert_eq!((content(&cache, 1), cache.held()), (None, (1, 6)));
        let large = cache.insert_bytes(3, &[3; 11]).unwrap();
        assert_eq!((large.read().unwrap().len(), content(&cache, 3), cache.held()), (11, None, (1, 6)));
    }

    #[test]
    fn files_expire_and_leave_nothing_in_the_folder() {
        let (mut cache, folder) = cache(10, 1000);
        let held = cache.insert_bytes(1, b"one").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        cache.settings.lifetime = Duration::ZERO;
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!((content(&cache, 1), cache.held()), (None, (0, 0)));
        assert_eq!(held.read().unwrap(), b"one");
    }
}
