//! What tests of the AWS client share.
#![allow(dead_code, reason = "each test file uses its part")]

use tranche_transport::aws::{AwsClient, AwsConfig, Credentials};
use url::Url;

/// A client of services at `endpoint`.
pub fn client(endpoint: &str) -> AwsClient {
    let endpoint = Some(Url::parse(endpoint).unwrap());
    AwsClient::new(AwsConfig {
        region: "us-east-1".to_owned(),
        credentials: Credentials {
            access_key_id: "test".to_owned(),
            secret_access_key: "test".into(),
            session_token: None,
        },
        lambda_endpoint: endpoint.clone(),
        s3_endpoint: endpoint,
    })
    .unwrap()
}
