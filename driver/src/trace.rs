//! W3C Trace Context, version 00 (<https://www.w3.org/TR/trace-context/>).

use std::fmt::Write as _;

/// A span, and which trace it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The span, 16 hexadecimal digits: what receives it is that span's child.
    pub span: String,
    /// Two hexadecimal digits; the lowest bit says that the trace is sampled.
    pub flags: String,
}

impl Trace {
    /// A trace of the request's own, sampled.
    #[must_use]
    pub fn of(request_id: [u8; 16], span: u64) -> Self {
        let id = request_id.iter().fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self { id, span: String::new(), flags: "01".to_owned() }.child(span)
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(&self, span: u64) -> Self {
        // An all-zero span id is invalid.
        Self { span: format!("{:016x}", span.max(1)), ..self.clone() }
    }

    /// Whether somebody wants to keep it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.flags, 16).is_ok_and(|flags| flags & 1 == 1)
    }

    /// As the header `traceparent`.
    #[must_use]
    pub fn to_traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.id, self.span, self.flags)
    }

    /// The trace that a caller's `traceparent` names; `None` when it is malformed, which the
    /// standard has readers ignore. Of later versions the part that all versions share is read.
    #[must_use]
    pub fn read(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let [version, id, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let hexadecimal = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
        let whole = hexadecimal(version, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none())
            && hexadecimal(id, 32)
            && hexadecimal(span, 16)
            && hexadecimal(flags, 2);
        (whole && !zero(id) && !zero(span)).then(|| Self {
            id: id.to_owned(),
            span: span.to_owned(),
            flags: flags.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_trace_is_taken_over_and_nonsense_is_not() {
        let span = "00f067aa0ba902b7".to_owned();
        let trace = Trace { id: ID.to_owned(), span, flags: "00".to_owned() };
        assert!(!trace.is_sampled());
        assert_eq!(trace.child(0xab).to_traceparent(), format!("00-{ID}-00000000000000ab-00"));
        assert_eq!(Trace::read(&format!("00-{ID}-00f067aa0ba902b7-00")), Some(trace.clone()));
        assert_eq!(Trace::read(&format!("cc-{ID}-00f067aa0ba902b7-00-more")), Some(trace));
        for wrong in [
            String::new(),
            format!("00-{ID}-00f067aa0ba902b7"),
            format!("00-{ID}-00f067aa0ba902b7-00-more"),
            format!("ff-{ID}-00f067aa0ba902b7-00"),
            format!("00-{ID}-0000000000000000-00"),
            format!("00-{}-00f067aa0ba902b7-00", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-00", ID.to_uppercase()),
        ] {
            assert_eq!(Trace::read(&wrong), None, "{wrong}");
        }
    }
}
