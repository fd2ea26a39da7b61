//! Two names of one trace: X-Ray's header and W3C Trace Context.

use std::fmt;

/// What `Lambda-Runtime-Trace-Id` holds:
/// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
///
/// X-Ray's root is `1-`, 8 hexadecimal digits, `-`, 24 hexadecimal digits; the W3C trace id is
/// the 32 digits ("Sending trace data to X-Ray" of the AWS X-Ray developer guide).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeader {
    /// The W3C trace id: 32 hexadecimal digits.
    pub trace_id: String,
    /// The span that called: 16 hexadecimal digits.
    pub parent: Option<String>,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceHeader {
    /// Reads X-Ray's header; `None` where it has no root of the known form.
    #[must_use]
    pub fn from_xray(header: &str) -> Option<Self> {
        let field =
            |name: &str| header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        let (time, rest) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
        let trace_id = hexadecimal(time, 8)? + &hexadecimal(rest, 24)?;
        let parent = field("Parent").and_then(|parent| hexadecimal(parent, 16));
        Some(Self { trace_id, parent, sampled: field("Sampled") == Some("1") })
    }

    /// Reads a W3C `traceparent` of any version; `None` where it is none.
    #[must_use]
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hexadecimal(parts.next()?, 2)?;
        let trace_id = hexadecimal(parts.next()?, 32)?;
        let parent = hexadecimal(parts.next()?, 16)?;
        let flags = hexadecimal(parts.next()?, 2)?;
        let nothing = |text: &str| text.bytes().all(|byte| byte == b'0');
        if version == "ff" || nothing(&trace_id) || nothing(&parent) {
            return None;
        }
        let sampled = u8::from_str_radix(&flags, 16).is_ok_and(|flags| flags & 1 == 1);
        Some(Self { trace_id, parent: Some(parent), sampled })
    }

    /// As a W3C `traceparent`; `None` without a parent, which it must have.
    #[must_use]
    pub fn to_traceparent(&self) -> Option<String> {
        let parent = self.parent.as_deref()?;
        Some(format!("00-{}-{parent}-0{}", self.trace_id, u8::from(self.sampled)))
    }

    /// X-Ray's trace id, `1-5759e988-bd862e3fe1be46a994272793`.
    #[must_use]
    pub fn xray_id(&self) -> String {
        let (time, rest) = self.trace_id.split_at_checked(8).unwrap_or((&self.trace_id, ""));
        format!("1-{time}-{rest}")
    }
}

/// As X-Ray's header.
impl fmt::Display for TraceHeader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Root={}", self.xray_id())?;
        if let Some(parent) = &self.parent {
            write!(formatter, ";Parent={parent}")?;
        }
        write!(formatter, ";Sampled={}", u8::from(self.sampled))
    }
}

/// `text` in small letters, where it is so many hexadecimal digits.
fn hexadecimal(text: &str, digits: usize) -> Option<String> {
    let is = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    const W3C: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";

    #[test]
    fn both_names_are_one_trace() {
        let from_xray = TraceHeader::from_xray(XRAY).unwrap();
        assert_eq!(from_xray, TraceHeader::from_traceparent(W3C).unwrap());
        assert_eq!(from_xray.to_string(), XRAY);
        assert_eq!(from_xray.to_traceparent().as_deref(), Some(W3C));
    }

    #[test]
    fn what_else_lambda_sends_is_read() {
        // Without a parent (the emulator), with a lineage, and unsampled.
        let bare = TraceHeader::from_xray("Root=1-5759e988-bd862e3fe1be46a994272793").unwrap();
        assert_eq!((bare.parent.as_deref(), bare.sampled, bare.to_traceparent()), (None, false, None));
        let more =
            TraceHeader::from_xray(&format!("Self=1-0-0; {XRAY};Lineage=a87bd80c:1|68fd508a:5|c512fbe3:2"));
        assert_eq!(more.unwrap().to_string(), XRAY);
    }

    #[test]
    fn others_are_no_trace() {
        for wrong in [
            "",
            "Root=",
            "Root=1-5759e988",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e98g-bd862e3fe1be46a994272793",
        ] {
            assert_eq!(TraceHeader::from_xray(wrong), None, "{wrong}");
        }
        let zero = format!("00-{}-53995c3f42cd8ad8-01", "0".repeat(32));
        for wrong in ["", "00-5759-5399-01", &W3C.replacen("00", "ff", 1), zero.as_str()] {
            assert_eq!(TraceHeader::from_traceparent(wrong), None, "{wrong}");
        }
    }
}
