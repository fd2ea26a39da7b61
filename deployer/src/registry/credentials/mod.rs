//! Who one is to a registry.
//!
//! Read when needed and never written; [`Credentials`] prints as what it is, not
//! as what it holds.

mod docker;
mod program;

use super::RegistryError;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::path::PathBuf;

/// Environment variable with the account's name.
pub const USERNAME_VARIABLE: &str = "TRANCHE_REGISTRY_USERNAME";
/// Environment variable with the account's password or access token.
pub const PASSWORD_VARIABLE: &str = "TRANCHE_REGISTRY_PASSWORD";

/// What a registry is shown when it asks who pushes.
#[derive(Clone, Default)]
pub struct Credentials(Kind);

#[derive(Clone, Default)]
enum Kind {
    #[default]
    Anonymous,
    Password {
        username: SecretString,
        password: SecretString,
    },
    /// An OAuth2 refresh token, which only a token server takes.
    IdentityToken(SecretString),
}

impl Credentials {
    /// No one.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// An account.
    #[must_use]
    pub fn password(username: &str, password: &str) -> Self {
        Self(Kind::Password { username: username.into(), password: password.into() })
    }

    /// A token that a token server exchanges for others (docker's `identitytoken`).
    #[must_use]
    pub fn identity_token(token: &str) -> Self {
        Self(Kind::IdentityToken(token.into()))
    }

    /// Whether they are no one's.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        matches!(self.0, Kind::Anonymous)
    }

    /// Name and password, where there are some.
    pub(super) fn account(&self) -> Option<(&str, &str)> {
        match &self.0 {
            Kind::Password { username, password } => {
                Some((username.expose_secret(), password.expose_secret()))
            }
            _ => None,
        }
    }

    /// The identity token, where there is one.
    pub(super) fn refresh_token(&self) -> Option<&str> {
        match &self.0 {
            Kind::IdentityToken(token) => Some(token.expose_secret()),
            _ => None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Kind::Anonymous => "Credentials(anonymous)",
            Kind::Password { .. } => "Credentials(password, hidden)",
            Kind::IdentityToken(_) => "Credentials(identity token, hidden)",
        })
    }
}

/// Where credentials come from.
#[derive(Clone, Debug)]
pub enum CredentialSource {
    /// These, for every registry.
    Given(Credentials),
    /// Looked up for each registry: the environment, else docker's configuration,
    /// else no one.
    Lookup {
        /// [`USERNAME_VARIABLE`] and [`PASSWORD_VARIABLE`], if they are set.
        environment: Option<Credentials>,
        /// Docker's configuration: `config.json`. Need not exist.
        docker_config: Option<PathBuf>,
    },
}

impl CredentialSource {
    /// As the environment of this process says: the two variables, and
    /// `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    ///
    /// # Errors
    /// When only one of the two variables is set, or one is no text.
    pub fn from_environment() -> Result<Self, RegistryError> {
        let wrong = |reason: &str| RegistryError::Credentials {
            host: "every registry".to_owned(),
            reason: reason.to_owned(),
        };
        let variable = |name: &str| match std::env::var(name) {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(wrong(&format!("{name} is no text"))),
        };
        let environment = match (variable(USERNAME_VARIABLE)?, variable(PASSWORD_VARIABLE)?) {
            (Some(username), Some(password)) => Some(Credentials::password(&username, &password)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(wrong(&format!("{USERNAME_VARIABLE} is set without {PASSWORD_VARIABLE}")));
            }
            (None, Some(_)) => {
                return Err(wrong(&format!("{PASSWORD_VARIABLE} is set without {USERNAME_VARIABLE}")));
            }
        };
        let folder = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = folder.or_else(|| Some(std::env::home_dir()?.join(".docker")));
        Ok(Self::Lookup { environment, docker_config: folder.map(|folder| folder.join("config.json")) })
    }

    /// The credentials for `host`, as a [`super::Reference`] has it.
    ///
    /// # Errors
    /// When docker's configuration is damaged, or a credential program fails or
    /// does not end in time.
    pub async fn find(&self, host: &str) -> Result<Credentials, RegistryError> {
        match self {
            Self::Given(credentials) | Self::Lookup { environment: Some(credentials), .. } => {
                Ok(credentials.clone())
            }
            Self::Lookup { docker_config: Some(path), .. } => docker::find(path, host).await,
            Self::Lookup { .. } => Ok(Credentials::anonymous()),
        }
    }
}

#[cfg(test)]
mod tests;
