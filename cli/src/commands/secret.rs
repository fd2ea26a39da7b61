use crate::arguments::SecretVerb;
use crate::context::Context;
use crate::failure::Failure;
use crate::programs::block_on;
use crate::targets;
use serde::Serialize;
use std::io::Read as _;
use std::path::Path;

/// What happened to a secret.
#[derive(Serialize)]
struct Changed<'a> {
    secret: &'a str,
    there: bool,
}

pub fn run(context: &Context, verb: &SecretVerb) -> Result<(), Failure> {
    match verb {
        SecretVerb::List(arguments) => {
            let gateway = targets::gateway(&context.settings(&[arguments])?, arguments, None)?;
            let names = block_on(gateway.secrets())??;
            context.printer.result(&names, || names.join("\n"))
        }
        SecretVerb::Set { name, from, gateway: arguments } => {
            let gateway = targets::gateway(&context.settings(&[arguments])?, arguments, None)?;
            let value = read(from)?;
            block_on(gateway.set_secret(name, &value))??;
            context.printer.step("Set", &format!("secret `{name}`"));
            changed(context, name, true)
        }
        SecretVerb::Remove { name, gateway: arguments } => {
            let gateway = targets::gateway(&context.settings(&[arguments])?, arguments, None)?;
            if !block_on(gateway.delete_secret(name))?? {
                return Err(Failure::usage(format!("the gateway has no secret `{name}`"))
                    .hint("list them with `tranche secret list`"));
            }
            context.printer.step("Removed", &format!("secret `{name}`"));
            changed(context, name, false)
        }
    }
}

fn changed(context: &Context, secret: &str, there: bool) -> Result<(), Failure> {
    if context.printer.json() {
        context.printer.result(&Changed { secret, there }, String::new)
    } else {
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    // Editors end files with a line's end, which no secret means.
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
