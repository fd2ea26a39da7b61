use crate::arguments::LockArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::prepare::{locate, require};
use crate::table;
use std::path::Path;
use tranche_graph::Graph;
use tranche_schema::{Digest, Document as _, Lock, ModelIdentity, Plan, Profile, exit_code};

pub fn run(context: &Context, arguments: &LockArguments) -> Result<(), Failure> {
    let settings = context.settings(&[])?;
    require(&arguments.profile, "profile")?;
    require(&arguments.plan, "partition")?;
    require(&arguments.bundle, "package")?;
    let model = locate(&arguments.model, &settings, &context.printer)?;
    let digest = Graph::load(&model)?.model().digest()?;
    let lock = lock(arguments, &model, digest)?;
    lock.write(&arguments.output)?;
    context.printer.step("Locked", &format!("{} → {}", model.display(), arguments.output.display()));
    context.printer.result(&lock, || render(&lock))
}

/// The lock of files that were made from each other.
fn lock(arguments: &LockArguments, model: &Path, digest: Digest) -> Result<Lock, Failure> {
    let profile = Profile::read(&arguments.profile)?;
    let plan = Plan::read(&arguments.plan)?;
    let manifest = tranche_packager::check_bundle(&arguments.bundle)?;
    let profile_digest = Digest::of(profile.to_json()?.as_bytes());
    let plan_digest = Digest::of(plan.to_json()?.as_bytes());
    let of_model = [
        (&arguments.profile, &profile.model, "profile"),
        (&arguments.plan, &plan.model, "partition"),
        (&arguments.bundle, &manifest.model, "package"),
    ];
    for (path, made_from, verb) in of_model {
        follows(path, &made_from.digest, model, &digest, verb)?;
    }
    follows(&arguments.plan, &plan.profile_digest, &arguments.profile, &profile_digest, "partition")?;
    follows(&arguments.bundle, &manifest.plan_digest, &arguments.plan, &plan_digest, "package")?;
    Ok(Lock {
        header: Lock::header(),
        tranche_version: manifest.tranche_version.clone(),
        engine: profile.environment.engine,
        engine_version: profile.environment.engine_version,
        model: ModelIdentity { name: plan.model.name, digest },
        profile_digest,
        plan_digest,
        bundle_digest: Digest::of(manifest.to_json()?.as_bytes()),
    })
}

/// # Errors
/// When `made` was made from something else than `source`.
fn follows(
    made: &Path,
    made_from: &Digest,
    source: &Path,
    digest: &Digest,
    verb: &str,
) -> Result<(), Failure> {
    if made_from == digest {
        return Ok(());
    }
    let message = format!(
        "{} was made from {}, but {} is {}",
        made.display(),
        made_from.short(),
        source.display(),
        digest.short()
    );
    Err(Failure::new("lock", exit_code::UNSUPPORTED_MODEL, message)
        .hint(format!("`tranche {verb}` makes it again; what is locked must have been made in one go")))
}

fn render(lock: &Lock) -> String {
    let row = |what: &str, value: &str| vec![what.to_owned(), value.to_owned()];
    let rows = [
        row("model", &lock.model.digest.0),
        row("profile", &lock.profile_digest.0),
        row("plan", &lock.plan_digest.0),
        row("bundle", &lock.bundle_digest.0),
        row("engine", &format!("{} {}", lock.engine, lock.engine_version)),
        row("tranche", &lock.tranche_version),
    ];
    table::render(&["of", "locked"], &rows, &["of", "locked"])
}
