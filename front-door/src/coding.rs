//! Content codings of bodies (RFC 9110, section 8.4.1): gzip and deflate.

use bytes::{BufMut as _, Bytes};
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue};
use std::io::{self, Read, Write as _};
use tranche_serving::{Refusal, too_large};
use tranche_transport::buffer_aligned_at;

/// Shorter answers gain nothing.
const LEAST_BYTES: usize = 1024;
const PIECE_BYTES: usize = 64 * 1024;

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// The zlib format (RFC 1950), as RFC 9110 has it.
    Deflate,
}

impl Coding {
    fn of(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// How the request's body is coded.
    ///
    /// # Errors
    /// 415 for a coding that is not known here, and for several on top of each other.
    pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        let name = String::from_utf8_lossy(value.as_bytes());
        if name.trim().eq_ignore_ascii_case("identity") || name.trim().is_empty() {
            return Ok(None);
        }
        Self::of(&name).map(Some).ok_or_else(|| {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unknown-coding",
                format!("the body is coded as `{name}`"),
                "send it as it is, or with `Content-Encoding: gzip` or `deflate`",
            )
        })
    }

    /// The coding that the caller wants most for the answer (RFC 9110, section 12.5.3); a caller
    /// that names none gets none.
    pub(crate) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
        let weighed = text.split(',').filter_map(|entry| {
            let mut parts = entry.split(';');
            let coding = Self::of(parts.next()?)?;
            let weight = parts.find_map(|part| part.trim().strip_prefix("q="));
            let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
            (weight > 0.0).then_some((coding, weight))
        });
        // Of equal ones the first.
        let best = weighed.fold(None, |best: Option<(Self, f32)>, (coding, weight)| match best {
            Some((_, other)) if other >= weight => best,
            _ => Some((coding, weight)),
        });
        best.map(|(coding, _)| coding)
    }

    /// The decoded body, its byte at `aligned_at` aligned; never holds more than `max_bytes` of it.
    ///
    /// # Errors
    /// 413 when it is larger, 400 when it is no such coding.
    pub(crate) fn decode(self, body: &[u8], aligned_at: usize, max_bytes: u64) -> Result<Bytes, Refusal> {
        let mut reader: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(body)),
            Self::Deflate => Box::new(ZlibDecoder::new(body)),
        };
        let mut decoded = buffer_aligned_at(aligned_at, body.len().saturating_mul(4).min(PIECE_BYTES));
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = match reader.read(&mut piece) {
                Ok(0) => return Ok(decoded.freeze()),
                Ok(read) => piece.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Refusal::new(
                        StatusCode::BAD_REQUEST,
                        "bad-body",
                        format!("the body is not {}: {error}", self.name()),
                        "send what `Content-Encoding` says",
                    ));
                }
            };
            if decoded.len() as u64 + read.len() as u64 > max_bytes {
                return Err(too_large(None, max_bytes));
            }
            decoded.put_slice(read);
        }
    }

    /// The chunks coded as one, with the header that says so; nothing for short ones.
    pub(crate) fn encode(self, chunks: &[Bytes]) -> io::Result<Option<Bytes>> {
        if chunks.iter().map(Bytes::len).sum::<usize>() < LEAST_BYTES {
            return Ok(None);
        }
        let coded = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                chunks.iter().try_for_each(|chunk| encoder.write_all(chunk))?;
                encoder.finish()?
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                chunks.iter().try_for_each(|chunk| encoder.write_all(chunk))?;
                encoder.finish()?
            }
        };
        Ok(Some(coded.into()))
    }

    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(text: &str) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, text.parse().unwrap());
        Coding::wanted(&headers)
    }

    #[test]
    fn the_coding_wanted_most_is_taken() {
        assert_eq!(accepting("gzip"), Some(Coding::Gzip));
        assert_eq!(accepting("deflate, gzip"), Some(Coding::Deflate));
        assert_eq!(accepting("deflate;q=0.5, GZIP;q=0.8, br"), Some(Coding::Gzip));
        assert_eq!(accepting("identity, br, gzip;q=0, deflate;q=x"), None);
    }

    #[test]
    fn bodies_come_back_within_their_bound() {
        let body = Bytes::from(vec![7_u8; 300_000]);
        for coding in [Coding::Gzip, Coding::Deflate] {
            let coded = coding.encode(&[body.slice(..100), body.slice(100..)]).unwrap().unwrap();
            assert!(coded.len() < 3000);
            let decoded = coding.decode(&coded, 3, 300_000).unwrap();
            assert_eq!(decoded, body);
            assert_eq!(coding.decode(&coded, 0, 299_999).unwrap_err().code, "too-large");
            assert_eq!(coding.decode(&coded[..coded.len() / 2], 0, 300_000).unwrap_err().code, "bad-body");
            assert_eq!(coding.decode(b"plain", 0, 300_000).unwrap_err().code, "bad-body");
        }
        assert_eq!(Coding::Gzip.encode(&[body.slice(..100)]).unwrap(), None);
    }
}
