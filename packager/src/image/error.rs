use std::path::PathBuf;

/// Images that cannot be made of a bundle.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The shim was built without the bundle's engine.
    #[error("the bundle is for engine {engine}, but the shim {} runs {built_in}", shim.display())]
    OtherEngine {
        /// The shim.
        shim: PathBuf,
        /// The bundle's engine.
        engine: String,
        /// Engines of the shim.
        built_in: String,
    },
    /// The engine is a shared library, which a static program cannot load.
    #[error("the bundle is for engine {engine}, which the static shim {} cannot load", shim.display())]
    StaticShim {
        /// The shim.
        shim: PathBuf,
        /// The bundle's engine.
        engine: String,
    },
    /// The engine is a shared library, and none was given.
    #[error("the bundle is for engine {engine}, whose library is missing")]
    NoLibrary {
        /// The bundle's engine.
        engine: String,
    },
    /// A library was given for an engine that has none.
    #[error("the bundle is for engine {engine}, which takes no library such as {}", library.display())]
    NeedlessLibrary {
        /// The bundle's engine.
        engine: String,
        /// The library given.
        library: PathBuf,
    },
    /// The library is something else.
    #[error("{} is not ONNX Runtime's library", library.display())]
    OtherLibrary {
        /// The file given.
        library: PathBuf,
    },
    /// The shim is a library.
    #[error("{} is a library, not a program", .shim.display())]
    NoProgram {
        /// The file given.
        shim: PathBuf,
    },
    /// The slice shares weights with too many others in too many ways.
    #[error("the image of slice `{slice}` would have {count} layers; runtimes take {most}")]
    TooManyLayers {
        /// The slice.
        slice: String,
        /// Layers it would have.
        count: usize,
        /// Layers an image may have.
        most: usize,
    },
    /// A file became shorter or longer while it was packed.
    #[error("{} changed while it was packed", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A document has no JSON form.
    #[error("cannot write a document of an image as JSON: {source}")]
    Encode {
        /// Why.
        source: serde_json::Error,
    },
    /// The folder holds no images.
    #[error("{} holds no OCI image layout", .folder.display())]
    NoLayout {
        /// The folder.
        folder: PathBuf,
    },
}

impl ImageError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OtherEngine { .. } => {
                "give the shim built with this engine (`cargo xtask shim` builds one for each), or plan for the shim's engine"
            }
            Self::StaticShim { .. } => {
                "give the dynamic shim, `tranche-shim-onnxruntime`, or plan for engine tract"
            }
            Self::NoLibrary { .. } => {
                "fetch it with `tranche engine add onnxruntime`, or name it with `--onnxruntime PATH`"
            }
            Self::NeedlessLibrary { .. } => "leave the library out, or plan for engine onnxruntime",
            Self::OtherLibrary { .. } => {
                "give `libonnxruntime.so` as `tranche engine add onnxruntime` fetches it"
            }
            Self::NoProgram { .. } => "give a shim that `cargo xtask shim` builds",
            Self::TooManyLayers { .. } => "plan fewer slices",
            Self::Changed { .. } => "package again, and leave the files alone meanwhile",
            Self::Encode { .. } => "this is a bug in tranche; please report it",
            Self::NoLayout { .. } => "give the folder that `tranche package --images` wrote",
        }
    }
}
