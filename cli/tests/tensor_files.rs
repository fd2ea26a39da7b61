//! Tensors written and read again, and files that must be refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tranche_cli::tensor_files::{TensorFileError, read_tensors, write_tensors};
use tranche_schema::{ElementType, Tensor, TensorSpec};

const FORMATS: [&str; 4] = ["npy", "npz", "safetensors", "json"];

fn spec(name: &str, element_type: ElementType, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), element_type, shape: shape.to_vec() }
}

fn spec_of(name: &str, tensor: &Tensor) -> TensorSpec {
    spec(name, tensor.element_type(), tensor.shape())
}

/// A tensor whose bytes count up (0 and 1 for bool), unused bits zero.
fn counting(element_type: ElementType, shape: &[u64]) -> Tensor {
    if element_type == ElementType::String {
        let count: u64 = shape.iter().product();
        let words = ["", "tranche", "déjà vu", "切片", "a \"quoted\" one\n", "🍕"];
        let values: Vec<&str> = words.into_iter().cycle().take(count as usize).collect();
        return Tensor::from_strings(shape.to_vec(), &values).unwrap();
    }
    let size = element_type.byte_size(shape).unwrap() as usize;
    let modulus = if element_type == ElementType::Bool { 2 } else { 63 };
    let mut bytes: Vec<u8> = (0..size).map(|at| (at % modulus) as u8).collect();
    let bits = element_type.bits().unwrap() as u64 * shape.iter().product::<u64>();
    if !bits.is_multiple_of(8) {
        *bytes.last_mut().unwrap() &= (1 << (bits % 8)) - 1;
    }
    Tensor::new(element_type, shape.to_vec(), bytes.into()).unwrap()
}

fn path(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn read(path: &Path, expected: &[TensorSpec]) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    read_tensors(path.to_str().unwrap(), expected)
}

/// Writes text as a file and reads it as `expected`; the error without the folder.
fn refused(name: &str, contents: &[u8], expected: &[TensorSpec]) -> String {
    let folder = TempDir::new().unwrap();
    std::fs::write(path(&folder, name), contents).unwrap();
    let error = read(&path(&folder, name), expected).unwrap_err();
    assert!(!error.hint().is_empty());
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

fn json(text: &str, expected: &TensorSpec) -> Result<Tensor, String> {
    let folder = TempDir::new().unwrap();
    let file = path(&folder, "x.json");
    std::fs::write(&file, text).unwrap();
    match read_tensors(&format!("x={}", file.display()), std::slice::from_ref(expected)) {
        Ok(tensors) => Ok(tensors.into_iter().next().unwrap().1),
        Err(error) => Err(error.to_string().replace(&format!("{}: tensor `x`: ", file.display()), "")),
    }
}

#[test]
fn every_type_comes_back_from_every_format_that_holds_it() {
    let folder = TempDir::new().unwrap();
    let mut held = Vec::new();
    for format in FORMATS {
        let mut names = Vec::new();
        for &element_type in ElementType::ALL {
            for shape in [&[2, 4, 3][..], &[8], &[], &[0, 3]] {
                // safetensors holds whole bytes only.
                if shape.is_empty() && element_type.bits().is_some_and(|bits| bits % 8 != 0) {
                    continue;
                }
                let tensor = counting(element_type, shape);
                let file = path(&folder, &format!("x.{format}"));
                let tensors = vec![("x".to_owned(), tensor.clone())];
                match write_tensors(&file, &tensors) {
                    Err(TensorFileError::CannotHold { .. }) => continue,
                    other => other.unwrap(),
                }
                let back = read(&file, &[spec_of("x", &tensor)]).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(back, tensors, "{format} {element_type} {shape:?}");
                if shape.len() == 1 {
                    names.push(element_type.name());
                }
            }
        }
        held.push(format!("{format}: {}", names.join(" ")));
    }
    insta::assert_snapshot!(held.join("\n"), @r"
    npy: float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 uint64 complex64 complex128 bfloat16 float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz float8e8m0
    npz: float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 uint64 complex64 complex128 bfloat16 float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz float8e8m0
    safetensors: float32 uint8 int8 uint16 int16 int32 int64 bool float16 float64 uint32 uint64 complex64 bfloat16 float8e4m3fn float8e4m3fnuz float8e5m2 float8e5m2fnuz float4e2m1 float8e8m0 float6e2m3 float6e3m2
    json: float32 uint8 int8 uint16 int16 int32 int64 string bool float16 float64 uint32 uint64 bfloat16 uint4 int4 uint2 int2
    ");
}

#[test]
fn several_tensors_keep_their_names() {
    let folder = TempDir::new().unwrap();
    let mut tensors = vec![
        ("a=b".to_owned(), counting(ElementType::Int64, &[2])),
        ("layer/0:out".to_owned(), counting(ElementType::Float32, &[2, 3])),
        ("ids".to_owned(), counting(ElementType::Int64, &[4])),
    ];
    tensors.sort_by(|(left, _), (right, _)| left.cmp(right));
    let expected: Vec<TensorSpec> = tensors.iter().map(|(name, tensor)| spec_of(name, tensor)).collect();
    for format in &FORMATS[1..] {
        let file = path(&folder, &format!("all.{format}"));
        write_tensors(&file, &tensors).unwrap();
        assert_eq!(read(&file, &expected).unwrap(), tensors, "{format}");
        let first = std::fs::read(&file).unwrap();
        write_tensors(&file, &tensors).unwrap();
        assert_eq!(first, std::fs::read(&file).unwrap(), "{format} is written alike twice");
    }
    let error = write_tensors(&path(&folder, "all.npy"), &tensors).unwrap_err();
    assert!(matches!(error, TensorFileError::OneTensorOnly { count: 3, .. }));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn a_name_before_the_file_picks_the_tensor() {
    let folder = TempDir::new().unwrap();
    let tensor = counting(ElementType::Float32, &[3]);
    let expected = [spec_of("x", &tensor), spec("y", ElementType::Float32, &[1])];
    let file = path(&folder, "odd=name.npy");
    write_tensors(&file, &[("whatever".to_owned(), tensor.clone())]).unwrap();
    let read = |spec: String| read_tensors(&spec, &expected);
    assert_eq!(read(format!("x={}", file.display())).unwrap(), [("x".to_owned(), tensor.clone())]);
    let error = read(file.display().to_string()).unwrap_err();
    assert!(error.to_string().ends_with("does not say which tensor it holds; there are `x`, `y`"), "{error}");
    let error = read(format!("z={}", file.display())).unwrap_err();
    assert!(error.to_string().ends_with("there is no tensor `z`; there are `x`, `y`"), "{error}");
    for format in ["npz", "safetensors"] {
        let file = path(&folder, &format!("two.{format}"));
        let more = ("unknown".to_owned(), counting(ElementType::Int8, &[1]));
        write_tensors(&file, &[("x".to_owned(), tensor.clone()), more]).unwrap();
        assert_eq!(read(format!("x={}", file.display())).unwrap(), [("x".to_owned(), tensor.clone())]);
        assert!(read(file.display().to_string()).unwrap_err().to_string().contains("no tensor `unknown`"));
        assert!(read(format!("y={}", file.display())).unwrap_err().to_string().contains("holds no"));
    }
}

#[test]
fn fortran_order_is_transposed() {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    let header = "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }\n";
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend([0_i32, 3, 1, 4, 2, 5].iter().flat_map(|value| value.to_le_bytes()));
    let folder = TempDir::new().unwrap();
    std::fs::write(path(&folder, "x.npy"), file).unwrap();
    let tensors = read(&path(&folder, "x.npy"), &[spec("x", ElementType::Int32, &[2, 3])]).unwrap();
    assert_eq!(tensors[0].1.as_slice::<i32>().unwrap(), [0, 1, 2, 3, 4, 5]);
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x02\x00".to_vec();
    file.extend((header.len() as u32).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

#[test]
fn arrays_that_do_not_fit_are_refused_by_name() {
    let expected = [spec("x", ElementType::Float32, &[1, 2])];
    let of = |header: &str, data: &[u8]| refused("x.npy", &npy(header, data), &expected);
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
    insta::assert_snapshot!(of("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }", &[0; 16]), @"x.npy: tensor `x`: it is float64 [1, 2], expected float32 [1, 2]");
    insta::assert_snapshot!(of("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2), }", &[0; 8]), @"x.npy: tensor `x`: it is NumPy's `>f4` [1, 2], expected float32 [1, 2]");
    insta::assert_snapshot!(of("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2), }", &[0; 8]), @"x.npy: tensor `x`: it is NumPy's `|O` [1, 2], expected float32 [1, 2]");
    insta::assert_snapshot!(of("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 8]), @"x.npy: tensor `x`: it is float32 [2], expected float32 [1, 2]");
    insta::assert_snapshot!(of("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 9999999999999), }", &[]), @"x.npy: tensor `x`: it is float32 [9999999999999, 9999999999999], expected float32 [1, 2]");
    insta::assert_snapshot!(of(good, &[0; 7]), @"x.npy: tensor `x`: the file ends before its 8 bytes of elements");
    insta::assert_snapshot!(of(good, &[0; 9]), @"x.npy: tensor `x`: the file goes on after its 8 bytes of elements");
    insta::assert_snapshot!(of(&"[".repeat(70_000), &[]), @"x.npy: tensor `x`: its header has 70000 bytes, at most 65535 are read");
    insta::assert_snapshot!(refused("x.npy", b"PK\x03\x04 and more", &expected), @"x.npy: tensor `x`: it is not a .npy array");
    insta::assert_snapshot!(refused("x.npy", b"\x93NUM", &expected), @"x.npy: tensor `x`: the file ends within its header");
    insta::assert_snapshot!(refused("x.txt", b"1 2", &expected), @"x.txt is neither .npy, .npz, .safetensors nor .json");
    let strings = [spec("x", ElementType::String, &[1 << 20])];
    let long = npy("{'descr': '<U4000', 'fortran_order': False, 'shape': (1048576,), }", &[]);
    insta::assert_snapshot!(refused("x.npy", &long, &strings), @"x.npy: tensor `x`: its strings take 16777216000 bytes, at most 268435456 are read");
    let bools = [spec("x", ElementType::Bool, &[2])];
    let twos = npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", &[1, 2]);
    insta::assert_snapshot!(refused("x.npy", &twos, &bools), @"x.npy: tensor `x`: its bool elements are not all 0 or 1");
}

#[test]
fn damaged_containers_are_refused() {
    let expected = [spec("x", ElementType::Float32, &[1, 2])];
    assert!(refused("x.npz", b"not a zip", &expected).starts_with("cannot read x.npz: "));
    assert!(refused("x.safetensors", &[0xff; 16], &expected).starts_with("cannot read x.safetensors: "));
    let absurd = br#"{"x":{"dtype":"F32","shape":[1,4611686018427387904],"data_offsets":[0,8]}}"#;
    let mut file = (absurd.len() as u64).to_le_bytes().to_vec();
    file.extend(absurd);
    file.extend([0; 8]);
    assert!(refused("x.safetensors", &file, &expected).starts_with("cannot read x.safetensors: "));
    let folder = TempDir::new().unwrap();
    let wrong = vec![("x".to_owned(), counting(ElementType::Float16, &[1, 2]))];
    for format in &FORMATS[1..] {
        let file = path(&folder, &format!("x.{format}"));
        write_tensors(&file, &wrong).unwrap();
        let error = read(&file, &expected).unwrap_err().to_string();
        assert!(error.contains("float16") && error.contains("expected float32"), "{error}");
    }
}

#[test]
fn json_is_read_as_what_is_expected() {
    let f32s = |shape: &[u64], values: &[f32]| Ok(Tensor::from_f32(shape.to_vec(), values).unwrap());
    let float = |shape: &[u64]| spec("x", ElementType::Float32, shape);
    assert_eq!(json("[[1, 2.5], [-3, 1e-7]]", &float(&[2, 2])), f32s(&[2, 2], &[1.0, 2.5, -3.0, 1e-7]));
    assert_eq!(json("0.1", &float(&[])), f32s(&[], &[0.1]));
    assert_eq!(json("[]", &float(&[0])), f32s(&[0], &[]));
    assert_eq!(json(r#"{"shape": [0, 3], "data": []}"#, &float(&[0, 3])), f32s(&[0, 3], &[]));
    let infinite = json(r#"["-Infinity", "NaN"]"#, &float(&[2])).unwrap();
    let infinite = infinite.as_slice::<f32>().unwrap();
    assert!(infinite[0] == f32::NEG_INFINITY && infinite[1].is_nan());
    let bools = json("[true, 0, 1]", &spec("x", ElementType::Bool, &[3])).unwrap();
    assert_eq!(bools.data()[..], [1, 0, 1]);
    let integers = json("[9007199254740993, -1, 2.0]", &spec("x", ElementType::Int64, &[3])).unwrap();
    assert_eq!(integers.as_slice::<i64>().unwrap(), [9_007_199_254_740_993, -1, 2]);
    let nibbles = json("[-8, 7, -1]", &spec("x", ElementType::Int4, &[3])).unwrap();
    assert_eq!(nibbles.data()[..], [0x78, 0x0f]);
}

#[test]
fn json_that_loses_something_is_refused() {
    let of =
        |text: &str, element_type, shape: &[u64]| json(text, &spec("x", element_type, shape)).unwrap_err();
    use ElementType as T;
    insta::assert_snapshot!(of("[300]", T::UInt8, &[1]), @"element 0, 300, is no uint8");
    insta::assert_snapshot!(of("[-1]", T::UInt64, &[1]), @"element 0, -1, is no uint64");
    insta::assert_snapshot!(of("[1, 1.5]", T::Int64, &[2]), @"element 1, 1.5, is no int64");
    insta::assert_snapshot!(of("[16777217]", T::Float32, &[1]), @"element 0, 16777217, is no float32");
    insta::assert_snapshot!(of("[1e39]", T::Float32, &[1]), @"element 0, 1e+39, is no float32");
    insta::assert_snapshot!(of("[70000.5]", T::Float16, &[1]), @"element 0, 70000.5, is no float16");
    insta::assert_snapshot!(of("[\"1\"]", T::Float32, &[1]), @r#"element 0, "1", is no float32"#);
    insta::assert_snapshot!(of("[1]", T::String, &[1]), @"an element is no string");
    insta::assert_snapshot!(of("[1]", T::Complex64, &[1]), @"JSON has no complex64");
    insta::assert_snapshot!(of("[[1, 2], [3]]", T::Float32, &[2, 2]), @"arrays of 2 and of 1 elements lie side by side");
    insta::assert_snapshot!(of("[[1], 2]", T::Float32, &[2, 1]), @"arrays are nested 2 deep here and 1 deep there");
    insta::assert_snapshot!(of("[1, [2]]", T::Float32, &[2, 1]), @"arrays are nested 1 deep here and deeper there");
    insta::assert_snapshot!(of("[1, 2]", T::Float32, &[1, 2]), @"it is float32 [2], expected float32 [1, 2]");
    insta::assert_snapshot!(of(r#"{"shape": [2], "data": [1]}"#, T::Float32, &[2]), @"shape [2] does not have 1 elements");
    insta::assert_snapshot!(of(r#"{"element_type": "int8", "shape": [1], "data": [1]}"#, T::Float32, &[1]), @r#"it is "int8", expected float32"#);
    insta::assert_snapshot!(of(r#"{"data": [1]}"#, T::Float32, &[1]), @"field `shape` is missing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn floats_come_back_from_json_bit_by_bit(
        single in prop::collection::vec(prop::num::f32::ANY.prop_filter("one NaN", |v| !v.is_nan()), 1..20),
        double in prop::collection::vec(prop::num::f64::ANY.prop_filter("one NaN", |v| !v.is_nan()), 1..20),
        half in prop::collection::vec(any::<u16>().prop_filter("one NaN", |bits| bits & 0x7fff <= 0x7c00), 1..20),
    ) {
        let bytes = |bytes: Vec<u8>| bytes::Bytes::from(bytes);
        let tensors = vec![
            ("half".to_owned(), Tensor::new(ElementType::Float16, vec![half.len() as u64],
                bytes(half.iter().flat_map(|v| v.to_le_bytes()).collect())).unwrap()),
            ("single".to_owned(), Tensor::from_f32(vec![single.len() as u64], &single).unwrap()),
            ("double".to_owned(), Tensor::new(ElementType::Float64, vec![double.len() as u64],
                bytes(double.iter().flat_map(|v| v.to_le_bytes()).collect())).unwrap()),
        ];
        let folder = TempDir::new().unwrap();
        let file = path(&folder, "x.json");
        write_tensors(&file, &tensors).unwrap();
        let expected: Vec<_> = tensors.iter().map(|(name, tensor)| spec_of(name, tensor)).collect();
        prop_assert_eq!(read(&file, &expected).unwrap(), tensors);
    }

    #[test]
    fn damaged_files_never_panic(format in 1_usize..4, at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
        let folder = TempDir::new().unwrap();
        let file = path(&folder, &format!("x.{}", FORMATS[format]));
        let tensors = vec![("x".to_owned(), counting(ElementType::Float32, &[2, 3]))];
        write_tensors(&file, &tensors).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let position = at.index(bytes.len());
        if cut { bytes.truncate(position) } else { bytes[position] = to }
        std::fs::write(&file, bytes).unwrap();
        if let Ok(tensors) = read(&file, &[spec("x", ElementType::Float32, &[2, 3])]) {
            prop_assert!(tensors.iter().all(|(_, tensor)| tensor.data().len() == 24));
        }
    }
}
