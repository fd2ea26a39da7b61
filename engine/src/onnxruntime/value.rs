//! Tensors as ONNX Runtime holds them, of every element type, over the caller's memory.

use ort::sys::{ONNXTensorElementDataType as Code, OrtStatusPtr, OrtValue};
use ort::{AsPointer, memory::Allocator, memory::MemoryInfo};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use tranche_schema::{AlignedBuffer, ElementType, Tensor, TensorView};

/// ONNX Runtime's numbers are ONNX's but for the newest types.
pub(super) fn to_code(element_type: ElementType) -> Option<Code> {
    Some(match element_type {
        ElementType::Float32 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        ElementType::UInt8 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        ElementType::Int8 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        ElementType::UInt16 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        ElementType::Int16 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        ElementType::Int32 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        ElementType::Int64 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        ElementType::String => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
        ElementType::Bool => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        ElementType::Float16 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        ElementType::Float64 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        ElementType::UInt32 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        ElementType::UInt64 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        ElementType::Complex64 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64,
        ElementType::Complex128 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128,
        ElementType::BFloat16 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        ElementType::Float8E4M3FN => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN,
        ElementType::Float8E4M3FNUZ => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ,
        ElementType::Float8E5M2 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2,
        ElementType::Float8E5M2FNUZ => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ,
        ElementType::UInt4 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4,
        ElementType::Int4 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4,
        ElementType::Float4E2M1 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT4E2M1,
        ElementType::UInt2 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT2,
        ElementType::Int2 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT2,
        ElementType::Float8E8M0 => Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E8M0,
        _ => return None,
    })
}

fn from_number(number: i32) -> Option<ElementType> {
    let named = |element_type: &ElementType| to_code(*element_type).is_some_and(|code| code as i32 == number);
    ElementType::ALL.iter().copied().find(named)
}

/// The type that a session says an input or output has.
pub(super) fn from_declared(declared: ort::value::TensorElementType) -> Option<ElementType> {
    from_number(Code::from(declared) as i32)
}

/// A tensor of ONNX Runtime's, over memory borrowed for `'a` or of its own.
pub(super) struct Value<'a> {
    pointer: NonNull<OrtValue>,
    memory: PhantomData<&'a mut [u8]>,
}

impl Drop for Value<'_> {
    #[expect(unsafe_code, reason = "values belong to the C API")]
    fn drop(&mut self) {
        // SAFETY: the pointer came from ONNX Runtime, is owned by this value alone and
        // released once.
        unsafe { (ort::api().ReleaseValue)(self.pointer.as_ptr()) }
    }
}

impl<'a> Value<'a> {
    /// An input, read in place where its memory is aligned for the element.
    pub(super) fn input(view: &TensorView<'a>, copies: &'a mut AlignedBuffer) -> Result<Self, String> {
        if view.element_type == ElementType::String {
            return Self::strings(view);
        }
        let data = if is_aligned(view.element_type, view.data) {
            view.data
        } else {
            *copies = AlignedBuffer::copy_of(view.data);
            (*copies).as_ref()
        };
        // ONNX Runtime takes one kind of pointer for inputs and outputs; it never
        // writes through an input's.
        Self::over(view.element_type, view.shape, data.as_ptr().cast_mut(), data.len())
    }

    /// An output that ONNX Runtime writes in place; `None` where the memory is not
    /// aligned for the element, or the type has no fixed size.
    pub(super) fn output(
        element_type: ElementType,
        shape: &[u64],
        data: &'a mut [u8],
    ) -> Result<Option<Self>, String> {
        if element_type == ElementType::String || !is_aligned(element_type, data) {
            return Ok(None);
        }
        if element_type.byte_size(shape) != Some(data.len() as u64) {
            return Err(format!("{} bytes are not a {element_type} {shape:?}", data.len()));
        }
        Self::over(element_type, shape, data.as_mut_ptr(), data.len()).map(Some)
    }

    #[expect(unsafe_code, reason = "ort has no untyped constructor over borrowed memory")]
    fn over(element_type: ElementType, shape: &[u64], data: *mut u8, length: usize) -> Result<Self, String> {
        let code = to_code(element_type)
            .ok_or_else(|| format!("ONNX Runtime has no element type {element_type}"))?;
        let shape = extents(shape)?;
        let info = MemoryInfo::default();
        let mut pointer = ptr::null_mut();
        // SAFETY: `data` points to `length` bytes that stay borrowed for `'a`, shared
        // for inputs and exclusively for outputs, which the value cannot outlive;
        // ONNX Runtime checks `length` against type and shape; `info` and `shape` live
        // through the call.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                info.ptr(),
                data.cast::<c_void>(),
                length,
                shape.as_ptr(),
                shape.len(),
                code,
                &raw mut pointer,
            )
        })?;
        Self::from_raw(pointer)
    }

    #[expect(unsafe_code, reason = "string tensors are made through the C API")]
    fn strings(view: &TensorView<'_>) -> Result<Self, String> {
        let tensor = view.to_tensor().map_err(|error| error.to_string())?;
        let strings = tensor.strings().unwrap_or_default();
        let strings = strings.into_iter().map(std::ffi::CString::new).collect::<Result<Vec<_>, _>>();
        let strings = strings.map_err(|_| "a string holds a zero byte".to_owned())?;
        let pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        let shape = extents(view.shape)?;
        let mut allocator = Allocator::default();
        let mut pointer = ptr::null_mut();
        // SAFETY: `shape` lives through the call; the default allocator is the library's own.
        check(unsafe {
            (ort::api().CreateTensorAsOrtValue)(
                allocator.ptr_mut(),
                shape.as_ptr(),
                shape.len(),
                Code::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
                &raw mut pointer,
            )
        })?;
        let value = Self::from_raw(pointer)?;
        // SAFETY: as many pointers as the shape has elements, each to a string ending
        // in zero, all alive through the call, which copies them.
        check(unsafe {
            (ort::api().FillStringTensor)(value.pointer.as_ptr(), pointers.as_ptr(), pointers.len())
        })?;
        Ok(value)
    }

    /// Takes over a value that ONNX Runtime made.
    pub(super) fn from_raw(pointer: *mut OrtValue) -> Result<Self, String> {
        let pointer = NonNull::new(pointer).ok_or("ONNX Runtime made no value")?;
        Ok(Self { pointer, memory: PhantomData })
    }

    pub(super) fn as_ptr(&self) -> *mut OrtValue {
        self.pointer.as_ptr()
    }

    /// Type and shape, where the value is a tensor.
    #[expect(unsafe_code, reason = "ort reads shapes of values that it made itself")]
    pub(super) fn describe(&self) -> Result<(ElementType, Vec<u64>), String> {
        let mut is_tensor = 0;
        // SAFETY: the value is alive.
        check(unsafe { (ort::api().IsTensor)(self.as_ptr(), &raw mut is_tensor) })?;
        if is_tensor == 0 {
            return Err("it is not a tensor".to_owned());
        }
        let (mut number, mut shape, mut rank) = (0_i32, ptr::null(), 0);
        // SAFETY: the value is a living tensor. The type is read as a number, since a
        // newer library may know types that the enumeration does not.
        check(unsafe {
            (ort::api().GetTensorElementTypeAndShapeDataReference)(
                self.as_ptr(),
                (&raw mut number).cast::<Code>(),
                &raw mut shape,
                &raw mut rank,
            )
        })?;
        let element_type =
            from_number(number).ok_or_else(|| format!("its element type {number} is unknown"))?;
        let shape: &[i64] = if rank == 0 || shape.is_null() {
            &[]
        } else {
            // SAFETY: the library points at `rank` extents inside the living value.
            unsafe { std::slice::from_raw_parts(shape, rank) }
        };
        let shape = shape.iter().map(|&extent| u64::try_from(extent));
        let shape = shape.collect::<Result<_, _>>().map_err(|_| "its shape is negative".to_owned())?;
        Ok((element_type, shape))
    }

    /// A copy of the tensor.
    pub(super) fn to_tensor(&self) -> Result<Tensor, String> {
        let (element_type, shape) = self.describe()?;
        if element_type == ElementType::String {
            return Tensor::from_strings(shape.clone(), &self.read_strings(&shape)?)
                .map_err(|error| error.to_string());
        }
        let length = element_type.byte_size(&shape).and_then(|length| usize::try_from(length).ok());
        let data = self.read(length.ok_or("it is too large")?)?;
        Tensor::new(element_type, shape, AlignedBuffer::copy_of(data).freeze())
            .map_err(|error| error.to_string())
    }

    #[expect(unsafe_code, reason = "ort reads data of values that it made itself")]
    fn read(&self, length: usize) -> Result<&[u8], String> {
        if length == 0 {
            return Ok(&[]);
        }
        let mut data = ptr::null_mut();
        // SAFETY: the value is a living tensor of a type other than string.
        check(unsafe { (ort::api().GetTensorMutableData)(self.as_ptr(), &raw mut data) })?;
        if data.is_null() {
            return Err("it has no data".to_owned());
        }
        // SAFETY: the tensor holds as many bytes as its type and shape say, on the
        // processor's memory since no other device is in use, while it lives.
        Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) })
    }

    #[expect(unsafe_code, reason = "ort reads strings of values that it made itself")]
    fn read_strings(&self, shape: &[u64]) -> Result<Vec<String>, String> {
        let elements = shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
        let elements = elements.and_then(|count| usize::try_from(count).ok()).ok_or("it is too large")?;
        if elements == 0 {
            return Ok(Vec::new());
        }
        let mut length = 0;
        // SAFETY: the value is a living string tensor.
        check(unsafe { (ort::api().GetStringTensorDataLength)(self.as_ptr(), &raw mut length) })?;
        let (mut text, mut starts) = (vec![0_u8; length], vec![0_usize; elements]);
        // SAFETY: both buffers have the lengths that are passed, which the call checks.
        check(unsafe {
            (ort::api().GetStringTensorContent)(
                self.as_ptr(),
                text.as_mut_ptr().cast::<c_void>(),
                length,
                starts.as_mut_ptr(),
                elements,
            )
        })?;
        let ends = starts.iter().copied().skip(1).chain([length]);
        let strings = starts.iter().zip(ends).map(|(&start, end)| {
            let bytes = text.get(start..end).ok_or("its strings overlap")?;
            String::from_utf8(bytes.to_vec()).map_err(|_| "a string is not UTF-8")
        });
        Ok(strings.collect::<Result<_, _>>()?)
    }
}

fn is_aligned(element_type: ElementType, data: &[u8]) -> bool {
    let size = element_type.bits().map_or(1, |bits| (bits as usize / 8).clamp(1, 8));
    (data.as_ptr() as usize).is_multiple_of(size)
}

fn extents(shape: &[u64]) -> Result<Vec<i64>, String> {
    let shape = shape.iter().map(|&extent| i64::try_from(extent));
    shape.collect::<Result<_, _>>().map_err(|_| "the shape is too large".to_owned())
}

/// The library's words, where a call failed.
#[expect(unsafe_code, reason = "a status is read and released through the C API")]
pub(super) fn check(status: OrtStatusPtr) -> Result<(), String> {
    // SAFETY: the status comes straight from a call of the C API and is read once.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| error.to_string())
}
