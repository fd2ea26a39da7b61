/// A price file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is not TOML, or lacks or misspells a key.
    #[error("{origin} is not a valid price file: {message}")]
    Parse {
        /// The file.
        origin: String,
        /// Where and why.
        message: String,
    },
    /// The file is something else, or of another version.
    #[error("{origin} is a `{format}` file of version {version}, expected `tranche-prices` version 1")]
    Format {
        /// The file.
        origin: String,
        /// Its format.
        format: String,
        /// Its version.
        version: u32,
    },
    /// The platform does not sell what was asked for.
    #[error("{origin} has no such billing: it offers {offered}")]
    Billing {
        /// The file.
        origin: String,
        /// What it offers.
        offered: String,
    },
    /// The list is out of date by what it says itself.
    #[error("{origin} holds until {valid_until} and is not planned with after that")]
    Stale {
        /// The file.
        origin: String,
        /// Its last day.
        valid_until: String,
    },
    /// Only prices of memory that comes with CPU can answer this.
    #[error("{origin} sells memory and CPU apart, which a month's cost is not worked out for")]
    Separate {
        /// The file.
        origin: String,
    },
    /// A value cannot be priced with.
    #[error("{origin}: `{key}` {problem}")]
    Value {
        /// The file.
        origin: String,
        /// The key, as `compute.tiers`.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl PriceError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Parse { .. } | Self::Format { .. } => {
                "start from a copy of prices/aws-lambda-x86.toml; amounts are in quotes, as \"0.20\""
            }
            Self::Billing { .. } => "leave `--billing` out, or ask for one that is offered",
            Self::Stale { .. } => "copy the file, look the prices up, and set its date and `valid_until`",
            Self::Separate { .. } => "use `tranche plan` or `tranche compare` with these prices",
            Self::Value { .. } => "correct the value; prices/aws-lambda-x86.toml shows each with its unit",
        }
    }
}
