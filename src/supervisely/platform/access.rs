//! Which platform is asked, and with whose token.

use std::fmt;
use std::sync::Arc;

use super::error::PlatformError;
use super::retry::Retries;
use super::transport::{Platform, Transport};

/// Where the platform's methods lie below its address.
const API_PATH: &str = "/public/api";

/// A token of the platform. It is shown to nobody.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

impl Token {
    /// Wraps a token; an empty one is none.
    pub fn new(token: impl Into<String>) -> Option<Self> {
        Some(token.into()).filter(|token| !token.is_empty()).map(Self)
    }

    /// The token itself, for the header that carries it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// The address of a platform, such as `https://app.supervisely.com`, in the one way to write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address(String);

impl Address {
    /// Reads an address as environments and callers write it: `http://` is added where there is no scheme, slashes at the
    /// end go. `None` for what is no address of a server.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = reqwest::Url::parse(&with_scheme).ok()?;
        let is_server = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
        let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        (is_server && is_plain).then(|| Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// As text without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is known about platforms beforehand.
#[derive(Debug, Clone, Default)]
pub struct PlatformSettings {
    /// The platform that runs us: `SERVER_ADDRESS`.
    pub home: Option<Address>,
    /// Our own token there: `API_TOKEN`.
    pub token: Option<Token>,
    /// Where its methods lie if not below its address: `SUPERVISELY_API_SERVER_ADDRESS`.
    pub api: Option<Address>,
    /// Further platforms that a request may name.
    pub allowed: Vec<Address>,
    /// The platform's number for us, sent along: `SUPERVISELY_TASK_ID`.
    pub task_id: Option<String>,
    /// How failed calls are repeated.
    pub retries: Retries,
}

impl PlatformSettings {
    /// What the environment says. An empty variable counts as unset.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// What these variables say.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let address = |name| variable(name).as_deref().and_then(Address::parse);
        Self {
            home: address("SERVER_ADDRESS"),
            token: variable("API_TOKEN").and_then(Token::new),
            api: address("SUPERVISELY_API_SERVER_ADDRESS"),
            allowed: Vec::new(),
            task_id: variable("SUPERVISELY_TASK_ID"),
            retries: Retries::from_variables(variable),
        }
    }
}

/// Makes the platform's clients for requests.
#[derive(Debug, Clone)]
pub struct PlatformAccess {
    settings: PlatformSettings,
    transport: Transport,
}

impl PlatformAccess {
    /// Access as these settings allow it.
    pub fn new(settings: PlatformSettings) -> Self {
        let transport = Transport::new(settings.retries, settings.task_id.clone());
        Self { settings, transport }
    }

    /// The client for a request that named this token and this address, or neither.
    ///
    /// An address that is not allowed is as good as none: platforms know themselves by more than one, and what the caller
    /// names may be its public one.
    ///
    /// # Errors
    /// There is no platform, or no token.
    pub fn client(&self, token: Option<Token>, address: Option<&str>) -> Result<Platform, PlatformError> {
        let named = address.and_then(Address::parse);
        let foreign = named.filter(|named| self.settings.allowed.contains(named));
        let is_home = foreign.is_none() || foreign == self.settings.home;
        let address = foreign.or_else(|| self.settings.home.clone()).ok_or(PlatformError::NoAddress)?;
        // Our own token is for our own platform.
        let own = self.settings.token.clone().filter(|_| is_home);
        let token = token.or(own).ok_or(PlatformError::NoToken)?;
        let api = match self.settings.api.clone().filter(|_| is_home) {
            Some(api) => api.as_str().to_owned(),
            None => format!("{address}{API_PATH}"),
        };
        Ok(Platform::new(self.transport.clone(), Arc::new(address), api, token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allowed: &[&str]) -> PlatformAccess {
        let allowed = allowed.iter().filter_map(|address| Address::parse(address)).collect();
        let home = Address::parse("https://platform.test/");
        PlatformAccess::new(PlatformSettings { home, token: Token::new("own"), allowed, ..Default::default() })
    }

    fn used(access: &PlatformAccess, token: Option<&str>, address: Option<&str>) -> (String, String) {
        let client = access.client(token.and_then(Token::new), address).unwrap();
        (client.address().to_string(), client.token().expose().to_owned())
    }

    #[test]
    fn addresses_have_one_spelling() {
        let parsed = |text| Address::parse(text).map(|address| address.to_string());
        for text in ["Platform.test", "http://platform.test/", " http://platform.test:80// "] {
            assert_eq!(parsed(text).as_deref(), Some("http://platform.test"), "{text}");
        }
        assert_eq!(parsed("https://a.test:8443/x/").as_deref(), Some("https://a.test:8443/x"));
        for text in ["", "ftp://a.test", "http://user:secret@a.test", "file:///etc", "http://a.test?x=1", "http://"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn a_body_never_sends_a_token_elsewhere() {
        let access = access(&[]);
        let home = "https://platform.test".to_owned();
        for address in [None, Some("http://evil.test"), Some("https://platform.test.evil.test"), Some("nonsense:")] {
            assert_eq!(used(&access, None, address), (home.clone(), "own".to_owned()), "{address:?}");
            assert_eq!(used(&access, Some("theirs"), address), (home.clone(), "theirs".to_owned()), "{address:?}");
        }
    }

    #[test]
    fn an_allowed_address_gets_the_callers_token_and_never_ours() {
        let access = access(&["http://other.test"]);
        let other = ("http://other.test".to_owned(), "theirs".to_owned());
        assert_eq!(used(&access, Some("theirs"), Some("other.test/")), other);
        assert_eq!(access.client(None, Some("http://other.test")).unwrap_err(), PlatformError::NoToken);
    }

    #[test]
    fn without_a_platform_there_is_no_client() {
        let access = PlatformAccess::new(PlatformSettings::default());
        assert_eq!(access.client(Token::new("t"), Some("http://a.test")).unwrap_err(), PlatformError::NoAddress);
    }

    #[test]
    fn tokens_are_not_shown() {
        let access = access(&[]);
        let client = access.client(Token::new("secret"), None).unwrap();
        assert!(!format!("{access:?} {client:?}").contains("secret"));
        assert!(!format!("{access:?}").contains("own"));
    }

    #[test]
    fn the_environment_is_read_and_empty_means_unset() {
        let read = |variables: &[(&str, &str)]| {
            let variables: Vec<(String, String)> =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            PlatformSettings::from_variables(move |name| {
                variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
            })
        };
        let settings = read(&[("SERVER_ADDRESS", "a.test"), ("API_TOKEN", "t"), ("SUPERVISELY_TASK_ID", "7")]);
        assert_eq!(settings.home, Address::parse("http://a.test"));
        assert_eq!((settings.token, settings.task_id.as_deref()), (Token::new("t"), Some("7")));
        let settings = read(&[("SERVER_ADDRESS", ""), ("API_TOKEN", " ")]);
        assert!(settings.home.is_none() && settings.token.is_none());
    }
}
