//! How a slice goes to Lambda: in a zip file within the call, in one through a bucket, or as
//! an image.

use super::LambdaError;
use super::limits::{IMAGE_BYTES, INLINE_ZIP_BYTES, UNZIPPED_BYTES};
use tranche_schema::{ByteCount, LambdaPackageKind};

/// What a zip file of a slice unpacks to, and the layers that go with it.
#[derive(Clone, Debug)]
pub(super) struct Unzipped {
    pub(super) own: ByteCount,
    pub(super) layers: ByteCount,
}

/// Why the slice cannot go as a zip file; `Ok` where it can.
pub(super) fn check_zip(sizes: &Unzipped) -> Result<(), String> {
    let sum = sizes.own + sizes.layers;
    if sum.0 <= UNZIPPED_BYTES {
        return Ok(());
    }
    let with = if sizes.layers.0 > 0 { " with its layers" } else { "" };
    Err(format!("it unpacks to {}{with}, zip files may to {}", exact(sum), exact(ByteCount(UNZIPPED_BYTES))))
}

/// Whether a zip file is to be tried, given what is asked for.
pub(super) fn wants_zip(
    slice: &str,
    zip: &Result<(), String>,
    prefer: Option<LambdaPackageKind>,
) -> Result<bool, LambdaError> {
    match (prefer, zip) {
        (Some(LambdaPackageKind::Image), _) | (None, Err(_)) => Ok(false),
        (_, Ok(())) => Ok(true),
        (Some(kind), Err(reason)) => {
            Err(LambdaError::Impossible { slice: slice.to_owned(), kind, reason: reason.clone() })
        }
    }
}

/// How a zip file that was written goes, and why.
pub(super) fn of_zip(
    slice: &str,
    zipped: ByteCount,
    unzipped: &Unzipped,
    prefer: Option<LambdaPackageKind>,
) -> Result<(LambdaPackageKind, String), LambdaError> {
    let fits = zipped.0 <= INLINE_ZIP_BYTES;
    let limit = ByteCount(INLINE_ZIP_BYTES);
    match prefer {
        Some(kind @ LambdaPackageKind::ZipInline) if !fits => Err(LambdaError::Impossible {
            slice: slice.to_owned(),
            kind,
            reason: format!("the zip file has {}, calls take {}", exact(zipped), exact(limit)),
        }),
        Some(LambdaPackageKind::ZipBucket) => Ok((LambdaPackageKind::ZipBucket, "asked for".to_owned())),
        _ if fits => Ok((
            LambdaPackageKind::ZipInline,
            format!("its zip file of {zipped} is within the 50 MB that a call takes"),
        )),
        _ => Ok((
            LambdaPackageKind::ZipBucket,
            format!(
                "its zip file of {zipped} is beyond the 50 MB that a call takes, and unpacks to {}, within {}",
                unzipped.own + unzipped.layers,
                ByteCount(UNZIPPED_BYTES)
            ),
        )),
    }
}

/// Why a slice goes as an image that unpacks to `unpacked`.
pub(super) fn of_image(
    slice: &str,
    unpacked: ByteCount,
    zip: &Result<(), String>,
    prefer: Option<LambdaPackageKind>,
) -> Result<String, LambdaError> {
    if unpacked.0 > IMAGE_BYTES {
        let reason = format!(
            "its image unpacks to {}, images may to {}",
            exact(unpacked),
            exact(ByteCount(IMAGE_BYTES))
        );
        return Err(LambdaError::TooLarge { slice: slice.to_owned(), reason });
    }
    Ok(match (zip, prefer) {
        (Err(reason), None) => format!("as a zip file it cannot go: {reason}"),
        _ => "asked for".to_owned(),
    })
}

/// A size that can be compared with a limit: `1.5 MiB (1,572,864 bytes)`.
pub(super) fn exact(bytes: ByteCount) -> String {
    let digits = bytes.0.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{bytes} ({grouped} bytes)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use LambdaPackageKind::{Image, ZipBucket, ZipInline};

    fn unzipped(own: u64, layers: u64) -> Unzipped {
        Unzipped { own: ByteCount(own), layers: ByteCount(layers) }
    }

    fn zip_kind(zipped: u64, prefer: Option<LambdaPackageKind>) -> Result<LambdaPackageKind, String> {
        of_zip("s", ByteCount(zipped), &unzipped(200_000_000, 0), prefer)
            .map(|(kind, _)| kind)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn limits_are_exact() {
        assert_eq!(zip_kind(50_000_000, None), Ok(ZipInline));
        assert_eq!(zip_kind(50_000_001, None), Ok(ZipBucket));
        assert_eq!(check_zip(&unzipped(262_144_000, 0)), Ok(()));
        assert_eq!(check_zip(&unzipped(262_143_999, 1)), Ok(()));
        assert!(check_zip(&unzipped(262_144_001, 0)).is_err());
        insta::assert_snapshot!(check_zip(&unzipped(262_144_000, 1)).unwrap_err(), @"it unpacks to 250 MiB (262,144,001 bytes) with its layers, zip files may to 250 MiB (262,144,000 bytes)");
        assert!(of_image("s", ByteCount(10_737_418_240), &Ok(()), Some(Image)).is_ok());
        assert!(of_image("s", ByteCount(10_737_418_241), &Ok(()), Some(Image)).is_err());
    }

    #[test]
    fn what_is_asked_for_is_done_or_refused() {
        assert_eq!(zip_kind(1, Some(ZipBucket)), Ok(ZipBucket));
        assert_eq!(zip_kind(1, Some(ZipInline)), Ok(ZipInline));
        insta::assert_snapshot!(zip_kind(50_000_001, Some(ZipInline)).unwrap_err(), @"slice `s` cannot go as zip: the zip file has 47.7 MiB (50,000,001 bytes), calls take 47.7 MiB (50,000,000 bytes)");
        let impossible = Err("it is odd".to_owned());
        assert!(!wants_zip("s", &impossible, None).unwrap());
        assert!(!wants_zip("s", &Ok(()), Some(Image)).unwrap());
        assert!(wants_zip("s", &Ok(()), None).unwrap());
        let error = wants_zip("s", &impossible, Some(ZipBucket)).unwrap_err();
        insta::assert_snapshot!(error, @"slice `s` cannot go as zip through S3: it is odd");
    }

    #[test]
    fn images_say_why() {
        let because = Err("it is odd".to_owned());
        assert_eq!(
            of_image("s", ByteCount(1), &because, None).unwrap(),
            "as a zip file it cannot go: it is odd"
        );
        assert_eq!(of_image("s", ByteCount(1), &Ok(()), Some(Image)).unwrap(), "asked for");
    }
}
