use std::io;
use std::path::PathBuf;
use tranche_schema::exit_code;

/// A tensor file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// The file's extension names no format.
    #[error("{} is neither .npy, .npz, .safetensors nor .json", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The file does not say which tensor it holds.
    #[error("{} does not say which tensor it holds; there are {valid}", path.display())]
    NameNeeded {
        /// The file.
        path: PathBuf,
        /// The names there are.
        valid: String,
    },
    /// A tensor that nobody asked for.
    #[error("{}: there is no tensor `{name}`; there are {valid}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The name given.
        name: String,
        /// The names there are.
        valid: String,
    },
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what its extension says.
    #[error("cannot read {}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor of the file is damaged or not as expected.
    #[error("{}: tensor `{tensor}`: {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// The format has no room for a tensor's type.
    #[error("cannot write tensor `{tensor}` to {}: {reason}", path.display())]
    CannotHold {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Why.
        reason: String,
    },
    /// A .npy file holds one tensor.
    #[error("cannot write {count} tensors to {}: .npy holds one", path.display())]
    OneTensorOnly {
        /// The file.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl TensorFileError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Extension { .. } => "save the tensors in one of these formats and name the file so",
            Self::NameNeeded { .. } => "write `NAME=FILE`",
            Self::Unknown { .. } => {
                "rename the tensor in the file; `tranche inspect` lists the model's inputs"
            }
            Self::Read { .. } => "check the path and its permissions",
            Self::Damaged { .. } => "the file is cut off or of another format; save it again",
            Self::Tensor { .. } => {
                "convert it, as with `numpy.save(file, array.astype('float32').reshape(shape))`; `tranche inspect` lists types and shapes"
            }
            Self::CannotHold { .. } => "choose another format: .npz, .safetensors or .json",
            Self::OneTensorOnly { .. } => "choose .npz, .safetensors or .json",
            Self::Write { .. } => "check that the folder exists, is writable and has space",
        }
    }

    /// The exit code of a command that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        exit_code::USAGE
    }
}
