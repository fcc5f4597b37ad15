//! How much is said.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The platform's variables for how much is said, the first that is set counts.
const LEVEL_VARIABLES: [&str; 2] = ["LOG_LEVEL", "LOGLEVEL"];

/// What our own code calls itself.
pub(super) const OWN_TARGET: &str = "serve_florence_2";

/// What passes by the variables of the environment.
pub(super) fn filter_from_env() -> Targets {
    let set = LEVEL_VARIABLES.iter().find_map(|name| std::env::var(name).ok().filter(|level| !level.is_empty()));
    filter(level(set.as_deref().unwrap_or_default()))
}

/// Other crates are heard where they warn; what else they say is of use only to whoever looks for a fault.
fn filter(level: LevelFilter) -> Targets {
    let others = if level >= LevelFilter::DEBUG { level } else { level.min(LevelFilter::WARN) };
    Targets::new().with_default(others).with_target(OWN_TARGET, level)
}

/// The level of this name, in any case; `info` for one that nobody knows. Python's names and the platform's are known.
fn level(name: &str) -> LevelFilter {
    match name.trim().to_ascii_lowercase().as_str() {
        "trace" | "notset" | "all" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "warn" | "warning" => LevelFilter::WARN,
        // Whatever is said of an end is an error.
        "error" | "fatal" | "critical" => LevelFilter::ERROR,
        "off" => LevelFilter::OFF,
        _ => LevelFilter::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn the_platforms_names_are_known_in_any_case() {
        for (name, expected) in [
            ("", LevelFilter::INFO),
            ("Info", LevelFilter::INFO),
            ("WARNING", LevelFilter::WARN),
            ("warn", LevelFilter::WARN),
            ("FATAL", LevelFilter::ERROR),
            ("critical", LevelFilter::ERROR),
            ("Trace", LevelFilter::TRACE),
            (" debug ", LevelFilter::DEBUG),
            ("loud", LevelFilter::INFO),
        ] {
            assert_eq!(level(name), expected, "{name}");
        }
    }

    #[test]
    fn other_crates_are_heard_where_they_warn_unless_a_fault_is_looked_for() {
        let hears = |name: &str, target: &str, at: Level| filter(level(name)).would_enable(target, &at);
        assert!(hears("info", "serve_florence_2::engine", Level::INFO));
        assert!(!hears("info", "serve_florence_2::engine", Level::DEBUG));
        assert!(!hears("info", "hyper", Level::INFO) && hears("info", "hyper", Level::WARN));
        assert!(!hears("error", "hyper", Level::WARN) && hears("error", "hyper", Level::ERROR));
        assert!(hears("debug", "hyper", Level::DEBUG));
    }
}
