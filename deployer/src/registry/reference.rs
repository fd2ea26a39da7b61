//! Names of images: `host[:port]/path[:tag][@digest]`.

use super::RegistryError;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use tranche_schema::Digest;

/// The host that names without a host are of, as docker has it.
const DEFAULT_HOST: &str = "docker.io";
/// Where the host `docker.io` answers the API.
const DOCKER_HUB_API: &str = "registry-1.docker.io";
/// The tag of a name with neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// Longest name that registries take, with its host.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// An image in a registry.
///
/// Text is read as docker and containerd read it: the first part is a host only
/// if it holds a `.`, a `:` or an upper-case letter, or is `localhost`; a name
/// without a host is of `docker.io`, in `library/` if it has one part; a name
/// with neither tag nor digest has the tag `latest`. Printing gives the whole
/// name, which reads back to the same reference.
///
/// Paths and tags follow the OCI distribution specification 1.1, "Pulling
/// manifests".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry: a name or an address (`[::1]`), with its port if it has one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path within the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; none only where there is a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the image's manifest must have.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    /// When it is no tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, RegistryError> {
        if !is_tag(tag) {
            return Err(invalid(tag, "a tag has at most 128 letters, digits, `_`, `.` and `-`"));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same image, held to a digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// What the API calls the manifest: the digest, else the tag.
    pub(super) fn manifest_name(&self) -> &str {
        let digest = self.digest.as_ref().map(|digest| digest.0.as_str());
        digest.or(self.tag()).unwrap_or(DEFAULT_TAG)
    }

    /// Where the registry answers the API.
    pub(super) fn api_host(&self) -> &str {
        if self.host == DEFAULT_HOST { DOCKER_HUB_API } else { &self.host }
    }

    /// Whether the registry is this very machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(host_name(&self.host))
    }
}

/// Whether a host's name or address (without brackets) is this machine's own.
pub(super) fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    // RFC 6761, section 6.3.
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(formatter, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let wrong = |reason: &str| invalid(text, reason);
        if text.contains("://") {
            return Err(wrong("an image's name has no scheme"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(Digest(digest.to_owned()))),
            Some(_) => return Err(wrong("a digest is `sha256:` and 64 lower-case hexadecimal digits")),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("a tag has at most 128 letters, digits, `_`, `.` and `-`"));
        }
        let (host, path) = split_host(name);
        if !is_host(host) {
            return Err(wrong("the registry is a host's name or address and, after `:`, a port"));
        }
        let repository =
            if host == DEFAULT_HOST && !path.contains('/') { format!("library/{path}") } else { path.into() };
        if !repository.split('/').all(is_path_part) {
            return Err(wrong(
                "parts of a path are lower-case letters and digits, joined by `.`, `_`, `__` or dashes",
            ));
        }
        if host.len() + 1 + repository.len() > MAX_NAME {
            return Err(wrong("a name has at most 255 characters"));
        }
        let default_tag = if digest.is_none() { Some(DEFAULT_TAG) } else { None };
        let tag = tag.or(default_tag).map(str::to_owned);
        Ok(Self { host: host.to_owned(), repository, tag, digest })
    }
}

fn invalid(text: &str, reason: &str) -> RegistryError {
    RegistryError::Reference { text: text.to_owned(), reason: reason.to_owned() }
}

/// A `:` after the last `/` begins a tag; before it, a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let path_start = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[path_start..].find(':') {
        Some(colon) => (&text[..path_start + colon], Some(&text[path_start + colon + 1..])),
        None => (text, None),
    }
}

fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_HOST, path),
        Some((first, path))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.contains(|c: char| c.is_ascii_uppercase()) =>
        {
            (first, path)
        }
        _ => (DEFAULT_HOST, name),
    }
}

/// A host without its port and brackets.
pub(super) fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => match address.parse::<std::net::Ipv6Addr>() {
            Ok(_) => ("v6", port),
            Err(_) => return false,
        },
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let port_is_right = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| is_decimal(port) && port.parse::<u16>().is_ok());
    port_is_right && name.split('.').all(is_label)
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_part(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let joint = |text: &str| {
        matches!(text, "." | "_" | "__") || (!text.is_empty() && text.bytes().all(|byte| byte == b'-'))
    };
    part.starts_with(word)
        && part.ends_with(word)
        && part.split(word).filter(|text| !text.is_empty()).all(joint)
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= MAX_TAG && tag.starts_with(first) && tag.chars().all(|c| first(c) || matches!(c, '.' | '-'))
}

/// The one algorithm that images here are made with.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Reference {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        text.parse::<Reference>().unwrap_err().to_string()
    }

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let full = |text: &str| read(text).to_string();
        assert_eq!(full("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(full("team/model-s0:1"), "docker.io/team/model-s0:1");
        assert_eq!(full("index.docker.io/alpine"), "docker.io/library/alpine:latest");
        assert_eq!(full("localhost/model"), "localhost/model:latest");
        assert_eq!(full("127.0.0.1:5000/a/b__c:v1.0"), "127.0.0.1:5000/a/b__c:v1.0");
        assert_eq!(full("[::1]:5000/model"), "[::1]:5000/model:latest");
        assert_eq!(full("Registry/model"), "Registry/model:latest");
        assert_eq!(full(&format!("ghcr.io/a/b@sha256:{HEX}")), format!("ghcr.io/a/b@sha256:{HEX}"));
        assert_eq!(full(&format!("ghcr.io/a/b:t@sha256:{HEX}")), format!("ghcr.io/a/b:t@sha256:{HEX}"));
    }

    #[test]
    fn a_digest_comes_before_a_tag() {
        let reference = read("ghcr.io/a/b:t");
        assert_eq!(reference.manifest_name(), "t");
        assert_eq!(
            reference.with_digest(Digest(format!("sha256:{HEX}"))).manifest_name(),
            &format!("sha256:{HEX}")
        );
        assert_eq!(reference.with_tag("u").unwrap().to_string(), "ghcr.io/a/b:u");
        assert!(reference.with_tag("not a tag").is_err());
    }

    #[test]
    fn docker_hub_answers_elsewhere() {
        assert_eq!(read("alpine").api_host(), "registry-1.docker.io");
        assert_eq!(read("ghcr.io/a/b").api_host(), "ghcr.io");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in
            ["localhost", "localhost:5000", "127.9.9.9:1", "[::1]", "[::ffff:127.0.0.1]:5000", "a.localhost"]
        {
            assert!(read(&format!("{host}/model")).is_loopback(), "{host}");
        }
        for host in
            ["10.0.0.1", "localhost.example.org", "127.0.0.1.nip.io:5000", "[::2]", "ghcr.io", "0.0.0.0"]
        {
            assert!(!read(&format!("{host}/model")).is_loopback(), "{host}");
        }
    }

    #[test]
    fn wrong_names_are_refused() {
        for text in
            ["", "/", "a//b", "a:", "A", "a_-b", "-a", "a@sha256:12", "a..b", "a:b:c", "h:0x1/a", "h:99999/a"]
        {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        insta::assert_snapshot!(
            refused("https://ghcr.io/a"),
            @"`https://ghcr.io/a` is no image's name: an image's name has no scheme"
        );
        insta::assert_snapshot!(
            refused("ghcr.io/Team/model"),
            @"`ghcr.io/Team/model` is no image's name: parts of a path are lower-case letters and digits, joined by `.`, `_`, `__` or dashes"
        );
        assert!(refused(&format!("ghcr.io/{}", "a".repeat(248))).ends_with("at most 255 characters"));
    }

    proptest! {
        /// The grammar of the specification, as expressions of its own.
        #[test]
        fn what_the_grammar_allows_reads_and_prints_the_same(
            host in r"([a-z0-9]{1,5}\.[a-z]{1,4}|localhost|\[::[1-9]\]|10\.0\.0\.[1-9])(:[1-9][0-9]{0,3})?",
            path in r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}){0,3}",
            tag in proptest::option::of(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"),
            digest in proptest::option::of("sha256:[0-9a-f]{64}"),
        ) {
            let tag_text = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest_text = digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
            let reference: Reference = format!("{host}/{path}{tag_text}{digest_text}").parse().unwrap();
            prop_assert_eq!(reference.host(), &host);
            prop_assert_eq!(reference.repository(), &path);
            prop_assert_eq!(reference.digest().map(|digest| &digest.0), digest.as_ref());
            let expected = tag.as_deref().or(digest.is_none().then_some("latest"));
            prop_assert_eq!(reference.tag(), expected);
            prop_assert_eq!(&read(&reference.to_string()), &reference);
        }

        #[test]
        fn whatever_is_read_prints_to_itself(text in r"[a-zA-Z0-9:/@.\[\]_-]{0,40}|\PC{0,20}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(read(&reference.to_string()), reference);
            }
        }
    }
}
