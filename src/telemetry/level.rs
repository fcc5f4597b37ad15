//! How much is said.

use tracing_subscriber::EnvFilter;

/// The platform's variables for it, both of which it sets.
const VARIABLES: [&str; 2] = ["LOG_LEVEL", "LOGLEVEL"];
/// What is said unless they want it otherwise.
const DEFAULT: &str = "info";
/// Libraries have much to say that helps nobody who runs a server.
const QUIET_LIBRARIES: &str =
    ",hyper=warn,hyper_util=warn,reqwest=warn,h2=warn,hf_hub=warn,rustls=warn,tokenizers=error";

/// The filter that the environment asks for. Words of `tracing` such as `serve_florence_2::engine=debug` are taken as well.
pub(super) fn filter() -> EnvFilter {
    let value =
        VARIABLES.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()));
    EnvFilter::builder().parse_lossy(directives(value.as_deref().unwrap_or(DEFAULT)))
}

fn directives(value: &str) -> String {
    let value = value.trim();
    // The platform has names of its own, in any case.
    let level = match value.to_ascii_lowercase().as_str() {
        "warning" => "warn",
        "fatal" | "critical" => "error",
        level @ ("trace" | "debug" | "info" | "warn" | "error" | "off") => return quiet(level),
        _ if value.contains('=') => return value.to_owned(),
        _ => DEFAULT,
    };
    quiet(level)
}

fn quiet(level: &str) -> String {
    match level {
        "trace" | "off" => level.to_owned(),
        level => format!("{level}{QUIET_LIBRARIES}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_words_are_understood() {
        for (said, meant) in
            [("WARNING", "warn"), ("Info", "info"), ("critical", "error"), ("nonsense", "info"), ("", "info")]
        {
            assert!(directives(said).starts_with(meant), "{said}");
        }
        assert_eq!(directives("trace"), "trace");
        assert_eq!(directives("serve_florence_2=debug"), "serve_florence_2=debug");
    }
}
