//! How this program connects to others: certificates of private authorities, and proxies.
//!
//! The system's certificates are trusted, or in their place those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, as OpenSSL and all that uses
//! it have it. Instances of the platform with an authority of their own name its bundle in two further variables, whose certificates
//! are trusted beside the others: so does the platform's SDK with the first, while Python's `requests` takes the second in place of
//! its own list, and whoever sets it there loses nothing here. Proxies are those of the usual variables.

use reqwest::{Certificate, ClientBuilder};

/// Variables with a file of further certificates.
const BUNDLE_VARIABLES: [&str; 2] = ["SLY_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"];

/// Variables that others read as the name of a file or folder, also where they are empty.
const CERTIFICATE_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Forgets variables that are there and empty: the platform sets them so where it has nothing to set, and nothing is trusted
/// by whoever takes that for a name. To be called before there is another thread.
pub fn forget_empty_variables() {
    for name in CERTIFICATE_VARIABLES {
        if std::env::var_os(name).is_some_and(|value| value.is_empty()) {
            // SAFETY: the program has one thread so far, so nobody reads the environment meanwhile.
            unsafe { std::env::remove_var(name) };
        }
    }
}

/// A client's beginning.
pub fn client_builder() -> ClientBuilder {
    let builder = ClientBuilder::new().user_agent(concat!("serve-florence-2/", env!("CARGO_PKG_VERSION")));
    let certificates: Vec<Certificate> = BUNDLE_VARIABLES.into_iter().flat_map(read_bundle).collect();
    if certificates.is_empty() { builder } else { builder.tls_certs_merge(certificates) }
}

fn read_bundle(variable: &str) -> Vec<Certificate> {
    let Some(file) = std::env::var_os(variable).filter(|file| !file.is_empty()) else { return vec![] };
    let read = std::fs::read(&file).map_err(|error| error.to_string());
    let parse = |content: Vec<u8>| Certificate::from_pem_bundle(&content).map_err(|error| error.to_string());
    read.and_then(parse).unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), error, "the certificates of {variable} are not used");
        vec![]
    })
}
