//! Where the Runtime API is.

use hyper::Uri;

use super::RuntimeApiError;

/// Version of the Runtime API, part of every path.
const VERSION: &str = "2018-06-01";

/// The base of every URL of the Runtime API, without a slash at its end. `address` is
/// `HOST:PORT`, as Lambda gives it, or `http://HOST:PORT/PREFIX`, as emulators that serve
/// several functions do.
///
/// # Errors
/// When it is neither.
pub(super) fn base(address: &str) -> Result<String, RuntimeApiError> {
    let wrong =
        |reason: &str| RuntimeApiError::Address { address: address.to_owned(), reason: reason.to_owned() };
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let url = url.trim_end_matches('/');
    let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong(&error.to_string()))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong("the Runtime API is spoken over plain http"));
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it has no host"))?;
    let authority = uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    if uri.authority().map(hyper::http::uri::Authority::as_str) != Some(&authority) {
        return Err(wrong("its port is no number, or it names a user"));
    }
    if uri.query().is_some() {
        return Err(wrong("it has a query"));
    }
    Ok(format!("{url}/{VERSION}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for (address, expected) in [
            ("127.0.0.1:9001", "http://127.0.0.1:9001/2018-06-01"),
            ("localhost", "http://localhost/2018-06-01"),
            ("[::1]:9001", "http://[::1]:9001/2018-06-01"),
            ("http://127.0.0.1:9001", "http://127.0.0.1:9001/2018-06-01"),
            ("http://127.0.0.1:9021/.rt/slice-0/", "http://127.0.0.1:9021/.rt/slice-0/2018-06-01"),
        ] {
            assert_eq!(base(address).unwrap(), expected, "{address}");
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        for address in ["", "https://127.0.0.1:9001", "a b", "http://", "http://h/?x", "unix:/run/api"] {
            let error = base(address).unwrap_err();
            assert!(error.to_string().contains(&format!("`{address}`")), "{error}");
        }
    }
}
