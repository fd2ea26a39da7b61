//! Tensors as JSON text, read element by element.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use serde::de::DeserializeSeed as _;
use tranche_schema::{
    ElementType, ElementsSeed, Tensor, TensorSeed, TensorSpec, write_elements, write_tensors_json,
};

fn spec(element_type: ElementType, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: "x".to_owned(), element_type, shape: shape.to_vec() }
}

fn read(text: &str, spec: &TensorSpec) -> Result<Tensor, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let tensor = TensorSeed(spec).deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(tensor)
}

/// The same of elements alone.
fn read_elements(text: &str, spec: &TensorSpec) -> Result<Tensor, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    ElementsSeed(spec).deserialize(&mut deserializer).map_err(|error| error.to_string())
}

/// The tensor `x` of an object as written.
fn read_back(text: &str, spec: &TensorSpec) -> Tensor {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    read(&value["x"].to_string(), spec).unwrap()
}

#[test]
fn both_forms_are_read_in_any_order_of_fields() {
    let expected = spec(ElementType::Float32, &[2, 2]);
    let tensor = Tensor::from_f32(vec![2, 2], &[1.0, 2.5, -3.0, 0.0]).unwrap();
    for text in [
        "[[1, 2.5], [-3, 0]]",
        r#"{"shape": [2, 2], "data": [1, 2.5, -3, 0]}"#,
        r#"{"data": [1, 2.5, -3, 0], "name": {"is": ["passed over"]}, "shape": [2, 2]}"#,
        r#"{"element_type": "float32", "data": [1, 2.5, -3, 0], "shape": [2, 2]}"#,
    ] {
        assert_eq!(read(text, &expected).as_ref(), Ok(&tensor), "{text}");
    }
    assert_eq!(read("7", &spec(ElementType::Int64, &[])), Ok(Tensor::from_i64(vec![], &[7]).unwrap()));
    let strings = read(r#"["a", "tranché"]"#, &spec(ElementType::String, &[2])).unwrap();
    assert_eq!(strings.strings().unwrap(), ["a", "tranché"]);
}

#[test]
fn elements_alone_are_flat_or_nested_as_the_shape_says() {
    let expected = spec(ElementType::Float32, &[2, 2]);
    let tensor = Tensor::from_f32(vec![2, 2], &[1.0, 2.5, -3.0, 0.0]).unwrap();
    for text in ["[1, 2.5, -3, 0]", "[[1, 2.5], [-3, 0]]"] {
        assert_eq!(read_elements(text, &expected).as_ref(), Ok(&tensor), "{text}");
    }
    let mut written = b"[".to_vec();
    write_elements(&mut written, &tensor).unwrap();
    assert_eq!(written, b"[1.0, 2.5, -3.0, 0.0");
    assert_eq!(
        read_elements("[7]", &spec(ElementType::Int64, &[])),
        Tensor::from_i64(vec![], &[7]).map_err(|_| String::new())
    );
    assert!(read_elements("[]", &spec(ElementType::Int64, &[0, 3])).is_ok());
    for (text, reason) in [
        ("[1, 2, 3]", "shape [2, 2] does not have 3 elements"),
        ("[1, 2, 3, 4, 5]", "it has more elements than float32 [2, 2]"),
        ("[[1], [2], [3], [4]]", "it is float32 [4, 1], expected float32 [2, 2]"),
        ("[[1, 2], [3]]", "arrays of 2 and of 1 elements lie side by side"),
        ("1", "it is no list of elements"),
        (r#"{"shape": [2, 2], "data": [1, 2, 3, 4]}"#, "invalid type: map"),
    ] {
        let refused = read_elements(text, &expected).unwrap_err();
        assert!(refused.starts_with(reason), "{text}: {refused}");
    }
}

#[test]
fn what_is_not_the_tensor_is_refused() {
    let of = |text: &str| read(text, &spec(ElementType::Float32, &[2])).unwrap_err();
    for (text, reason) in [
        ("[1, 2, 3]", "it has more elements than float32 [2]"),
        ("[1]", "it is float32 [1], expected float32 [2]"),
        ("[1, null]", "element 1, null, is no float32"),
        (r#"{"shape": [2], "data": [[1], [2]]}"#, "field `data` is no list of elements"),
        (r#"{"shape": [2], "data": [1, 2], "data": []}"#, "field `data` is there twice"),
        (r#"{"shape": [3], "data": [1, 2]}"#, "it is float32 [3], expected float32 [2]"),
        (r#"{"shape": [2]}"#, "field `data` is missing"),
        (r#"{"shape": [-2], "data": []}"#, "invalid value"),
        ("[{}, 1]", "invalid type: map"),
        ("[1, 2", "EOF"),
    ] {
        assert!(of(text).starts_with(reason), "{text}: {}", of(text));
    }
    let far = spec(ElementType::Float32, &[u64::MAX, 2]);
    assert!(read("[]", &far).unwrap_err().starts_with("it is too large"));
}

proptest! {
    #[test]
    fn tensors_come_back_bit_by_bit(
        values in prop::collection::vec(any::<f32>().prop_filter("one NaN", |value| !value.is_nan()), 0..40),
    ) {
        let shape = vec![values.len() as u64];
        let tensor = Tensor::from_f32(shape.clone(), &values).unwrap();
        let mut text = Vec::new();
        write_tensors_json(&mut text, &[("x".to_owned(), tensor.clone())]).unwrap();
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(read_back(&text, &spec(ElementType::Float32, &shape)), tensor);
    }

    #[test]
    fn no_text_makes_it_panic(
        text in r#"[\[\]{}:,"0-9a-z \\-]{0,60}"#,
        extents in prop::collection::vec(0_u64..4, 0..3),
    ) {
        let _ = read(&text, &spec(ElementType::Int4, &extents));
    }
}
