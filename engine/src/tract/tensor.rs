use std::borrow::Cow;
use tract_onnx::prelude::{
    DatumType, IntoTValue, SymbolValues, TDim, TValue, Tensor as TractTensor, TractResult,
    tract_ndarray::ArrayD,
};
use tract_onnx::tract_core::internal::{bail, format_err};
use tranche_schema::{ElementType, TensorView};

/// tract's type for an ONNX type; `None` where tract has none.
pub(super) fn to_datum(element_type: ElementType) -> Option<DatumType> {
    Some(match element_type {
        ElementType::Bool => DatumType::Bool,
        ElementType::UInt8 => DatumType::U8,
        ElementType::UInt16 => DatumType::U16,
        ElementType::UInt32 => DatumType::U32,
        ElementType::UInt64 => DatumType::U64,
        ElementType::Int8 => DatumType::I8,
        ElementType::Int16 => DatumType::I16,
        ElementType::Int32 => DatumType::I32,
        ElementType::Int64 => DatumType::I64,
        ElementType::Float16 => DatumType::F16,
        ElementType::Float32 => DatumType::F32,
        ElementType::Float64 => DatumType::F64,
        ElementType::String => DatumType::String,
        _ => return None,
    })
}

/// The ONNX type of a tract type. A dimension (`TDim`) is what tract makes of an
/// int64 that came from a shape.
pub(super) fn from_datum(datum: DatumType) -> Option<ElementType> {
    Some(match datum {
        DatumType::Bool => ElementType::Bool,
        DatumType::U8 | DatumType::QU8(_) => ElementType::UInt8,
        DatumType::U16 => ElementType::UInt16,
        DatumType::U32 => ElementType::UInt32,
        DatumType::U64 => ElementType::UInt64,
        DatumType::I8 | DatumType::QI8(_) => ElementType::Int8,
        DatumType::I16 => ElementType::Int16,
        DatumType::I32 | DatumType::QI32(_) => ElementType::Int32,
        DatumType::I64 | DatumType::TDim => ElementType::Int64,
        DatumType::F16 => ElementType::Float16,
        DatumType::F32 => ElementType::Float32,
        DatumType::F64 => ElementType::Float64,
        DatumType::String => ElementType::String,
        DatumType::Blob => return None,
    })
}

/// A tract tensor with a copy of the view's elements. The view has passed
/// [`TensorView::check`].
pub(super) fn to_tract(view: &TensorView<'_>) -> Result<TValue, String> {
    let datum = to_datum(view.element_type)
        .ok_or_else(|| format!("tract has no element type {}", view.element_type))?;
    let shape: Vec<usize> = view
        .shape
        .iter()
        .map(|&extent| usize::try_from(extent).map_err(|_| format!("{extent} elements do not fit memory")))
        .collect::<Result<_, _>>()?;
    let tensor: TractTensor = match datum {
        DatumType::Bool => {
            let values = view.data.iter().map(|&byte| byte != 0).collect();
            ArrayD::<bool>::from_shape_vec(shape, values).map_err(|error| error.to_string())?.into()
        }
        DatumType::String => {
            let values = view.to_tensor().map_err(|error| error.to_string())?;
            let values = values.strings().unwrap_or_default().into_iter().map(str::to_owned).collect();
            ArrayD::<String>::from_shape_vec(shape, values).map_err(|error| error.to_string())?.into()
        }
        _ => numbers(datum, &shape, view.data)?,
    };
    Ok(tensor.into_tvalue())
}

#[expect(unsafe_code, reason = "the only way to make a tensor of a type known at run time")]
fn numbers(datum: DatumType, shape: &[usize], data: &[u8]) -> Result<TractTensor, String> {
    // SAFETY: the caller comes here with numeric types only, of which every bit
    // pattern is a value; `from_raw_dt` checks the length against type and shape.
    unsafe { TractTensor::from_raw_dt(datum, shape, data) }.map_err(|error| error.to_string())
}

/// A tract tensor as packed bytes, borrowed where tract has it so.
pub(super) struct Packed<'a> {
    element_type: ElementType,
    shape: Vec<u64>,
    data: Cow<'a, [u8]>,
}

impl<'a> Packed<'a> {
    pub(super) fn new(tensor: &'a TractTensor, symbols: &SymbolValues) -> TractResult<Self> {
        let element_type = from_datum(tensor.datum_type())
            .ok_or_else(|| format_err!("an output is of tract's own type {:?}", tensor.datum_type()))?;
        let data = match tensor.datum_type() {
            DatumType::TDim => {
                let dims = tensor.try_as_plain_ram()?;
                let values = dims.as_slice::<TDim>()?.iter().map(|dim| dim.eval(symbols).to_i64());
                let values = values.collect::<Result<Vec<i64>, _>>()?;
                Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            DatumType::String => {
                let mut data = Vec::new();
                for text in tensor.to_plain_array_view::<String>()? {
                    let Ok(length) = u32::try_from(text.len()) else { bail!("a string is too long") };
                    data.extend_from_slice(&length.to_le_bytes());
                    data.extend_from_slice(text.as_bytes());
                }
                Cow::Owned(data)
            }
            _ => Cow::Borrowed(tensor.try_as_plain_ram()?.as_bytes()),
        };
        let shape = tensor.shape().iter().map(|&extent| extent as u64).collect();
        Ok(Self { element_type, shape, data })
    }

    pub(super) fn view(&self) -> TensorView<'_> {
        TensorView { element_type: self.element_type, shape: &self.shape, data: &self.data }
    }
}
