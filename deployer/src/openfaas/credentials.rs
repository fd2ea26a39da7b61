//! Who the gateway takes this command for. Credentials are looked up each time
//! and never written anywhere.

use super::{GatewayError, GatewayUrl};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// The user of a new gateway.
const DEFAULT_USER: &str = "admin";

/// A user and a password. Printing it shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// `config.yml` of faas-cli (`faas-cli/config/config_file.go`).
#[derive(Default, Deserialize)]
struct FaasCliConfig {
    #[serde(default)]
    auths: Vec<FaasCliAuth>,
}

#[derive(Deserialize)]
struct FaasCliAuth {
    #[serde(default)]
    gateway: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    token: String,
}

impl Credentials {
    /// These.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned() }
    }

    /// The credentials for `gateway`: `password_file` where one is given, else
    /// the environment's, else what faas-cli has stored for that gateway, else
    /// none.
    ///
    /// The environment's are `TRANCHE_OPENFAAS_PASSWORD`,
    /// `TRANCHE_OPENFAAS_PASSWORD_FILE` or `OPENFAAS_PASSWORD`, with the user in
    /// `TRANCHE_OPENFAAS_USERNAME` or `OPENFAAS_USERNAME`, else `admin`.
    /// faas-cli's are in `config.yml` in `$OPENFAAS_CONFIG`, else `~/.openfaas`.
    ///
    /// # Errors
    /// When a file cannot be read or is no such file.
    pub fn find(gateway: &GatewayUrl, password_file: Option<&Path>) -> Result<Option<Self>, GatewayError> {
        Self::find_in(gateway, password_file, |name| std::env::var(name).ok())
    }

    fn find_in(
        gateway: &GatewayUrl,
        password_file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, GatewayError> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let user = set("TRANCHE_OPENFAAS_USERNAME").or_else(|| set("OPENFAAS_USERNAME"));
        let user = user.unwrap_or_else(|| DEFAULT_USER.to_owned());
        if let Some(file) = password_file {
            return Ok(Some(Self { user, password: read_password(file)? }));
        }
        if let Some(password) = set("TRANCHE_OPENFAAS_PASSWORD") {
            return Ok(Some(Self { user, password }));
        }
        if let Some(file) = set("TRANCHE_OPENFAAS_PASSWORD_FILE") {
            return Ok(Some(Self { user, password: read_password(Path::new(&file))? }));
        }
        if let Some(password) = set("OPENFAAS_PASSWORD") {
            return Ok(Some(Self { user, password }));
        }
        let folder = set("OPENFAAS_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| set("HOME").map(|home| Path::new(&home).join(".openfaas")));
        folder.map_or(Ok(None), |folder| from_faas_cli(&folder.join("config.yml"), gateway))
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn sign(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.basic_auth(&self.user, Some(&self.password))
    }
}

fn read_password(path: &Path) -> Result<String, GatewayError> {
    let fail = |reason: String| GatewayError::Credentials { origin: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() { Err(fail("it is empty".to_owned())) } else { Ok(password.to_owned()) }
}

fn from_faas_cli(path: &Path, gateway: &GatewayUrl) -> Result<Option<Credentials>, GatewayError> {
    // Parsers quote what they cannot read, and that may be a password: their words are dropped.
    let fail = |reason: &str| GatewayError::Credentials {
        origin: path.display().to_string(),
        reason: reason.to_owned(),
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => return Ok(None),
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(&error.to_string())),
    };
    let config: FaasCliConfig =
        serde_saphyr::from_str(&text).map_err(|_| fail("it is not what faas-cli writes"))?;
    let same = |entry: &&FaasCliAuth| GatewayUrl::parse(&entry.gateway).is_ok_and(|url| url == *gateway);
    let Some(entry) = config.auths.iter().find(same).filter(|entry| entry.auth == "basic") else {
        return Ok(None);
    };
    let wrong = || fail("its token is not the base64 of `user:password`");
    let decoded = STANDARD.decode(entry.token.trim()).map_err(|_| wrong())?;
    let decoded = String::from_utf8(decoded).map_err(|_| wrong())?;
    let (user, password) = decoded.split_once(':').ok_or_else(wrong)?;
    Ok(Some(Credentials::new(user, password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "pass:wörd";

    fn gateway() -> GatewayUrl {
        GatewayUrl::parse("http://127.0.0.1:8080").unwrap()
    }

    fn find(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<Option<Credentials>, GatewayError> {
        Credentials::find_in(&gateway(), file, |wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_nearest_source_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "from-file\n").unwrap();
        let named = file.display().to_string();
        let all = [
            ("TRANCHE_OPENFAAS_PASSWORD", "own"),
            ("TRANCHE_OPENFAAS_PASSWORD_FILE", &named),
            ("OPENFAAS_PASSWORD", "general"),
            ("OPENFAAS_USERNAME", "someone"),
        ];
        let found = |result: Result<Option<Credentials>, _>| {
            result.unwrap().map(|found| (found.user, found.password))
        };
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(found(find(Some(&file), &all)), pair("someone", "from-file"));
        assert_eq!(found(find(None, &all)), pair("someone", "own"));
        assert_eq!(found(find(None, &all[1..])), pair("someone", "from-file"));
        assert_eq!(found(find(None, &all[2..])), pair("someone", "general"));
        assert_eq!(found(find(None, &all[2..3])), pair("admin", "general"));
        assert_eq!(found(find(None, &[])), None);
        let missing = find(Some(Path::new("/nowhere")), &all).unwrap_err();
        assert!(missing.to_string().contains("/nowhere"), "{missing}");
    }

    fn with_config(text: &str) -> Result<Option<Credentials>, GatewayError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.yml"), text).unwrap();
        find(None, &[("OPENFAAS_CONFIG", &folder.path().display().to_string())])
    }

    #[test]
    fn what_faas_cli_stored_is_used() {
        let token = STANDARD.encode(format!("admin:{SECRET}"));
        let entry = |gateway: &str, auth: &str, token: &str| {
            format!(
                "auths:\n- gateway: http://other:8080\n  auth: basic\n  token: eA==\n- gateway: {gateway}\n  auth: {auth}\n  token: {token}\n  options: []\n"
            )
        };
        let found = with_config(&entry("http://127.0.0.1:8080/", "basic", &token)).unwrap();
        assert_eq!(found, Some(Credentials::new("admin", SECRET)));
        assert_eq!(with_config(&entry("http://elsewhere", "basic", &token)), Ok(None));
        assert_eq!(with_config(&entry("http://127.0.0.1:8080", "oauth2", &token)), Ok(None));
        assert_eq!(with_config(""), Ok(None));
        for broken in [
            entry("http://127.0.0.1:8080", "basic", "c2VjcmV0"),
            "auths: secret".to_owned(),
            "secret: [".to_owned(),
        ] {
            let error = with_config(&broken).err().map(|error| format!("{error} {error:?}"));
            assert!(error.is_none_or(|text| !text.contains("secret") && !text.contains("c2Vj")), "{broken}");
        }
    }

    #[test]
    fn printing_shows_no_password() {
        let credentials = Credentials::new("admin", SECRET);
        assert_eq!(format!("{credentials:?}"), r#"Credentials { user: "admin", .. }"#);
    }
}
