//! Arguments of the verbs that speak to AWS Lambda.

use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// How AWS is reached. Credentials come from the standard chain (environment, profile, single
/// sign-on, instance), never from the command line.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "AWS")]
pub struct AwsArguments {
    /// Region [default: that of the deployment, else the standard chain's]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Profile of the AWS configuration files [default: AWS_PROFILE]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_profile: Option<String>,
    /// Endpoint of all services instead of AWS's own [default: AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
}

/// How a slice is to be packed for Lambda.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PackageChoice {
    /// What fits: zip, else zip through S3, else image.
    Auto,
    /// A zip file within the API call (50 MB).
    Zip,
    /// A zip file through a bucket (250 MB unzipped).
    S3,
    /// A container image (10 GB).
    Image,
}

/// What `deploy --target lambda` needs besides.
#[derive(Clone, Debug, Default, Args, Serialize)]
#[command(next_help_heading = "AWS Lambda")]
pub struct LambdaArguments {
    /// ARN of the functions' role [default: one is made with the least rights that they need]
    #[arg(long, value_name = "ARN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Bucket for code and tensors that no payload takes [default: tranche-ACCOUNT-REGION, made when it is needed]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Give the deployment a bucket for tensors also where every payload is small enough: `invoke --via hand-on` needs one
    #[arg(long)]
    #[serde(skip)]
    pub store: bool,
    /// How slices are packed [default: auto]
    #[arg(long, value_name = "KIND")]
    #[serde(skip)]
    pub package: Option<PackageChoice>,
    /// Put ONNX Runtime into a layer that the functions share
    #[arg(long)]
    #[serde(skip)]
    pub layer: bool,
    /// Folder of the packages [default: BUNDLE.lambda]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip)]
    pub packages: Option<PathBuf>,
    /// Memory of each function: cpu (what gives the plan's CPU share, 1769 MB for one), plan (the plan's alone), or MB [default: cpu]
    #[arg(long, value_name = "CHOICE")]
    #[serde(skip)]
    pub memory: Option<String>,
    /// Seconds that a function may take for a request [default: 120]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip)]
    pub function_timeout: Option<u32>,
    /// Size of /tmp in MB [default: 512]
    #[arg(long, value_name = "MB")]
    #[serde(skip)]
    pub ephemeral_storage: Option<u32>,
    /// Deploy one more function that takes whole requests as JSON and waits for the slices
    #[arg(long)]
    #[serde(skip)]
    pub entry: bool,
    /// The entry function's program [default: found beside tranche]
    #[arg(long, value_name = "FILE", requires = "entry")]
    #[serde(skip)]
    pub entry_program: Option<PathBuf>,
    /// Give the entry function a URL (IAM authentication)
    #[arg(long, requires = "entry")]
    #[serde(skip)]
    pub url: bool,
    /// Also deploy a Step Functions Express state machine that walks requests
    #[arg(long)]
    #[serde(skip)]
    pub step_functions: bool,
    /// Send this part of the requests to the new versions, as `10%`; `promote` or `rollback` ends it
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    #[serde(skip)]
    pub canary: Option<f64>,
    /// Most requests at one time for each function
    #[arg(long, value_name = "COUNT")]
    #[serde(skip)]
    pub reserved_concurrency: Option<u32>,
    /// Environments of each function that are kept warm
    #[arg(long, value_name = "COUNT")]
    #[serde(skip)]
    pub provisioned_concurrency: Option<u32>,
}

/// A part of a whole, as `10%`.
///
/// # Errors
/// For what is not above 0 % and below 100 %.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 100.0 => Ok(value / 100.0),
        _ => Err("a part of the requests is above 0 % and below 100 %, as `10%`".to_owned()),
    }
}

/// Who walks a request through the slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// This command.
    #[default]
    Driver,
    /// The slices themselves, one calling the next (OpenFaaS, Lambda).
    HandOn,
    /// The Step Functions state machine (Lambda).
    StepFunctions,
    /// The entry function (Lambda).
    Entry,
}

/// `rollback` and `promote`
#[derive(Debug, Args)]
pub struct VersionArguments {
    /// Name of the deployment
    pub name: String,
    /// AWS.
    #[command(flatten)]
    pub aws: AwsArguments,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_percents() {
        assert_eq!(percent("10%"), Ok(0.1));
        assert_eq!(percent("0.5 %"), Ok(0.005));
        for wrong in ["", "%", "0%", "100%", "-1%", "ten%", "NaN%"] {
            percent(wrong).unwrap_err();
        }
    }
}
