//! The JSON of a request, read in two passes: what it says of its tensors, then their elements,
//! led by what the model takes. So neither pass holds much more than the text, in whatever order
//! fields come.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use tranche_schema::{ElementsSeed, Tensor, TensorSpec};

/// Most tensors of a request, and most extents of a shape: lists that no model comes near would
/// take several times the text's memory.
const MAX_TENSORS: usize = 4096;
const MAX_RANK: usize = 64;

/// An inference request without its elements. Fields that are not known are passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) parameters: Option<Parameters>,
    #[serde(deserialize_with = "at_most::<_, _, MAX_TENSORS>")]
    pub(super) inputs: Vec<Input>,
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_TENSORS>")]
    pub(super) outputs: Vec<Output>,
}

/// Parameters that are known, of requests, inputs and outputs alike.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    /// Bytes of this input behind the JSON.
    #[serde(default)]
    pub(super) binary_data_size: Option<u64>,
    /// Whether this output is to be behind the JSON.
    #[serde(default)]
    pub(super) binary_data: Option<bool>,
    /// Whether outputs that do not say are to be.
    #[serde(default)]
    pub(super) binary_data_output: Option<bool>,
    /// Microseconds.
    #[serde(default)]
    pub(super) timeout: Option<u64>,
    #[serde(default)]
    pub(super) classification: Option<u64>,
    #[serde(default)]
    pub(super) shared_memory_region: Option<String>,
}

/// An input without its elements.
#[derive(Debug, Deserialize)]
pub(super) struct Input {
    pub(super) name: String,
    #[serde(deserialize_with = "at_most::<_, _, MAX_RANK>")]
    pub(super) shape: Vec<u64>,
    pub(super) datatype: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
    #[serde(default)]
    pub(super) data: Option<IgnoredAny>,
}

/// An output that is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Output {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
}

/// The first pass.
pub(super) fn read_head(text: &[u8]) -> serde_json::Result<Head> {
    serde_json::from_slice(text)
}

/// The second pass: the elements of those inputs, by position, that have a tensor to become.
pub(super) fn read_elements(
    text: &[u8],
    expected: &[Option<&TensorSpec>],
) -> serde_json::Result<Vec<Option<Tensor>>> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = Body(expected).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(read)
}

/// A list of at most so many.
fn at_most<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MOST {
                    return Err(A::Error::custom(format!("the list is longer than {MOST}")));
                }
                list.push(item);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
}

/// What a visitor of one kind of JSON needs to be a seed.
macro_rules! seed {
    ($name:ident, $method:ident) => {
        impl<'de> DeserializeSeed<'de> for $name<'_> {
            type Value = <Self as Visitor<'de>>::Value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.$method(self)
            }
        }
    };
}

struct Body<'a>(&'a [Option<&'a TensorSpec>]);
seed!(Body, deserialize_map);

impl<'de> Visitor<'de> for Body<'_> {
    type Value = Vec<Option<Tensor>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with `inputs`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut inputs = Vec::new();
        while let Some(field) = fields.next_key::<String>()? {
            if field == "inputs" {
                inputs = fields.next_value_seed(Inputs(self.0))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(inputs)
    }
}

struct Inputs<'a>(&'a [Option<&'a TensorSpec>]);
seed!(Inputs, deserialize_seq);

impl<'de> Visitor<'de> for Inputs<'_> {
    type Value = Vec<Option<Tensor>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of inputs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut tensors = Vec::with_capacity(self.0.len());
        for expected in self.0 {
            match items.next_element_seed(OneInput(*expected))? {
                Some(tensor) => tensors.push(tensor),
                None => break,
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(tensors)
    }
}

struct OneInput<'a>(Option<&'a TensorSpec>);
seed!(OneInput, deserialize_map);

impl<'de> Visitor<'de> for OneInput<'_> {
    type Value = Option<Tensor>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an input")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut tensor = None;
        while let Some(field) = fields.next_key::<String>()? {
            match self.0 {
                Some(expected) if field == "data" => {
                    let read = fields.next_value_seed(ElementsSeed(expected));
                    let named = |error| A::Error::custom(format!("input `{}`: {error}", expected.name));
                    tensor = Some(read.map_err(named)?);
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(tensor)
    }
}
