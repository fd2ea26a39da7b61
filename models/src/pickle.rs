//! Reads the tensors of a PyTorch state saved in the legacy format (before 1.6):
//! five pickles, then the storages.
//!
//! Only the opcodes that such a state is made of; nothing of the file is run.

use crate::ModelsError;
use crate::weights::{TrainedTensor, TrainedWeights};
use std::collections::HashMap;
use std::rc::Rc;

/// An object of a pickle; shared ones are shared here too.
#[derive(Clone, Debug)]
enum Object {
    Mark,
    None,
    Integer(i64),
    Text(Rc<str>),
    /// `module name` of a class or function.
    Global(Rc<str>),
    Tuple(Rc<[Object]>),
    List(Rc<[Object]>),
    Dictionary(Vec<(Object, Object)>),
    /// What the saved program identified outside of the pickle: a storage.
    Persistent(Rc<Object>),
    /// Arguments of `torch._utils._rebuild_tensor_v2`.
    Tensor(Rc<[Object]>),
}

struct Reader<'a> {
    bytes: &'a [u8],
}

/// The single-precision tensors of a state; those of other types are left out.
pub(crate) fn read_legacy_state(bytes: &[u8]) -> Result<TrainedWeights, ModelsError> {
    let mut reader = Reader { bytes };
    // Magic number, protocol version and facts about the machine.
    for _ in 0..3 {
        reader.pickle()?;
    }
    let state = reader.pickle()?;
    let keys = reader.pickle()?;
    let (Object::Dictionary(state), Object::List(keys)) = (state, keys) else {
        return Err(damaged("holds no state"));
    };
    let tensors: Vec<_> = state.iter().filter_map(|(name, value)| header(name, value)).collect();
    let storages = reader.storages(&keys, &tensors)?;
    let mut weights = TrainedWeights::default();
    for tensor in tensors.iter().filter(|tensor| tensor.element_size == 4) {
        let storage = storages.get(&*tensor.storage).copied().unwrap_or_default();
        let values = gather(tensor, storage).ok_or_else(|| damaged("a tensor lies beyond its storage"))?;
        weights.tensors.insert(tensor.name.clone(), TrainedTensor { shape: tensor.shape.clone(), values });
    }
    Ok(weights)
}

struct Header {
    name: String,
    storage: Rc<str>,
    element_size: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// What a state says of one tensor: storage, offset, shape, strides.
fn header(name: &Object, value: &Object) -> Option<Header> {
    let (Object::Text(name), Object::Tensor(arguments)) = (name, value) else { return None };
    let [Object::Persistent(storage), Object::Integer(offset), shape, strides, ..] = &**arguments else {
        return None;
    };
    let Object::Tuple(storage) = &**storage else { return None };
    let [_, Object::Global(class), Object::Text(key), ..] = &**storage else { return None };
    let element_size = match &**class {
        "torch FloatStorage" => 4,
        "torch LongStorage" => 8,
        _ => return None,
    };
    Some(Header {
        name: name.to_string(),
        storage: Rc::clone(key),
        element_size,
        offset: usize::try_from(*offset).ok()?,
        shape: extents(shape)?,
        strides: extents(strides)?,
    })
}

fn extents(object: &Object) -> Option<Vec<usize>> {
    let Object::Tuple(extents) = object else { return None };
    let extent = |object: &Object| match object {
        Object::Integer(extent) => usize::try_from(*extent).ok(),
        _ => None,
    };
    extents.iter().map(extent).collect()
}

/// The elements of a tensor in row-major order, whatever its strides; `None` beyond its storage.
fn gather(tensor: &Header, storage: &[u8]) -> Option<Vec<f32>> {
    let (storage, _) = storage.as_chunks::<4>();
    let mut places = vec![tensor.offset];
    for (&extent, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        if places.len().checked_mul(extent)? > storage.len() {
            return None;
        }
        let steps =
            |place| (0..extent).map(move |index: usize| index.wrapping_mul(stride).wrapping_add(place));
        places = places.into_iter().flat_map(steps).collect();
    }
    places.into_iter().map(|place| storage.get(place).map(|bytes| f32::from_le_bytes(*bytes))).collect()
}

fn damaged(message: impl Into<String>) -> ModelsError {
    ModelsError::Weights(format!("PyTorch state: {}", message.into()))
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ModelsError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(|| damaged("is truncated"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ModelsError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelsError> {
        self.take(N)?.try_into().map_err(|_| damaged("is truncated"))
    }

    fn length(&mut self) -> Result<usize, ModelsError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<&'a str, ModelsError> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| damaged("is truncated"))?;
        let line = self.take(end)?;
        self.byte()?;
        std::str::from_utf8(line).map_err(|_| damaged("holds a name that is not text"))
    }

    /// The storages behind the pickles, by key: each is a count of elements and the elements.
    fn storages(
        &mut self,
        keys: &[Object],
        tensors: &[Header],
    ) -> Result<HashMap<Rc<str>, &'a [u8]>, ModelsError> {
        let sizes: HashMap<_, _> =
            tensors.iter().map(|tensor| (Rc::clone(&tensor.storage), tensor.element_size)).collect();
        let mut storages = HashMap::new();
        for key in keys {
            let Object::Text(key) = key else { return Err(damaged("a storage has no name")) };
            let size = sizes.get(key).ok_or_else(|| damaged("a storage is of an unknown type"))?;
            let count = usize::try_from(u64::from_le_bytes(self.array()?)).ok();
            let length = count.and_then(|count| count.checked_mul(*size));
            storages.insert(Rc::clone(key), self.take(length.ok_or_else(|| damaged("is truncated"))?)?);
        }
        Ok(storages)
    }

    /// The object of the next pickle.
    fn pickle(&mut self) -> Result<Object, ModelsError> {
        let mut machine = Machine::default();
        while machine.step(self)? {}
        machine.pop()
    }
}

/// The stack machine that a pickle is a program for.
#[derive(Default)]
struct Machine {
    stack: Vec<Object>,
    memory: HashMap<usize, Object>,
}

impl Machine {
    fn pop(&mut self) -> Result<Object, ModelsError> {
        self.stack.pop().ok_or_else(|| damaged("its program is unbalanced"))
    }

    /// What was pushed since the last mark.
    fn pop_to_mark(&mut self) -> Result<Vec<Object>, ModelsError> {
        let mark = self.stack.iter().rposition(|object| matches!(object, Object::Mark));
        let mark = mark.ok_or_else(|| damaged("its program is unbalanced"))?;
        let objects = self.stack.drain(mark..).skip(1).collect();
        Ok(objects)
    }

    fn pop_tuple(&mut self, length: usize) -> Result<Object, ModelsError> {
        let start = self.stack.len().checked_sub(length);
        let start = start.ok_or_else(|| damaged("its program is unbalanced"))?;
        Ok(Object::Tuple(self.stack.drain(start..).collect()))
    }

    /// Runs one instruction; false after the last.
    fn step(&mut self, reader: &mut Reader) -> Result<bool, ModelsError> {
        let pushed = match reader.byte()? {
            b'.' => return Ok(false),
            // PROTO
            0x80 => {
                reader.byte()?;
                return Ok(true);
            }
            b'(' => Object::Mark,
            b'N' | 0x88 | 0x89 => Object::None,
            b'J' => Object::Integer(i64::from(i32::from_le_bytes(reader.array()?))),
            b'K' => Object::Integer(i64::from(reader.byte()?)),
            b'M' => Object::Integer(i64::from(u16::from_le_bytes(reader.array()?))),
            // LONG1, only used for the magic number
            0x8a => {
                let length = reader.byte()?;
                reader.take(length.into())?;
                Object::None
            }
            b'X' => {
                let length = reader.length()?;
                Object::Text(String::from_utf8_lossy(reader.take(length)?).into())
            }
            b'c' => {
                let (module, name) = (reader.line()?, reader.line()?);
                Object::Global(format!("{module} {name}").into())
            }
            b')' => Object::Tuple(Rc::new([])),
            b'}' => Object::Dictionary(Vec::new()),
            b']' => Object::List(Rc::new([])),
            b't' => Object::Tuple(self.pop_to_mark()?.into()),
            0x85 => self.pop_tuple(1)?,
            0x86 => self.pop_tuple(2)?,
            0x87 => self.pop_tuple(3)?,
            b'Q' => Object::Persistent(Rc::new(self.pop()?)),
            b'R' => self.call()?,
            code => return self.step_in_place(code, reader).map(|()| true),
        };
        self.stack.push(pushed);
        Ok(true)
    }

    /// Instructions that change what is on the stack or in memory.
    fn step_in_place(&mut self, code: u8, reader: &mut Reader) -> Result<(), ModelsError> {
        match code {
            b'q' | b'r' => {
                let place = if code == b'q' { reader.byte()?.into() } else { reader.length()? };
                let top = self.stack.last().ok_or_else(|| damaged("its program is unbalanced"))?;
                self.memory.insert(place, top.clone());
            }
            b'h' | b'j' => {
                let place = if code == b'h' { reader.byte()?.into() } else { reader.length()? };
                let known = self.memory.get(&place).ok_or_else(|| damaged("recalls what was not stored"))?;
                self.stack.push(known.clone());
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dictionary(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.extend_dictionary(items)?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                let Object::List(list) = self.pop()? else { return Err(damaged("appends to no list")) };
                self.stack.push(Object::List(list.iter().cloned().chain(items).collect()));
            }
            // BUILD sets attributes of an object; the tensors are not among them.
            b'b' => drop(self.pop()?),
            code => return Err(damaged(format!("instruction {code:#04x} is not known"))),
        }
        Ok(())
    }

    /// Calls what a state calls: the ordered dictionary and the rebuilder of tensors.
    fn call(&mut self) -> Result<Object, ModelsError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Object::Tuple(arguments), Object::Global(function)) = (arguments, function) else {
            return Err(damaged("calls no function"));
        };
        match &*function {
            "collections OrderedDict" => Ok(Object::Dictionary(Vec::new())),
            "torch._utils _rebuild_tensor_v2" => Ok(Object::Tensor(arguments)),
            other => Err(damaged(format!("calls `{other}`, which is not part of a state"))),
        }
    }

    /// Adds keys and values, in turn, to the dictionary on top of the stack.
    fn extend_dictionary(&mut self, items: Vec<Object>) -> Result<(), ModelsError> {
        let Some(Object::Dictionary(entries)) = self.stack.last_mut() else {
            return Err(damaged("sets an item of no dictionary"));
        };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    /// Loads the tensor [2, 3] called `name` that lies column by column from element 1 of storage `7`.
    fn tensor(name: &str) -> Vec<u8> {
        let storage =
            [b"((".to_vec(), text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("7"), text("cpu")];
        let place = b"K\x07NtQK\x01(K\x02K\x03t(K\x01K\x02t\x89)tR";
        [text(name), b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), storage.concat(), place.to_vec()]
            .concat()
    }

    /// The state { weight: [[1, 3, 5], [2, 4, 6]] } as PyTorch before 1.6 saved it.
    fn state() -> Vec<u8> {
        let prologue = b"\x80\x02\x8a\x01\x07.\x80\x02M\xe9\x03.\x80\x02}q\x00.";
        let entries =
            [b"\x80\x02ccollections\nOrderedDict\n)Rq\x01(".to_vec(), tensor("weight"), b"u}b.".to_vec()];
        let keys = [b"\x80\x02]q\x00(".to_vec(), text("7"), b"e.".to_vec()];
        let elements = [0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0].map(f32::to_le_bytes).concat();
        [&prologue[..], &entries.concat(), &keys.concat(), &7_u64.to_le_bytes(), &elements].concat()
    }

    #[test]
    fn gathers_a_tensor_by_its_strides() {
        let weights = read_legacy_state(&state()).unwrap();
        let expected = TrainedTensor { shape: vec![2, 3], values: vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0] };
        assert_eq!(*weights.get("weight").unwrap(), expected);
    }

    #[test]
    fn a_truncated_state_is_an_error() {
        let state = state();
        for length in 0..state.len() {
            assert!(read_legacy_state(&state[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_call_of_anything_else_is_refused() {
        let harmful = b"cos\nsystem\n(X\x02\0\0\0lstR.";
        let error = Reader { bytes: harmful }.pickle().unwrap_err().to_string();
        insta::assert_snapshot!(error, @"trained weights: PyTorch state: calls `os system`, which is not part of a state");
    }
}
