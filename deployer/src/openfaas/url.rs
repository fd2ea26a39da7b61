use super::GatewayError;
use reqwest::Url;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The base address of a gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewayUrl(Url);

impl GatewayUrl {
    /// Reads an `http` or `https` address.
    ///
    /// # Errors
    /// When it is none, or holds credentials, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, GatewayError> {
        // What may hold a password is not shown.
        let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
        let fail = |reason: &str| GatewayError::Url { url: shown.to_owned(), reason: reason.to_owned() };
        let mut url = Url::parse(text).map_err(|error| fail(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(fail("it does not begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail("it holds credentials"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fail("it has a query or a fragment"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// `path` below the gateway with each part and each value encoded.
    pub(super) fn join(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.0.clone();
        // Only addresses that cannot be a base have no parts, and http ones can.
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Whether what is sent there can be read on its way: plain HTTP to other
    /// than this host, a private network or a name of one.
    pub(super) fn is_exposed(&self) -> bool {
        self.0.scheme() == "http" && !self.is_private()
    }

    /// Its host.
    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    pub(super) fn is_loopback(&self) -> bool {
        match self.address() {
            Some(address) => address.is_loopback(),
            None => self.host() == "localhost" || self.host().ends_with(".localhost"),
        }
    }

    fn address(&self) -> Option<IpAddr> {
        self.host().trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    fn is_private(&self) -> bool {
        match self.address() {
            Some(IpAddr::V4(address)) => is_private_v4(address),
            Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(mapped) => is_private_v4(mapped),
                None => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
            },
            // Names that no public server answers to.
            None => {
                let host = self.host();
                !host.contains('.')
                    || [".localhost", ".local", ".internal", ".svc", ".svc.cluster.local"]
                        .iter()
                        .any(|end| host.ends_with(end))
            }
        }
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    // 100.64.0.0/10: networks between providers' customers, and of VPNs (RFC 6598).
    let shared = first == 100 && (64..128).contains(&second);
    address.is_loopback() || address.is_private() || address.is_link_local() || shared
}

/// Without a final slash.
impl fmt::Display for GatewayUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for GatewayUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GatewayUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let url = GatewayUrl::parse("http://127.0.0.1:8080/").unwrap();
        assert_eq!(url.to_string(), "http://127.0.0.1:8080");
        let joined = url.join(&["system", "function", "a/b"], &[("namespace", "x y".to_owned())]);
        assert_eq!(joined.as_str(), "http://127.0.0.1:8080/system/function/a%2Fb?namespace=x+y");
        let below = GatewayUrl::parse("https://example.org/faas/").unwrap();
        assert_eq!(below.join(&["healthz"], &[]).as_str(), "https://example.org/faas/healthz");
        for wrong in ["127.0.0.1:8080", "ftp://h", "", "http://", "http://h/?a=b", "http://h/#a"] {
            assert!(matches!(GatewayUrl::parse(wrong), Err(GatewayError::Url { .. })), "{wrong}");
        }
    }

    #[test]
    fn an_address_with_a_password_is_refused_and_not_shown() {
        for text in ["http://admin:secret@host:8080", "http://admin:secret@host:port"] {
            let error = GatewayUrl::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn public_hosts_are_told_from_private_ones() {
        let exposed = |text: &str| GatewayUrl::parse(text).unwrap().is_exposed();
        let private = [
            "127.0.0.1",
            "[::1]",
            "10.62.0.1",
            "192.168.1.2",
            "100.64.0.1",
            "[fd00::1]",
            "localhost",
            "gateway",
            "gateway.openfaas.svc",
            "pi.local",
            "[::ffff:10.0.0.1]",
        ];
        for host in private {
            assert!(!exposed(&format!("http://{host}:8080")), "{host}");
        }
        for host in
            ["example.org", "1.1.1.1", "[2606:4700::1111]", "[::ffff:1.1.1.1]", "localhost.example.org"]
        {
            assert!(exposed(&format!("http://{host}:8080")), "{host}");
            assert!(!exposed(&format!("https://{host}:8080")), "{host}");
        }
    }
}
