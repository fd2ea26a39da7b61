//! Where AWS is, and who asks.

use secrecy::SecretString;
use std::path::PathBuf;
use url::Url;

use super::AwsError;

/// Keys of an AWS identity. `Debug` redacts what is secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: SecretString,
    /// Set for temporary credentials, which all of Lambda's are.
    pub session_token: Option<SecretString>,
}

impl Credentials {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, as Lambda sets them.
    ///
    /// # Errors
    /// When one of the first two is not set.
    pub fn from_environment() -> Result<Self, AwsError> {
        Self::from(&variable)
    }

    fn from(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, AwsError> {
        let needed = |name: &str| {
            variable(name).ok_or_else(|| AwsError::Configuration {
                what: name.to_owned(),
                reason: "it is not set".to_owned(),
            })
        };
        Ok(Self {
            access_key_id: needed("AWS_ACCESS_KEY_ID")?,
            secret_access_key: needed("AWS_SECRET_ACCESS_KEY")?.into(),
            session_token: variable("AWS_SESSION_TOKEN").map(Into::into),
        })
    }
}

/// Where an [`super::AwsClient`] asks.
#[derive(Clone, Debug)]
pub struct AwsConfig {
    /// The region, for its endpoints and signatures.
    pub region: String,
    /// Who asks.
    pub credentials: Credentials,
    /// Lambda's endpoint; the region's own when `None`.
    pub lambda_endpoint: Option<Url>,
    /// S3's endpoint, addressed by path; the region's own, addressed by host, when `None`.
    pub s3_endpoint: Option<Url>,
}

impl AwsConfig {
    /// Credentials as [`Credentials::from_environment`]; `AWS_REGION` or `AWS_DEFAULT_REGION`;
    /// endpoints of `AWS_ENDPOINT_URL_LAMBDA` and `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`;
    /// `TRANCHE_S3_ENDPOINT` goes before all for S3.
    ///
    /// # Errors
    /// When credentials or region are missing, or an endpoint is no http or https URL.
    pub fn from_environment() -> Result<Self, AwsError> {
        Self::from(&variable)
    }

    fn from(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, AwsError> {
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).ok_or_else(|| {
            AwsError::Configuration {
                what: "AWS_REGION".to_owned(),
                reason: "neither it nor AWS_DEFAULT_REGION is set".to_owned(),
            }
        })?;
        let endpoint = |names: &[&str]| -> Result<Option<Url>, AwsError> {
            let found = names.iter().find_map(|name| Some((*name, variable(name)?)));
            found.map(|(name, text)| read_endpoint(name, &text)).transpose()
        };
        Ok(Self {
            region,
            credentials: Credentials::from(variable)?,
            lambda_endpoint: endpoint(&["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"])?,
            s3_endpoint: endpoint(&["TRANCHE_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?,
        })
    }

    /// Lambda's endpoint.
    pub(super) fn lambda(&self) -> Result<Url, AwsError> {
        match &self.lambda_endpoint {
            Some(endpoint) => Ok(endpoint.clone()),
            None => self.service("lambda"),
        }
    }

    /// The URL below which a bucket's keys are.
    pub(super) fn bucket(&self, bucket: &str) -> Result<Url, AwsError> {
        if !is_bucket_name(bucket) {
            return Err(AwsError::Configuration {
                what: format!("bucket `{bucket}`"),
                reason: "names of buckets are 3 to 63 of a-z, 0-9, `.` and `-`".to_owned(),
            });
        }
        // A certificate's wildcard stands for one label.
        let mut url = match &self.s3_endpoint {
            Some(endpoint) => endpoint.clone(),
            None if bucket.contains('.') => self.service("s3")?,
            None => return self.service(&format!("{bucket}.s3")),
        };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(bucket);
        }
        Ok(url)
    }

    fn service(&self, service: &str) -> Result<Url, AwsError> {
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if self.region.is_empty() || !self.region.chars().all(plain) {
            return Err(AwsError::Configuration {
                what: format!("region `{}`", self.region),
                reason: "it is none, as `eu-central-1` is".to_owned(),
            });
        }
        let domain = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        read_endpoint("region", &format!("https://{service}.{}.{domain}", self.region))
    }
}

/// The certificates that are trusted instead of the machine's own.
pub(super) fn certificate_bundle() -> Option<PathBuf> {
    variable("AWS_CA_BUNDLE").map(PathBuf::from)
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// An endpoint's URL, for [`AwsConfig`].
///
/// # Errors
/// When it is no http or https URL without a query, a fragment and a user.
pub fn endpoint_url(text: &str) -> Result<Url, AwsError> {
    read_endpoint("endpoint", text)
}

fn read_endpoint(name: &str, text: &str) -> Result<Url, AwsError> {
    let wrong = |reason: String| AwsError::Configuration { what: format!("{name} `{text}`"), reason };
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("it is no http or https URL".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(wrong("it has a query, a fragment or a user".to_owned()));
    }
    Ok(url)
}

/// As S3's rules have it, roughly: enough that a name cannot become another URL.
fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        && !name.starts_with(['.', '-'])
        && !name.ends_with(['.', '-'])
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &'static [(&'static str, &'static str)]) -> Result<AwsConfig, AwsError> {
        AwsConfig::from(&|name| {
            let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
            let found = pairs.iter().chain(&keys).find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn aws_is_found_by_region() {
        let config = config(&[("AWS_REGION", "eu-central-1")]).unwrap();
        assert_eq!(config.lambda().unwrap().as_str(), "https://lambda.eu-central-1.amazonaws.com/");
        let bucket = |name| config.bucket(name).unwrap().to_string();
        assert_eq!(bucket("tensors"), "https://tensors.s3.eu-central-1.amazonaws.com/");
        assert_eq!(bucket("my.tensors"), "https://s3.eu-central-1.amazonaws.com/my.tensors");
        assert!(config.bucket("../x").is_err());
    }

    #[test]
    fn endpoints_of_single_services_go_first() {
        let config = config(&[
            ("AWS_DEFAULT_REGION", "cn-north-1"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
            ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000/base/"),
        ])
        .unwrap();
        assert_eq!(config.lambda().unwrap().as_str(), "http://127.0.0.1:4566/");
        assert_eq!(config.bucket("tensors").unwrap().as_str(), "http://127.0.0.1:9000/base/tensors");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert!(config(&[]).unwrap_err().to_string().contains("AWS_REGION"));
        let error = config(&[("AWS_REGION", "r"), ("AWS_ENDPOINT_URL", "ftp://x")]).unwrap_err();
        assert!(error.to_string().contains("ftp://x"), "{error}");
        assert!(config(&[("AWS_REGION", "evil.example/")]).unwrap().lambda().is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", config(&[("AWS_REGION", "r"), ("AWS_SESSION_TOKEN", "token")]).unwrap());
        assert!(!shown.contains("secret\"") && !shown.contains("token\""), "{shown}");
    }
}
