//! A template for `faas-cli build`.

use super::OpenFaasError;
use std::path::{Path, PathBuf};

/// The template's name: `lang` in stack.yaml.
pub const TEMPLATE_NAME: &str = "tranche";

/// The program's name in the template and in images.
const PROGRAM: &str = "tranche-shim";

const TEMPLATE_YML: &str = "\
language: tranche
fprocess: /tranche/tranche-shim
welcome_message: |
  The handler is a bundle that `tranche package` made.
  Each function's TRANCHE_SLICE in stack.yaml says which of its slices it runs.
";

/// The base image has /tmp, a loader and libstdc++, which ONNX Runtime needs.
const DOCKERFILE: &str = "\
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}
COPY --chmod=0755 tranche-shim /tranche/tranche-shim
COPY --chmod=0755 function/ /tranche/bundle/
ENV TRANCHE_MANIFEST=/tranche/bundle/manifest.json \\
    TRANCHE_LISTEN=0.0.0.0:8080 \\
    fprocess=/tranche/tranche-shim
EXPOSE 8080
USER 12000:12000
ENTRYPOINT [\"/tranche/tranche-shim\"]
";

const README: &str = "\
Put a bundle made by `tranche package` here: manifest.json, plan.json and model/.
";

/// Writes `template/tranche/` below `folder` with `shim`, the function's
/// program, in it, and gives its path. One that tranche wrote is replaced.
///
/// # Errors
/// When the shim cannot be read, there is something else at its place, or it
/// cannot be written.
pub fn write_template(folder: &Path, shim: &Path) -> Result<PathBuf, OpenFaasError> {
    let parent = folder.join("template");
    let path = parent.join(TEMPLATE_NAME);
    let exists = path.symlink_metadata().is_ok();
    if exists && std::fs::read_to_string(path.join("template.yml")).ok().as_deref() != Some(TEMPLATE_YML) {
        return Err(OpenFaasError::TemplateExists(path));
    }
    std::fs::create_dir_all(&parent).map_err(OpenFaasError::io(&parent))?;
    let temporary = tempfile::Builder::new()
        .prefix(".tranche-template-")
        .tempdir_in(&parent)
        .map_err(OpenFaasError::io(&parent))?;
    let made = temporary.path().join(TEMPLATE_NAME);
    let handler = made.join("function");
    std::fs::create_dir_all(&handler).map_err(OpenFaasError::io(&handler))?;
    let write = |file: PathBuf, text: &str| std::fs::write(&file, text).map_err(OpenFaasError::io(&file));
    write(made.join("template.yml"), TEMPLATE_YML)?;
    write(made.join("Dockerfile"), DOCKERFILE)?;
    write(handler.join("README"), README)?;
    std::fs::copy(shim, made.join(PROGRAM)).map_err(OpenFaasError::io(shim))?;
    if exists {
        let former = temporary.path().join("former");
        std::fs::rename(&path, &former).map_err(OpenFaasError::io(&path))?;
    }
    std::fs::rename(&made, &path).map_err(OpenFaasError::io(&path))?;
    Ok(path)
}
