//! Values that must not leave the process, whatever they got into.

/// Variables that hold them.
const VARIABLES: [&str; 9] = [
    "API_TOKEN",
    "_SPAWN_API_TOKEN",
    "context.spawnApiToken",
    "CONTEXT_SPAWNAPITOKEN",
    "context.apiToken",
    "CONTEXT_APITOKEN",
    "AGENT_TOKEN",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
];

/// Shorter values are no secrets: to replace each `1` in the log would make it unreadable.
const MIN_SECRET_CHARS: usize = 8;

/// What stands where a secret stood.
const REPLACEMENT: &str = "***";

/// The secrets of this process, in every form in which text may hold them.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// The secrets that the environment holds.
    pub fn from_env() -> Self {
        Self::new(VARIABLES.iter().filter_map(|name| std::env::var(name).ok()))
    }

    fn new(values: impl IntoIterator<Item = String>) -> Self {
        let is_secret = |value: &String| value.chars().count() >= MIN_SECRET_CHARS;
        let mut needles: Vec<String> = values.into_iter().filter(is_secret).flat_map(|value| forms(&value)).collect();
        // A secret that holds another goes as a whole.
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self(needles)
    }

    /// The text without them.
    pub fn redact(&self, text: String) -> String {
        self.0.iter().fold(text, |text, needle| match text.contains(needle) {
            true => text.replace(needle, REPLACEMENT),
            false => text,
        })
    }
}

/// As it is, as Rust and JSON quote it, and as it looks in an address.
fn forms(secret: &str) -> [String; 4] {
    let quoted = serde_json::to_string(secret).unwrap_or_default();
    let quoted = quoted.trim_matches('"').to_owned();
    let in_address = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    [secret.to_owned(), secret.escape_debug().to_string(), quoted, in_address]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_in_every_form() {
        let secret = r#"pa"ss\wö rd"#;
        let secrets = Secrets::new([secret.to_owned(), "pa\"ss\\wö rd and more".to_owned()]);
        for text in [
            format!("<{secret}>"),
            format!("<{secret} and more>"),
            format!("<{}>", format!("{secret:?}").trim_matches('"')),
            "<pa%22ss%5Cw%C3%B6+rd>".to_owned(),
        ] {
            assert_eq!(secrets.redact(text.clone()), "<***>", "{text}");
        }
    }

    #[test]
    fn short_values_are_no_secrets() {
        let secrets = Secrets::new(["1234567".to_owned(), String::new()]);
        assert_eq!(secrets.redact("1234567".to_owned()), "1234567");
    }
}
