use crate::PlanError;
use std::fmt;
use std::str::FromStr;

/// How the cuts are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The least cost within the constraints, exactly.
    Optimal,
    /// Clusters of adjacent layers with similar time, memory and parameters.
    Similarity {
        /// Number of slices; `None` takes the number that the cost model prefers.
        slices: Option<u32>,
    },
    /// This many parts of nearly equal time.
    Uniform(u32),
    /// The whole model in one function.
    Unsplit,
    /// The least latency, as Gillis (Yu and others, ICDCS 2021) plans a chain.
    Gillis,
    /// A cut after each named layer, or after the layer that writes the named tensor.
    Manual(Vec<String>),
}

impl fmt::Display for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Optimal => "optimal".to_owned(),
            Self::Similarity { slices: None } => "similarity".to_owned(),
            Self::Similarity { slices: Some(slices) } => format!("similarity={slices}"),
            Self::Uniform(parts) => format!("uniform={parts}"),
            Self::Unsplit => "unsplit".to_owned(),
            Self::Gillis => "gillis".to_owned(),
            Self::Manual(names) => format!("manual={}", names.join(",")),
        };
        formatter.pad(&text)
    }
}

impl FromStr for Strategy {
    type Err = PlanError;

    /// From `optimal`, `similarity`, `similarity=N`, `uniform=N`, `unsplit`,
    /// `gillis` or `manual=NAME,NAME`; names with a comma cannot be written this way.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let unknown = || PlanError::UnknownStrategy(text.to_owned());
        let number = |value: &str| value.parse::<u32>().ok().filter(|&count| count > 0).ok_or_else(unknown);
        match text.split_once('=') {
            None => match text {
                "optimal" => Ok(Self::Optimal),
                "similarity" => Ok(Self::Similarity { slices: None }),
                "unsplit" => Ok(Self::Unsplit),
                "gillis" => Ok(Self::Gillis),
                _ => Err(unknown()),
            },
            Some(("similarity", value)) => Ok(Self::Similarity { slices: Some(number(value)?) }),
            Some(("uniform", value)) => Ok(Self::Uniform(number(value)?)),
            Some(("manual", value)) => {
                let names: Vec<String> = value
                    .split(',')
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect();
                if names.is_empty() { Err(unknown()) } else { Ok(Self::Manual(names)) }
            }
            Some(_) => Err(unknown()),
        }
    }
}
