//! Docker's `config.json` (docker/cli, "config file properties").

use super::{Credentials, program};
use crate::registry::RegistryError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What docker calls its own registry here, for historical reasons of its own.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    programs: BTreeMap<String, String>,
    creds_store: String,
}

/// No `Debug`: it holds secrets.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// A registry's own program, else the store for all, else what the file itself holds.
pub(super) async fn find(path: &Path, host: &str) -> Result<Credentials, RegistryError> {
    let Some(configuration) = read(path, host)? else { return Ok(Credentials::anonymous()) };
    let server = if host == "docker.io" { DOCKER_HUB_KEY } else { host };
    let own = configuration.programs.get(server).or_else(|| configuration.programs.get(host));
    let shared = Some(&configuration.creds_store).filter(|name| !name.is_empty());
    if let Some(name) = own.or(shared)
        && let Some(credentials) = program::get(name, server).await?
    {
        return Ok(credentials);
    }
    let same = |key: &str| {
        key == server || bare(key) == host || (host == "docker.io" && bare(key) == "index.docker.io")
    };
    // A key that is written exactly so comes before one that only means the same.
    let entry = configuration.auths.get(server).filter(|entry| !entry.is_empty()).or_else(|| {
        configuration.auths.iter().find(|(key, entry)| same(key) && !entry.is_empty()).map(|(_, entry)| entry)
    });
    entry.map_or_else(|| Ok(Credentials::anonymous()), |entry| entry.credentials(host))
}

fn read(path: &Path, host: &str) -> Result<Option<Configuration>, RegistryError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RegistryError::file("read", path)(error)),
    };
    // The parser's message may quote a value; only its place is told.
    serde_json::from_slice(&text).map(Some).map_err(|error| RegistryError::Credentials {
        host: host.to_owned(),
        reason: format!(
            "{} is not docker's configuration (line {}, column {})",
            path.display(),
            error.line(),
            error.column()
        ),
    })
}

/// Older files have URLs for keys.
fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split_once('/').map_or(key, |(host, _)| host)
}

impl Entry {
    /// A login through a program leaves an entry with nothing in it.
    fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.password, &self.identitytoken].iter().all(|text| text.is_empty())
    }

    fn credentials(&self, host: &str) -> Result<Credentials, RegistryError> {
        if !self.identitytoken.is_empty() {
            return Ok(Credentials::identity_token(&self.identitytoken));
        }
        if self.auth.is_empty() {
            return Ok(Credentials::password(&self.username, &self.password));
        }
        let decoded = STANDARD.decode(&self.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let Some((username, password)) = pair else {
            let reason = "`auth` in docker's configuration is not a name and a password in Base64".to_owned();
            return Err(RegistryError::Credentials { host: host.to_owned(), reason });
        };
        // As docker does: some programs pad the password.
        Ok(Credentials::password(username, password.trim_end_matches('\0')))
    }
}
