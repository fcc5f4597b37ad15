//! Memory stays with the process while it works, and goes back to the system afterwards.

/// From which size on the allocator asks the system for each block, and gives it back at once: beyond anything we ask for.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_MAPPING_BYTES: libc::c_int = 1 << 30;

/// Has freed memory kept for the next operation. The model's large results come and go many times a second; taken from the system
/// anew each time, their first touch alone would cost a tenth of the vision tower's time. To be called before threads start.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: these calls take no pointers, and no other thread runs yet.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            // Arenas of further threads have no room for blocks of this size.
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// Gives back what the allocator keeps for later. Weights are pieces of many sizes, freed by other threads than took them, so
/// without this gigabytes of them would stay with the process.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it takes no pointer, and may be called by any thread at any time.
        unsafe { libc::malloc_trim(0) };
    }
}
