use crate::DoubleError;
use std::net::IpAddr;

/// An image in a registry on loopback, spoken to in plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// `127.0.0.1:5000`.
    pub host: String,
    /// `models/slice-0`.
    pub repository: String,
    /// A tag, or a digest with its algorithm.
    pub version: String,
}

impl Reference {
    /// Reads `HOST:PORT/NAME[:TAG][@DIGEST]`; a digest wins over a tag.
    pub fn parse(image: &str) -> Result<Self, DoubleError> {
        let wrong =
            |reason: &str| DoubleError::Reference { image: image.to_owned(), reason: reason.to_owned() };
        let (host, path) = image.split_once('/').ok_or_else(|| wrong("no registry is named"))?;
        let name = host
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .map_or_else(|| host.split_once(':').map_or(host, |(name, _)| name), |(address, _)| address);
        let loopback =
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !loopback {
            return Err(wrong("the registry is not on loopback"));
        }
        let (path, digest) = path.split_once('@').map_or((path, None), |(path, digest)| (path, Some(digest)));
        let (repository, tag) = path.split_once(':').map_or((path, "latest"), |(path, tag)| (path, tag));
        let version = digest.unwrap_or(tag);
        let plain = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !plain(repository, "/._-") || repository.contains("..") || !plain(version, "._-:") {
            return Err(wrong("the name, tag or digest has characters that it may not have"));
        }
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), version: version.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn tags_digests_and_ports_are_read() {
        let read = |image: &str| Reference::parse(image).unwrap();
        let tagged = read("127.0.0.1:5000/a/b:sha-1");
        assert_eq!(
            (&*tagged.host, &*tagged.repository, &*tagged.version),
            ("127.0.0.1:5000", "a/b", "sha-1")
        );
        assert_eq!(read("localhost:5000/a").version, "latest");
        assert_eq!(read("[::1]:5000/a:1@sha256:00").version, "sha256:00");
    }

    #[test]
    fn other_machines_and_odd_names_are_refused() {
        for image in
            ["a", "registry.example/a:1", "10.0.0.1:5000/a", "127.0.0.1:5000/../a", "127.0.0.1:5000/"]
        {
            assert!(Reference::parse(image).is_err(), "{image}");
        }
    }
}
