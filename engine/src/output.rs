use crate::{EngineError, OutputBuffer};
use tranche_schema::{ElementType, TensorSpec, TensorView};

/// Checks that an input is what the session was loaded for.
pub(crate) fn check_input(spec: &TensorSpec, view: &TensorView<'_>) -> Result<(), EngineError> {
    let wrong = |reason| Err(EngineError::Input { name: spec.name.clone(), reason });
    if view.element_type != spec.element_type || view.shape != spec.shape {
        return wrong(format!(
            "the session was loaded for {} {:?}, got {} {:?}",
            spec.element_type, spec.shape, view.element_type, view.shape
        ));
    }
    if let Err(error) = view.check() {
        return wrong(error.to_string());
    }
    // Any other byte is no boolean to the languages that engines are written in.
    if spec.element_type == ElementType::Bool && view.data.iter().any(|&byte| byte > 1) {
        return wrong("a boolean is neither 0 nor 1".to_owned());
    }
    Ok(())
}

/// Puts an output where the caller wants it.
pub(crate) fn store(
    engine: &'static str,
    name: &str,
    value: TensorView<'_>,
    buffer: &mut OutputBuffer<'_>,
) -> Result<(), EngineError> {
    let failed = |reason| EngineError::Run { engine, reason };
    match buffer {
        OutputBuffer::Caller { element_type, shape, data } => {
            check_buffer(engine, name, &value, *element_type, shape, data.len())?;
            data.copy_from_slice(value.data);
        }
        OutputBuffer::Engine(slot) => {
            *slot = Some(value.to_tensor().map_err(|error| failed(format!("output `{name}`: {error}")))?);
        }
    }
    Ok(())
}

fn check_buffer(
    engine: &'static str,
    name: &str,
    value: &TensorView<'_>,
    element_type: ElementType,
    shape: &[u64],
    length: usize,
) -> Result<(), EngineError> {
    if value.element_type == element_type && value.shape == shape && value.data.len() == length {
        return Ok(());
    }
    Err(EngineError::Run {
        engine,
        reason: format!(
            "output `{name}` is {} {:?} ({} bytes), its buffer is for {element_type} {shape:?} ({length} bytes)",
            value.element_type,
            value.shape,
            value.data.len()
        ),
    })
}
