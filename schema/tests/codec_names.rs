//! Codecs have one name, in files and in messages.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use tranche_schema::Codec;

#[test]
fn names_in_files_are_those_in_messages() {
    for &codec in Codec::ALL {
        assert_eq!(serde_json::to_value(codec).unwrap(), codec.name());
        assert_eq!(serde_json::from_value::<Codec>(codec.to_string().into()).unwrap(), codec);
    }
    let names: Vec<&str> = Codec::ALL.iter().map(|codec| codec.name()).collect();
    let expected = ["raw", "zstd", "lz4", "shuffle-zstd", "sparse", "f16", "bf16", "int8"];
    assert_eq!(names, expected, "names of plans that were written");
}
