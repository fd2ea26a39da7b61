//! Who may call: whoever has the token.

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tranche_serving::Refusal;

use crate::{FrontDoorError, FrontDoorOptions};

/// Holds the token where [`FrontDoorOptions::token_file`] names no file.
pub(crate) const TOKEN_VARIABLE: &str = "TRANCHE_TOKEN";

/// The token that callers must have: [`FrontDoorOptions::token`], else the file's first line, else
/// the environment's; `None` where there is none of them.
///
/// # Errors
/// When the file cannot be read, or the token is empty or not made of visible ASCII (RFC 6750,
/// section 2.1, allows no more in a header).
pub(crate) fn read(options: &FrontDoorOptions) -> Result<Option<SecretString>, FrontDoorError> {
    let (found, whence) = match (&options.token, &options.token_file) {
        (Some(token), _) => (token.expose_secret().to_owned(), "the token".to_owned()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|source| FrontDoorError::Token {
                whence: path.display().to_string(),
                reason: source.to_string(),
            })?;
            (text.lines().next().unwrap_or_default().to_owned(), path.display().to_string())
        }
        (None, None) => match std::env::var(TOKEN_VARIABLE) {
            Ok(token) => (token, TOKEN_VARIABLE.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(error) => {
                return Err(FrontDoorError::Token {
                    whence: TOKEN_VARIABLE.to_owned(),
                    reason: error.to_string(),
                });
            }
        },
    };
    let wrong = |reason: &str| FrontDoorError::Token { whence: whence.clone(), reason: reason.to_owned() };
    match found.trim() {
        "" => Err(wrong("it is empty")),
        token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(wrong("it has letters that a header does not carry"))
        }
        token => Ok(Some(token.into())),
    }
}

/// Whether the request has the token, if one is needed. Takes the same time for every token of the
/// right length.
///
/// # Errors
/// 401.
pub(crate) fn check(token: Option<&SecretString>, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = token else { return Ok(()) };
    let given = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    // The scheme's name has no case (RFC 9110, section 11.1).
    let bearer = given
        .split_first_chunk::<7>()
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map_or(&b""[..], |(_, rest)| rest.trim_ascii());
    if bool::from(bearer.ct_eq(token.expose_secret().as_bytes())) {
        return Ok(());
    }
    let message = if given.is_empty() { "a token is needed" } else { "the token is another one" };
    let hint = "send `Authorization: Bearer TOKEN` with the token that the front door was given";
    Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: &str) -> Result<Option<SecretString>, FrontDoorError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, file).unwrap();
        let mut options = FrontDoorOptions::new("127.0.0.1:0".parse().unwrap());
        options.token_file = Some(path);
        read(&options)
    }

    #[test]
    fn the_first_line_of_the_file_is_the_token() {
        assert_eq!(with("s3cret\n").unwrap().unwrap().expose_secret(), "s3cret");
        for wrong in ["", "\n", "two words", "tränche"] {
            let error = with(wrong).unwrap_err();
            assert!(!error.to_string().contains("words") && !error.hint().is_empty(), "{error}");
        }
    }

    #[test]
    fn only_the_token_opens() {
        let token: SecretString = "s3cret".into();
        let ask = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            check(Some(&token), &headers).is_ok()
        };
        assert!(ask("Bearer s3cret") && ask("bearer  s3cret "));
        for wrong in ["Bearer s3cres", "Bearer s3cret0", "Bearer", "Bearer ", "Basic s3cret", "s3cret"] {
            assert!(!ask(wrong), "{wrong}");
        }
        assert!(check(Some(&token), &HeaderMap::new()).is_err());
        assert!(check(None, &HeaderMap::new()).is_ok());
    }
}
