//! Memory of a model that has left goes back to the system.

/// Gives back what the allocator keeps for later. Weights are pieces of many sizes, freed by other threads than took them, so
/// without this gigabytes of them would stay with the process.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it takes no pointer, and may be called by any thread at any time.
        unsafe { libc::malloc_trim(0) };
    }
}
