//! ONNX Runtime, loaded at run time from a shared library.

mod events;
mod library;
mod session;
mod value;

use crate::guard::guarded;
use crate::skeleton::{Skeleton, map, output_declarations};
use crate::{Engine, EngineError, LoadOptions, OutputBuffer, Session};
use ort::environment::Environment;
use session::{OnnxRuntimeSession, Source};
use std::path::{Path, PathBuf};
use tranche_schema::{TensorSpec, TensorView};

pub(crate) use crate::discover::ONNXRUNTIME as NAME;

/// The ONNX Runtime engine, on the processor.
///
/// Threads never spin while they wait. External weights are mapped, not read, when
/// [`LoadOptions::prepack`] is off. With [`LoadOptions::profile`] the graph is not
/// optimised, whatever [`LoadOptions::optimise`] says, so that nodes are those of the
/// file: their times then add up to more than an optimised run takes.
#[derive(Clone, Debug)]
pub struct OnnxRuntimeEngine {
    environment: Environment,
    version: String,
    library: PathBuf,
}

impl OnnxRuntimeEngine {
    /// The oldest version that serves.
    pub const OLDEST: (u32, u32) = (1, ort::MINOR_VERSION);

    /// Loads the library at this path: `libonnxruntime.so`, by whatever name.
    ///
    /// A process has one ONNX Runtime: the first path that loads is it.
    ///
    /// # Errors
    /// When there is no such file, it is not ONNX Runtime, its version is below
    /// [`OnnxRuntimeEngine::OLDEST`], or the process has loaded another one.
    pub fn from_library(path: &Path) -> Result<Self, EngineError> {
        let unavailable = |reason| EngineError::Unavailable { engine: NAME, reason };
        library::open(path).map_err(unavailable)
    }

    /// The library's path.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    fn load_session(
        &self,
        model: &Path,
        source: Source<'_>,
        inputs: &[TensorSpec],
        outputs: &[String],
        options: &LoadOptions,
    ) -> Result<OnnxRuntimeSession, EngineError> {
        guarded(|| OnnxRuntimeSession::load(&self.environment, model, source, inputs, outputs, options))
            .unwrap_or_else(|reason| Err(EngineError::Load { engine: NAME, model: model.to_owned(), reason }))
    }
}

impl Engine for OnnxRuntimeEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn load(
        &self,
        model: &Path,
        inputs: &[TensorSpec],
        outputs: &[String],
        options: &LoadOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(self.load_session(model, Source::File, inputs, outputs, options)?))
    }

    /// Declares the tensors as outputs of the graph and runs it without optimisation.
    /// The whole file is read into memory, without its external data.
    fn tensor_specs(
        &self,
        model: &Path,
        inputs: &[TensorSpec],
        values: &[TensorView<'_>],
        tensors: &[String],
    ) -> Result<Vec<Option<TensorSpec>>, EngineError> {
        let failed = |reason| EngineError::Load { engine: NAME, model: model.to_owned(), reason };
        let mut bytes = map(model).map_err(failed)?.to_vec();
        let skeleton = Skeleton::read(&bytes).map_err(failed)?;
        let made = |name: &&String| skeleton.nodes.iter().any(|node| node.outputs.contains(name));
        let wanted: Vec<String> = tensors.iter().filter(made).cloned().collect();
        let undeclared: Vec<&str> =
            wanted.iter().filter(|name| !skeleton.outputs.contains(name)).map(String::as_str).collect();
        bytes.extend_from_slice(&output_declarations(&undeclared));
        let options = LoadOptions { optimise: false, prepack: false, ..LoadOptions::default() };
        let mut session = self.load_session(model, Source::Memory(&bytes), inputs, &wanted, &options)?;
        drop(bytes);
        let mut outputs: Vec<_> = wanted.iter().map(|_| OutputBuffer::Engine(None)).collect();
        session.run(values, &mut outputs)?;
        Ok(tensors.iter().map(|name| spec_among(name, inputs, &wanted, &outputs)).collect())
    }
}

fn spec_among(
    name: &str,
    inputs: &[TensorSpec],
    wanted: &[String],
    outputs: &[OutputBuffer<'_>],
) -> Option<TensorSpec> {
    if let Some(input) = inputs.iter().find(|input| input.name == name) {
        return Some(input.clone());
    }
    let index = wanted.iter().position(|output| output == name)?;
    let OutputBuffer::Engine(Some(tensor)) = outputs.get(index)? else { return None };
    let (element_type, shape) = (tensor.element_type(), tensor.shape().to_vec());
    Some(TensorSpec { name: name.to_owned(), element_type, shape })
}
