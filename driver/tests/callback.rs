//! The listener that functions post answers to, before strangers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use tranche_driver::{Callback, DriverError};

#[tokio::test]
async fn strangers_are_told_that_nobody_waits() {
    let callback = Callback::listen("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let client = reqwest::Client::new();
    for path in ["/", "/00000000000000000000000000000000", "/a/b"] {
        let answer = client.post(format!("{}{path}", callback.url())).body("x").send().await.unwrap();
        assert_eq!(answer.status(), 410, "{path}");
    }
    assert_eq!(client.get(callback.url()).send().await.unwrap().status(), 405);
    let url = callback.url().to_owned();
    drop(callback);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(reqwest::Client::new().post(url).send().await.is_err(), "it ends with its owner");
}

#[tokio::test]
async fn functions_may_reach_it_under_another_url() {
    let address = "127.0.0.1:0".parse().unwrap();
    let callback = Callback::listen(address, Some("http://driver.example:9/")).await.unwrap();
    assert_eq!(callback.url(), "http://driver.example:9");
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = Callback::listen(taken.local_addr().unwrap(), None).await.unwrap_err();
    assert!(matches!(error, DriverError::Callback { .. }) && error.exit_code() == 50, "{error}");
}
