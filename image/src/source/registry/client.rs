//! One place of a registry over HTTP, by oci-client.

use super::credentials::Credentials;
use super::registries_conf::Endpoint;
use super::token;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::Mutex;

/// A peer that sends nothing, or takes nothing, for this long is given up.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("firn-image/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a request is made that fails for a reason that may pass.
pub(crate) const TRIES: u32 = 4;
/// Media types of manifests and indexes, the registry's choice.
pub(crate) const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Pull,
    Push,
}

/// A connection to one place, for one image.
pub(crate) struct Session {
    pub(crate) client: oci_client::Client,
    how: How,
    /// Clients with a token for another repository as well, by its name.
    for_both: Mutex<BTreeMap<String, oci_client::Client>>,
    pub(crate) image: Reference,
    pub(crate) auth: RegistryAuth,
}

impl Session {
    /// Plain HTTP with `is_plain`. Nothing is sent yet. Errors: no trusted certificates can be read.
    pub(crate) fn new(
        endpoint: &Endpoint,
        name: &Reference,
        credentials: Option<Credentials>,
        is_plain: bool,
        purpose: Purpose,
    ) -> Result<Self, OciDistributionError> {
        let (registry, repository) = (endpoint.registry.clone(), endpoint.repository.clone());
        let image = match (name.tag(), name.digest()) {
            (_, Some(digest)) => Reference::with_digest(registry, repository, digest.to_owned()),
            (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned()),
        };
        let how = How { is_plain, is_insecure: endpoint.insecure, purpose };
        let auth = match credentials {
            Some(Credentials { user, password }) => RegistryAuth::Basic(user, password),
            None => RegistryAuth::Anonymous,
        };
        // Of several providers in the process none is the default one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = how.client()?;
        Ok(Self { client, how, for_both: Mutex::default(), image, auth })
    }

    /// A client that may take blobs of `repository` for the image's: with a token for both, if the registry
    /// has tokens.
    pub(super) async fn client_for(&self, repository: &str) -> Result<oci_client::Client, OciDistributionError> {
        let mut known = self.for_both.lock().await;
        if let Some(client) = known.get(repository) {
            return Ok(client.clone());
        }
        let scheme = if self.how.is_plain { "http" } else { "https" };
        let url = format!("{scheme}://{}", self.image.resolve_registry());
        let scopes =
            [format!("repository:{}:pull,push", self.image.repository()), format!("repository:{repository}:pull")];
        let http = reqwest::Client::builder()
            .danger_accept_invalid_certs(self.how.is_insecure)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(READ_TIMEOUT)
            .build()?;
        let client = match token::get(&http, &url, &scopes, &self.auth).await? {
            None => self.client.clone(),
            Some(token) => {
                let client = self.how.client()?;
                client.auth(&self.image, &RegistryAuth::Bearer(token), RegistryOperation::Push).await?;
                client
            }
        };
        known.insert(repository.to_owned(), client.clone());
        Ok(client)
    }
}

/// How a place is spoken with.
#[derive(Debug, Clone, Copy)]
struct How {
    is_plain: bool,
    is_insecure: bool,
    purpose: Purpose,
}

impl How {
    fn client(self) -> Result<oci_client::Client, OciDistributionError> {
        let config = ClientConfig {
            protocol: if self.is_plain { ClientProtocol::Http } else { ClientProtocol::Https },
            accept_invalid_certificates: self.is_insecure,
            // It would end a request that sends for longer than that, and so has no answer yet.
            read_timeout: (self.purpose == Purpose::Pull).then_some(READ_TIMEOUT),
            connect_timeout: Some(CONNECT_TIMEOUT),
            use_monolithic_push: true,
            user_agent: USER_AGENT,
            https_proxy: environment("https_proxy"),
            http_proxy: environment("http_proxy"),
            no_proxy: environment("no_proxy"),
            ..ClientConfig::default()
        };
        oci_client::Client::try_from(config)
    }
}

/// A variable that has its name in either case (curl(1), "ENVIRONMENT").
fn environment(name: &str) -> Option<String> {
    let value = std::env::var(name).or_else(|_| std::env::var(name.to_uppercase()));
    value.ok().filter(|value| !value.is_empty())
}

/// Whether to speak plain HTTP with a place: in which order HTTP and HTTPS are tried.
pub(crate) fn schemes(endpoint: &Endpoint) -> &'static [bool] {
    match (is_loopback(&endpoint.registry), endpoint.insecure) {
        (true, _) => &[true, false],
        (false, true) => &[false, true],
        (false, false) => &[false],
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a request may succeed when it is made again: the connection failed, or the server has too
/// much to do.
pub(crate) fn may_pass(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(error) => match error.status() {
            Some(status) => status.as_u16() == 429 || status.is_server_error(),
            None => !error.is_builder() && !error.is_redirect(),
        },
        OciDistributionError::IoError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code == 429 || *code >= 500,
        _ => false,
    }
}

/// Whether no registry has answered, so that it may be one that speaks the other scheme.
pub(crate) fn is_unanswered(error: &OciDistributionError) -> bool {
    matches!(error, OciDistributionError::RequestError(error) if error.is_connect() || error.is_request())
}

/// Whether a server of HTTPS has refused a request in plain, as Go's and nginx do.
pub(crate) fn wants_tls(error: &OciDistributionError, is_plain: bool) -> bool {
    let status = match error {
        OciDistributionError::ServerError { code, .. } => Some(*code),
        OciDistributionError::RequestError(error) => error.status().map(|status| status.as_u16()),
        _ => None,
    };
    is_plain && status == Some(400)
}

/// Makes a request, and again while it fails for a reason that may pass, at most [`TRIES`] times.
pub(crate) async fn retried<T>(
    request: impl AsyncFn() -> Result<T, OciDistributionError>,
) -> Result<T, OciDistributionError> {
    let mut tries = 0;
    loop {
        match request().await {
            Err(error) if may_pass(&error) && tries + 1 < TRIES => {
                pause(tries).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Waits before try number `tries`, longer each time.
pub(crate) async fn pause(tries: u32) {
    tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(tries)).await;
}

/// An error for people: what the registry answered, or why the connection failed.
pub(crate) fn describe(error: &OciDistributionError) -> String {
    match error {
        OciDistributionError::RegistryError { envelope, .. } => {
            let answers: Vec<_> = envelope.errors.iter().map(|error| error.message.as_str()).collect();
            return format!("the registry answers: {}", answers.join(", "));
        }
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::ServerError { code: 401, .. }
        | OciDistributionError::AuthenticationFailure(_) => {
            return "the registry wants other credentials: log in, as by `podman login`".into();
        }
        OciDistributionError::ServerError { code, message, .. } => {
            return format!("the registry answers with status {code}: {message}");
        }
        _ => {}
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(reason) = source {
        let reason_text = reason.to_string();
        if !text.contains(&reason_text) {
            text = format!("{text}: {reason_text}");
        }
        source = reason.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_insecure_places_are_asked_in_plain() {
        let schemes = |registry: &str, insecure| {
            schemes(&Endpoint { registry: registry.into(), repository: "x".into(), insecure })
        };
        for loopback in ["localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000"] {
            assert_eq!(schemes(loopback, false), [true, false], "{loopback}");
        }
        for other in ["docker.io", "localhost.example", "128.0.0.1:5000", "[::2]:5000"] {
            assert_eq!(schemes(other, false), [false], "{other}");
            assert_eq!(schemes(other, true), [false, true], "{other}");
        }
    }
}
