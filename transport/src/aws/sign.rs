//! Signature Version 4.

use aws_credential_types::Credentials as Keys;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign as signature,
};
use aws_sigv4::sign::v4;
use hyper::Request;
use secrecy::ExposeSecret as _;
use std::time::SystemTime;

use super::Credentials;

/// A service, as signatures name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Lambda,
    S3,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Lambda => "lambda",
            Self::S3 => "s3",
        }
    }

    /// S3 takes paths as they are and wants the body's hash in a header; the others have paths
    /// encoded once more.
    fn settings(self) -> SigningSettings {
        let mut settings = SigningSettings::default();
        if self == Self::S3 {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        settings
    }
}

/// What of the body is signed.
pub(super) enum Signed<'a> {
    Body(&'a [u8]),
    /// Only S3 takes it, and only TLS makes it safe.
    Nothing,
}

/// Adds the headers of a signature made at `time`.
pub(super) fn sign<B>(
    request: &mut Request<B>,
    signed: Signed<'_>,
    service: Service,
    region: &str,
    credentials: &Credentials,
    time: SystemTime,
) -> Result<(), String> {
    sign_for(request, signed, (service.name(), service.settings()), region, credentials, time)
}

fn sign_for<B>(
    request: &mut Request<B>,
    signed: Signed<'_>,
    (service, settings): (&str, SigningSettings),
    region: &str,
    credentials: &Credentials,
    time: SystemTime,
) -> Result<(), String> {
    let secret = |secret: &secrecy::SecretString| secret.expose_secret().to_owned();
    let identity = Keys::new(
        &credentials.access_key_id,
        secret(&credentials.secret_access_key),
        credentials.session_token.as_ref().map(secret),
        None,
        "tranche",
    )
    .into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let body = match signed {
        Signed::Body(bytes) => SignableBody::Bytes(bytes),
        Signed::Nothing => SignableBody::UnsignedPayload,
    };
    let headers: Option<Vec<(&str, &str)>> = request
        .headers()
        .iter()
        .map(|(name, value)| value.to_str().ok().map(|value| (name.as_str(), value)))
        .collect();
    let headers = headers.ok_or("a header is not visible ASCII")?;
    let uri = request.uri().to_string();
    let signable = SignableRequest::new(request.method().as_str(), uri, headers.into_iter(), body)
        .map_err(|error| error.to_string())?;
    let (instructions, _) = signature(signable, &parameters).map_err(|error| error.to_string())?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn credentials(id: &str, secret: &str) -> Credentials {
        Credentials { access_key_id: id.to_owned(), secret_access_key: secret.into(), session_token: None }
    }

    fn signature_of(request: &Request<()>) -> String {
        let header = request.headers().get("authorization").unwrap().to_str().unwrap();
        header.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// The examples of AWS's "Signature Calculations for the Authorization Header" for S3:
    /// 2013-05-24 00:00:00 UTC, us-east-1.
    fn s3_example(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        let keys = credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let time = UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let signed = Signed::Body(body.as_bytes());
        sign(&mut request, signed, Service::S3, "us-east-1", &keys, time).unwrap();
        signature_of(&request)
    }

    #[test]
    fn s3_signatures_are_those_that_aws_documents() {
        let base = "https://examplebucket.s3.amazonaws.com";
        assert_eq!(
            s3_example("GET", &format!("{base}/test.txt"), &[("range", "bytes=0-9")], ""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let put = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        assert_eq!(
            s3_example("PUT", &format!("{base}/test%24file.text"), &put, "Welcome to Amazon S3."),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            s3_example("GET", &format!("{base}/?lifecycle"), &[], ""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            s3_example("GET", &format!("{base}/?max-keys=2&prefix=J"), &[], ""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    /// `get-vanilla` and `post-vanilla` of AWS's signing test suite: 2015-08-30 12:36:00 UTC.
    #[test]
    fn signatures_are_those_of_the_test_suite() {
        let keys = credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let time = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        for (method, expected) in [
            ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            let mut request =
                Request::builder().method(method).uri("https://example.amazonaws.com/").body(()).unwrap();
            let settings = ("service", Service::Lambda.settings());
            sign_for(&mut request, Signed::Body(b""), settings, "us-east-1", &keys, time).unwrap();
            assert_eq!(signature_of(&request), expected, "{method}");
        }
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let mut keys = credentials("AKIDEXAMPLE", "secret");
        keys.session_token = Some("token".into());
        let mut request = Request::builder().uri("https://b.s3.amazonaws.com/k").body(()).unwrap();
        sign(&mut request, Signed::Nothing, Service::S3, "us-east-1", &keys, UNIX_EPOCH).unwrap();
        assert_eq!(request.headers()["x-amz-security-token"], "token");
        assert_eq!(request.headers()["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
        let authorization = request.headers()["authorization"].to_str().unwrap();
        assert!(authorization.contains("x-amz-security-token"), "{authorization}");
    }
}
