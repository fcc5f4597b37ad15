//! Secrets of the environment, which no line may hold.

use std::borrow::Cow;

/// Variables that hold one, in all their spellings.
const VARIABLES: [&str; 10] = [
    "API_TOKEN",
    "_SPAWN_API_TOKEN",
    "AGENT_TOKEN",
    "HF_TOKEN",
    "context.spawnApiToken",
    "CONTEXT_SPAWNAPITOKEN",
    "context.apiToken",
    "CONTEXT_APITOKEN",
    "modal.state.slyApiToken",
    "MODAL_STATE_SLYAPITOKEN",
];
/// Shorter ones are left alone: they would stand in any text.
const MIN_CHARS: usize = 6;
/// What is written in their place.
const MASK: &str = "***";

/// What must not be told.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Those of the environment.
    pub fn from_env() -> Self {
        Self::of(VARIABLES.iter().filter_map(|name| std::env::var(name).ok()))
    }

    fn of(values: impl Iterator<Item = String>) -> Self {
        let mut secrets: Vec<String> =
            values.map(|value| value.trim().to_owned()).filter(|value| value.chars().count() >= MIN_CHARS).collect();
        // The longest first, so that no part of one is left over.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// The text without them.
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let found = self.0.iter().filter(|secret| text.contains(secret.as_str()));
        found.fold(Cow::Borrowed(text), |text, secret| Cow::Owned(text.replace(secret.as_str(), MASK)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_whole_and_wherever_they_stand() {
        let secrets = Secrets::of(["secret-token", "secret-token-2", "abc"].map(str::to_owned).into_iter());
        assert_eq!(secrets.hide("at /net/secret-token-2/x, secret-token!"), "at /net/***/x, ***!");
        assert_eq!(secrets.hide("abc"), "abc", "too short to be one");
        assert!(matches!(secrets.hide("nothing"), Cow::Borrowed(_)));
    }
}
