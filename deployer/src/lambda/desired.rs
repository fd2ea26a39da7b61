//! What a request asks for, worked out from bundle, packages and settings.

use super::configuration::Configuration;
use super::function::Code;
use super::state::Made;
use super::{AwsSession, Bucket, LambdaSettings, Role, bucket, layers, role};
use crate::{Bundle, DeployError, DeployRequest};
use base64::Engine as _;
use std::collections::BTreeMap;
use std::path::Path;
use tranche_packager::lambda::policies::PolicyScope;
use tranche_packager::lambda::{FunctionDescription, tags};
use tranche_schema::{
    Address, ByteCount, DeployedFunction, Deployment, Digest, Document, FunctionSize, LambdaDeployment,
    LambdaFunction, LambdaIndex, LambdaPackage, LambdaPackageKind, LimitsEnforced, MilliCpu,
};

/// A function as asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub description: FunctionDescription,
    pub configuration: Configuration,
    pub code: Code,
    /// Whether a new version has to answer a ping.
    pub ping: bool,
}

impl Wanted {
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// How deployment.json names it.
    pub fn function(&self, version: &str) -> LambdaFunction {
        LambdaFunction {
            slice: self.description.slice.clone(),
            function: self.description.name.clone(),
            version: version.to_owned(),
            code_sha256: self.configuration.code.clone(),
            package: self.description.package,
            memory_mib: self.description.memory_mib,
        }
    }
}

/// A deployment as asked for.
#[derive(Debug)]
pub(super) struct Desired<'a> {
    pub bundle: &'a Bundle,
    pub name: &'a str,
    pub settings: &'a LambdaSettings,
    pub index: &'a LambdaIndex,
    engine: &'a str,
}

impl<'a> Desired<'a> {
    pub fn new(
        settings: &'a LambdaSettings,
        bundle: &'a Bundle,
        request: &'a DeployRequest,
    ) -> Result<Self, DeployError> {
        let fail = |reason: String| DeployError::Packages { folder: settings.packages.clone(), reason };
        let index = settings.index.as_ref().ok_or_else(|| fail("there is no lambda.json".to_owned()))?;
        let engine = request.options.engine.as_deref().unwrap_or(&bundle.manifest.engine);
        if index.bundle_digest != bundle.digest {
            return Err(fail(format!("they were made of bundle {}", index.bundle_digest.short())));
        }
        if index.engine != engine {
            return Err(fail(format!("they hold engine {}, not {engine}", index.engine)));
        }
        let slices = bundle.manifest.slices.iter().map(|slice| &slice.name);
        if !slices.eq(settings.functions.iter().map(|function| &function.slice)) {
            return Err(fail("the functions described are not those of the bundle's slices".to_owned()));
        }
        Ok(Self { bundle, name: &request.name, settings, index, engine })
    }

    /// Names of roles, of the state machine.
    pub fn scope(&self, session: &AwsSession, account: &str) -> PolicyScope {
        PolicyScope::new(session.region(), account, self.name)
    }

    /// Name of the bucket, if one is used.
    pub fn bucket(&self, session: &AwsSession, account: &str) -> Option<(String, bool)> {
        self.settings.bucket.as_ref().map(|wanted| match wanted {
            Bucket::Given(name) => (name.clone(), false),
            Bucket::Own => (bucket::own_name(account, session.region()), true),
        })
    }

    fn package(&self, slice: &str) -> Option<&LambdaPackage> {
        self.index.packages.iter().find(|package| package.slice == slice)
    }

    /// Every function, as it is to be. Layers that are not published yet are named by their
    /// names, which no function has.
    pub fn functions(
        &self,
        session: &AwsSession,
        account: &str,
        made: &Made,
    ) -> Result<Vec<Wanted>, DeployError> {
        let fail = |reason: String| DeployError::Packages { folder: self.settings.packages.clone(), reason };
        let of = |function: &FunctionDescription| {
            let slice = &function.slice;
            let package =
                self.package(slice).ok_or_else(|| fail(format!("there is no package of slice `{slice}`")))?;
            let code = self.code(package, session, account)?;
            Ok(self.wanted(function.clone(), &package.digest, code, session, account, made))
        };
        self.settings.functions.iter().map(of).collect()
    }

    fn code(
        &self,
        package: &LambdaPackage,
        session: &AwsSession,
        account: &str,
    ) -> Result<Code, DeployError> {
        let slice = &package.slice;
        let fail = |reason: String| DeployError::Packages { folder: self.settings.packages.clone(), reason };
        if package.kind == LambdaPackageKind::Image {
            let image = self.settings.images.get(slice);
            return image.cloned().map(Code::Image).ok_or_else(|| {
                fail(format!("slice `{slice}` goes as an image, and no pushed image is given"))
            });
        }
        let file = package.file.as_deref().ok_or_else(|| fail(format!("slice `{slice}` has no zip file")))?;
        if package.kind == LambdaPackageKind::ZipInline {
            return Ok(Code::File(self.settings.packages.join(file)));
        }
        let (bucket, _) = self.bucket(session, account).ok_or_else(|| {
            fail(format!("slice `{slice}` goes through S3 ({}), and no bucket is given", package.reason))
        })?;
        Ok(Code::Object { bucket, key: bucket::code_key(self.name, &package.digest) })
    }

    /// The entry, made for `deployment`.
    pub fn entry(
        &self,
        deployment: &Deployment,
        session: &AwsSession,
        account: &str,
        made: &Made,
    ) -> Result<Option<Wanted>, DeployError> {
        let Some(entry) = &self.settings.entry else { return Ok(None) };
        let (function, file) = entry.package.make(deployment)?;
        let digest = Digest::of_file(&file).map_err(DeployError::file("read", &file))?;
        let mut wanted = self.wanted(function, &digest, Code::File(file), session, account, made);
        wanted.ping = entry.ping;
        Ok(Some(wanted))
    }

    fn wanted(
        &self,
        mut function: FunctionDescription,
        digest: &Digest,
        code: Code,
        session: &AwsSession,
        account: &str,
        made: &Made,
    ) -> Wanted {
        let layers = function.layers.iter().map(|layer| self.layer_arn(layer, made)).collect();
        let role_name = self.scope(session, account).role_name();
        let role = role::arn(&self.settings.role, &role_name, account, session.region());
        let identity = match &code {
            // A pushed image's digest is that of its manifest, which an index may name.
            Code::Image(image) => {
                image.rsplit_once('@').map_or(digest.0.as_str(), |(_, digest)| digest).to_owned()
            }
            Code::File(_) | Code::Object { .. } => code_sha256(digest),
        };
        // Whoever finds the function must know whose it is.
        function.tags.insert(tags::DEPLOYMENT.to_owned(), self.name.to_owned());
        let configuration = Configuration::wanted(&function, identity, &role, layers);
        Wanted { description: function, configuration, code, ping: true }
    }

    fn layer_arn(&self, name: &str, made: &Made) -> String {
        let layer = self.index.layers.iter().find(|layer| layer.name == name);
        let at_lambda = layer.map(|layer| layers::name(self.name, layer));
        let arn = at_lambda.as_ref().and_then(|name| made.layers.get(name)).cloned();
        arn.or(at_lambda).unwrap_or_else(|| name.to_owned())
    }

    /// Packages and layers that go through the bucket: file, digest.
    pub fn uploads(&self) -> Vec<(std::path::PathBuf, Digest)> {
        let folder = &self.settings.packages;
        let packages =
            self.index.packages.iter().filter(|package| package.kind == LambdaPackageKind::ZipBucket);
        let packages = packages
            .filter_map(|package| Some((folder.join(package.file.as_ref()?), package.digest.clone())));
        let layers = self.index.layers.iter().filter(|layer| is_large(layer.bytes));
        packages.chain(layers.map(|layer| (folder.join(&layer.file), layer.digest.clone()))).collect()
    }

    /// deployment.json, without the entry and what belongs to it.
    pub fn document(
        &self,
        session: &AwsSession,
        account: &str,
        wanted: &[Wanted],
        versions: &BTreeMap<String, String>,
    ) -> Deployment {
        let manifest = &self.bundle.manifest;
        let alias = &self.settings.alias;
        let version = |wanted: &Wanted| versions.get(wanted.name()).cloned().unwrap_or_default();
        let slices = || manifest.slices.iter().zip(wanted);
        let bucket = self.bucket(session, account).filter(|_| self.settings.store);
        Deployment {
            header: Deployment::header(),
            name: self.name.to_owned(),
            target: super::target::NAME.to_owned(),
            bundle_digest: self.bundle.digest.clone(),
            bundle: self.bundle.folder.clone(),
            engine: self.engine.to_owned(),
            inputs: manifest.inputs.clone(),
            outputs: manifest.outputs.clone(),
            functions: slices()
                .map(|(slice, wanted)| DeployedFunction {
                    slice: slice.name.clone(),
                    address: Address::Lambda { function: wanted.name().to_owned(), qualifier: alias.clone() },
                    size: FunctionSize {
                        memory_bytes: ByteCount::mebibytes(u64::from(wanted.description.memory_mib)),
                        cpu_milli: share(wanted.description.memory_mib),
                    },
                    // Lambda gives processors by memory, and holds a function to both.
                    limits: LimitsEnforced { memory: true, cpu: true },
                    inputs: slice.inputs.clone(),
                    outputs: slice.outputs.clone(),
                    prediction: slice.prediction,
                })
                .collect(),
            edges: manifest.edges.clone(),
            local: None,
            openfaas: None,
            lambda: Some(LambdaDeployment {
                region: session.region().to_owned(),
                account: account.to_owned(),
                endpoint: session.endpoint().map(str::to_owned),
                alias: alias.clone(),
                architecture: self.index.architecture.clone(),
                functions: wanted.iter().map(|wanted| wanted.function(&version(wanted))).collect(),
                entry: None,
                entry_url: None,
                store: bucket.map(|(bucket, _)| bucket::store(&bucket, self.name)),
                state_machine: None,
            }),
        }
    }

    /// The state machine's document for `deployment`.
    pub fn definition(&self, deployment: &Deployment) -> Result<Option<String>, DeployError> {
        let machine = self.settings.state_machine.as_ref();
        machine.map(|machine| machine.definition.make(deployment)).transpose()
    }

    /// Roles of its own: name, documents.
    pub fn roles(&self, session: &AwsSession, account: &str) -> Vec<(String, &super::RoleDocuments)> {
        let scope = self.scope(session, account);
        let own = |role: &'a Role| match role {
            Role::Given(_) => None,
            Role::Created(documents) => Some(documents),
        };
        let machine = self.settings.state_machine.as_ref();
        let functions = own(&self.settings.role).map(|documents| (scope.role_name(), documents));
        let machine = machine.and_then(|machine| Some((self.machine_role_name(), own(&machine.role)?)));
        functions.into_iter().chain(machine).collect()
    }

    /// Name of the state machine's own role.
    pub fn machine_role_name(&self) -> String {
        PolicyScope::new("", "", self.name).state_machine_role_name()
    }
}

/// Processors that come with this memory.
fn share(memory_mib: u32) -> MilliCpu {
    MilliCpu(memory_mib * 1000 / tranche_packager::lambda::limits::MEMORY_MIB_PER_CPU)
}

/// Whether a zip file is beyond what a call takes.
pub(super) fn is_large(bytes: ByteCount) -> bool {
    bytes.0 > tranche_packager::lambda::limits::INLINE_ZIP_BYTES
}

/// A digest as Lambda's `CodeSha256` writes it: in base64.
fn code_sha256(digest: &Digest) -> String {
    let digits = digest.hex().as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = digits.chunks(2).filter_map(pair).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A file that is there, for errors before anything is sent.
pub(super) fn check_files(wanted: &[Wanted]) -> Result<(), DeployError> {
    for function in wanted {
        if let Code::File(path) = &function.code {
            check_file(path)?;
        }
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<(), DeployError> {
    std::fs::metadata(path).map(|_| ()).map_err(DeployError::file("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_as_lambda_writes_them() {
        // SHA-256 of nothing (FIPS 180-4 example), as `CodeSha256` shows it.
        assert_eq!(code_sha256(&Digest::of(b"")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
