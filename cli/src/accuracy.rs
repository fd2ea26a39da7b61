//! Lossy codecs on request, and how far they may move outputs.

use crate::failure::Failure;
use tranche_schema::{Accuracy, Codec};

/// How far outputs may be moved where nothing else is said.
pub const DEFAULT_ACCURACY: Accuracy = Accuracy::MaxRelative(0.01);

/// Reads `--lossy`.
///
/// # Errors
/// When it names no lossy codec.
pub fn lossy(name: &str) -> Result<Codec, Failure> {
    let lossy = || Codec::ALL.iter().copied().filter(|codec| !codec.is_lossless());
    lossy().find(|codec| codec.name() == name).ok_or_else(|| {
        let names: Vec<&str> = lossy().map(Codec::name).collect();
        Failure::usage(format!("`--lossy {name}` is no lossy codec"))
            .hint(format!("those are {}", names.join(", ")))
    })
}

/// Reads `--accuracy`, as `max-relative=0.01`.
///
/// # Errors
/// When the metric is none, or the bound no share.
pub fn accuracy(text: &str) -> Result<Accuracy, Failure> {
    let wrong = || {
        Failure::usage(format!("`--accuracy {text}` is no bound"))
            .hint("say `max-relative=0.01`, `cosine=0.999` or `top-1=0.99`; bounds are between 0 and 1")
    };
    let (metric, bound) = text.split_once('=').ok_or_else(wrong)?;
    let bound = bound.parse().ok().filter(|bound| (0.0..=1.0).contains(bound)).ok_or_else(wrong)?;
    match metric {
        "max-relative" => Ok(Accuracy::MaxRelative(bound)),
        "cosine" => Ok(Accuracy::Cosine(bound)),
        "top-1" => Ok(Accuracy::Top1(bound)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        assert_eq!(accuracy("top-1=0.99").unwrap(), Accuracy::Top1(0.99));
        assert_eq!(accuracy("max-relative=1e-3").unwrap(), Accuracy::MaxRelative(1e-3));
        for wrong in ["top-1", "top-1=2", "cosine=nan", "fast=0.1", "=0.1"] {
            assert!(accuracy(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_lossy_codecs_are_lossy() {
        assert_eq!(lossy("f16").unwrap(), Codec::F16);
        let refused = lossy("zstd").unwrap_err();
        assert!(refused.message.contains("`--lossy zstd`"), "{}", refused.message);
    }
}
