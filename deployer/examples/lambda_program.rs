//! Deploys to Lambda as the environment says: `lambda_program STATE BUNDLE PACKAGES NAME ROLE`.
//! Prints an event a line, then every call to AWS with its count, and how long it took.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tranche_deployer::lambda::{AwsConnection, LambdaSettings, LambdaTarget, Role};
use tranche_deployer::{DeployOptions, DeployRequest, Target as _};
use tranche_packager::lambda::{LambdaOptions, Memory, describe_functions};
use tranche_schema::{Document as _, LambdaIndex, Manifest};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [state, bundle, packages, name, role] = arguments.as_slice() else {
        return Err("lambda_program takes STATE BUNDLE PACKAGES NAME ROLE".into());
    };
    let (bundle, packages) = (PathBuf::from(bundle), PathBuf::from(packages));
    let manifest = Manifest::read(&bundle.join(Manifest::FILE))?;
    let index = LambdaIndex::read(&packages.join(LambdaIndex::FILE))?;
    let options = LambdaOptions {
        memory: Memory::Fixed(128),
        timeout: Duration::from_secs(5),
        ..LambdaOptions::new(name)
    };
    let settings = LambdaSettings {
        functions: describe_functions(&manifest, &index, &options)?,
        index: Some(index),
        packages,
        poll: Duration::from_millis(50),
        ..LambdaSettings::new(Role::Given(role.clone()))
    };
    let started = Instant::now();
    let target = LambdaTarget::new(&PathBuf::from(state), &AwsConnection::default(), settings)?;
    let request = DeployRequest { bundle, name: name.clone(), options: DeployOptions::default() };
    let mut output = std::io::stdout();
    target.deploy(&request, &mut |event| {
        let _ = writeln!(output, "{event:?}").and_then(|()| output.flush());
    })?;
    for (operation, count) in target.session().calls() {
        writeln!(output, "{count:4} {operation}")?;
    }
    writeln!(output, "{:.1} s", started.elapsed().as_secs_f64())?;
    Ok(())
}
