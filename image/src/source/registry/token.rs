//! A token for several repositories of a registry (distribution-spec's "token authentication"), which
//! oci-client does not ask for: to mount a blob of one into another takes one for both.

use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use reqwest::header::WWW_AUTHENTICATE;
use serde::Deserialize;

/// What the registry asks of those who have no token.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "access_token")]
    token: String,
}

/// A token with these scopes, such as `repository:a/b:pull`. `None`: the registry at `url` takes none, or
/// wants the credentials in plain where it is asked over HTTPS itself.
pub(super) async fn get(
    http: &reqwest::Client,
    url: &str,
    scopes: &[String],
    auth: &RegistryAuth,
) -> Result<Option<String>, OciDistributionError> {
    let answer = http.get(format!("{url}/v2/")).send().await?;
    let header = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    let Some(challenge) = header.and_then(parse) else { return Ok(None) };
    if url.starts_with("https:") && !challenge.realm.starts_with("https:") {
        return Ok(None);
    }
    let service = challenge.service.iter().map(|service| ("service", service.as_str()));
    let query: Vec<_> = service.chain(scopes.iter().map(|scope| ("scope", scope.as_str()))).collect();
    let request = http.get(&challenge.realm).query(&query);
    let request = match auth {
        RegistryAuth::Basic(user, password) => request.basic_auth(user, Some(password)),
        RegistryAuth::Bearer(token) => request.bearer_auth(token),
        RegistryAuth::Anonymous => request,
    };
    let text = request.send().await?.error_for_status()?.bytes().await?;
    Ok(serde_json::from_slice::<Answer>(&text).ok().map(|answer| answer.token))
}

/// `Bearer realm="…",service="…"` (RFC 9110, section 11.6.1). `None` for another scheme.
fn parse(header: &str) -> Option<Challenge> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_once(',').unwrap_or((value, "")),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Some(Challenge { realm: realm?, service })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_parsed() {
        let parsed = |text| parse(text).map(|challenge| (challenge.realm, challenge.service));
        let wanted = Some(("https://a.b/t?x=1,2".to_owned(), Some("r".to_owned())));
        assert_eq!(parsed("Bearer realm=\"https://a.b/t?x=1,2\",service=\"r\",scope=\"a:b:c\""), wanted);
        assert_eq!(parsed("bearer service=r, realm=\"https://a.b/t?x=1,2\""), wanted);
        for other in ["Basic realm=\"x\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x"] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}
