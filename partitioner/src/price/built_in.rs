/// The price files of the repository: the name in them, and their text.
pub const BUILT_IN: [(&str, &str); 6] = [
    ("local", include_str!("../../../prices/local.toml")),
    ("aws-lambda-x86", include_str!("../../../prices/aws-lambda-x86.toml")),
    ("aws-lambda-arm", include_str!("../../../prices/aws-lambda-arm.toml")),
    ("cloud-run", include_str!("../../../prices/cloud-run.toml")),
    ("openfaas", include_str!("../../../prices/openfaas.toml")),
    ("faasd", include_str!("../../../prices/faasd.toml")),
];
