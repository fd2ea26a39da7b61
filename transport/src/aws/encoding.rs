//! URIs as Signature Version 4 wants them: everything but unreserved characters encoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986's unreserved characters stay.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &STRICT.remove(b'/');

/// A part of a path or query.
pub(super) fn strictly(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

/// A path whose slashes stay.
pub(super) fn path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}
