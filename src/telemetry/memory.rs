//! What the program takes of the machine.

/// Memory that this process holds, in bytes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    read_kib("/proc/self/status", "VmRSS:")
}

/// The most that it ever held.
pub fn peak_resident_bytes() -> Option<u64> {
    read_kib("/proc/self/status", "VmHWM:")
}

/// Memory that the machine has.
pub fn total_memory_bytes() -> Option<u64> {
    read_kib("/proc/meminfo", "MemTotal:")
}

/// Memory of the machine that is not taken.
pub fn available_memory_bytes() -> Option<u64> {
    read_kib("/proc/meminfo", "MemAvailable:")
}

/// Pages of memory that this process has touched for the first time so far.
pub fn page_faults() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything; seven fields stand between it and this one.
    stat.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok()
}

fn read_kib(file: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
