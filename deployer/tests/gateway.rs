//! The gateway's client against a gateway that misbehaves.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/openfaas.rs"]
mod openfaas;
mod support;

use gateway::{Fault, PASSWORD, TestGateway};
use openfaas::{client, timeouts};
use std::time::Duration;
use tranche_deployer::openfaas::{
    Applied, Credentials, Gateway, GatewayError, GatewayTimeouts, GatewayUrl, LogRange, Readiness,
    check_gateway,
};
use tranche_packager::openfaas::{FunctionDeployment, Provider};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn function(image: &str) -> FunctionDeployment {
    FunctionDeployment { service: "a".to_owned(), image: image.to_owned(), ..FunctionDeployment::default() }
}

fn impatient() -> GatewayTimeouts {
    GatewayTimeouts { ask: Duration::from_millis(200), change: Duration::from_millis(200), ..timeouts() }
}

/// What listing functions fails with after `faults`.
fn failure(faults: &[Fault]) -> GatewayError {
    let gateway = TestGateway::start(Provider::Faasd);
    gateway.fail("GET /system/functions", faults);
    block_on(client(&gateway, impatient()).list()).unwrap_err()
}

#[test]
fn every_failure_has_its_own_error() {
    let errors = [
        failure(&[Fault::Silence]),
        failure(&[Fault::SlowBody]),
        failure(&[Fault::WrongJson]),
        failure(&[Fault::Redirect]),
        failure(&[Fault::Status(401)]),
        failure(&[Fault::Status(404)]),
        failure(&[Fault::Status(400)]),
        failure(&[Fault::Status(503); 3]),
        failure(&[Fault::Reset; 3]),
    ];
    let texts: Vec<String> = errors.iter().map(|error| format!("{error}\n  {}", error.hint())).collect();
    insta::with_settings!({ filters => [(r"127\.0\.0\.1:\d+", "GATEWAY")] }, {
        insta::assert_snapshot!(texts.join("\n"), @r"
        list functions: no answer from http://GATEWAY within 200ms
          look at the gateway's log; pulling a large image can take longer than its minute
        list functions: no answer from http://GATEWAY within 200ms
          look at the gateway's log; pulling a large image can take longer than its minute
        list functions: unexpected answer: expected value at line 1 column 1: <html>a web page</html>
          check that this is the address of an OpenFaaS gateway
        http://GATEWAY redirects to https://elsewhere.example/
          give the address that it points to, if it is yours
        list functions: the gateway at http://GATEWAY refuses these credentials
          set OPENFAAS_USERNAME and OPENFAAS_PASSWORD, give a password file, or log in with faas-cli
        list functions: not found: told to fail:
          check the gateway's address and the namespace; `tranche status` lists deployments
        list functions: refused with status 400: told to fail:
          the gateway's words say what it does not take
        list functions: failed with status 503: told to fail:
          look at the logs of the gateway and its provider
        list functions: the connection to http://GATEWAY broke: connection closed before message completed
          look at the gateway's log; without Prometheus some gateways end the connection when they list functions
        ");
    });
    assert!(errors.iter().all(|error| !error.to_string().contains("user:pass")));
}

#[test]
fn nothing_listening_is_unreachable() {
    let gateway = TestGateway::start(Provider::Faasd);
    let client = client(&gateway, timeouts());
    drop(gateway);
    assert!(matches!(block_on(client.info()).unwrap_err(), GatewayError::Unreachable { .. }));
}

#[test]
fn what_passes_is_tried_again() {
    let gateway = TestGateway::start(Provider::Faasd);
    gateway.fail("GET /system/functions", &[Fault::Reset, Fault::Status(502)]);
    assert_eq!(block_on(client(&gateway, timeouts()).list()).unwrap(), []);
    assert_eq!(gateway.calls().len(), 3);
    gateway.fail("GET /system/functions", &[Fault::Status(400)]);
    assert!(block_on(client(&gateway, timeouts()).list()).is_err());
    assert_eq!(gateway.calls().len(), 1, "a refusal is final");
}

#[test]
fn both_providers_are_told_apart() {
    for provider in [Provider::Faasd, Provider::Kubernetes] {
        let gateway = TestGateway::start(provider);
        let info = block_on(client(&gateway, timeouts()).info()).unwrap();
        assert_eq!((info.provider, info.version.as_str()), (provider, "0.27.1"));
    }
}

#[test]
fn functions_are_made_changed_and_removed() {
    for provider in [Provider::Faasd, Provider::Kubernetes] {
        let gateway = TestGateway::start(provider);
        let client = client(&gateway, timeouts());
        block_on(async {
            assert_eq!(client.apply(&function("one")).await.unwrap(), Applied::Created);
            assert_eq!(client.apply(&function("two")).await.unwrap(), Applied::Updated);
            assert_eq!(client.get("a").await.unwrap().unwrap().image, "two");
            assert_eq!(client.list().await.unwrap().len(), 1);
            client.scale("a", 3).await.unwrap();
            assert_eq!(client.get("a").await.unwrap().unwrap().available_replicas, 3);
            assert!(matches!(client.readiness("a").await.unwrap(), Readiness::Ready { load: Some(_) }));
            // faasd answers 500 and has removed it when asked again.
            gateway.fail("DELETE /system/functions", &[Fault::Status(500)]);
            assert!(client.delete("a").await.unwrap());
            assert!(!client.delete("a").await.unwrap());
            assert!(matches!(client.scale("a", 1).await, Err(GatewayError::NotFound { .. })));
            assert!(matches!(client.readiness("a").await.unwrap(), Readiness::Waiting { .. }));
        });
    }
}

#[test]
fn a_lost_answer_is_no_lost_function() {
    let gateway = TestGateway::start(Provider::Kubernetes);
    gateway.fail("POST /system/functions", &[Fault::LostAnswer]);
    assert_eq!(block_on(client(&gateway, timeouts()).apply(&function("one"))).unwrap(), Applied::Updated);
    assert_eq!(gateway.functions(), ["a"]);
}

#[test]
fn a_refusal_has_the_gateways_words() {
    let gateway = TestGateway::start(Provider::Faasd);
    let error = block_on(client(&gateway, timeouts()).apply(&function("missing"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "create function a: refused with status 400: unable to pull image: not found"
    );
}

#[test]
fn secrets_are_set_and_their_values_never_shown() {
    let gateway = TestGateway::start(Provider::Faasd);
    let client = client(&gateway, timeouts());
    block_on(async {
        assert_eq!(client.set_secret("key", "hush").await.unwrap(), Applied::Created);
        assert_eq!(client.set_secret("key", "hush hush").await.unwrap(), Applied::Updated);
        assert_eq!(client.secrets().await.unwrap(), ["key"]);
        assert_eq!(gateway.secrets()["key"], "hush hush");
        gateway.fail("PUT /system/secrets", &[Fault::Status(400)]);
        let error = client.set_secret("key", "hush").await.unwrap_err();
        assert_eq!(error.to_string(), "set secret key: refused with status 400");
        assert!(client.delete_secret("key").await.unwrap());
        assert!(!client.delete_secret("key").await.unwrap());
    });
}

#[test]
fn logs_and_namespaces_are_read() {
    let gateway = TestGateway::start(Provider::Faasd);
    let client = client(&gateway, timeouts());
    block_on(async {
        let range = LogRange { tail: Some(2), since: None };
        let texts: Vec<String> =
            client.logs("a", &range).await.unwrap().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["line 1\n", "line 2\n"]);
        gateway.fail("GET /system/logs", &[Fault::WrongJson]);
        assert!(matches!(client.logs("a", &range).await, Err(GatewayError::Answer { .. })));
        assert_eq!(client.namespaces().await.unwrap(), ["openfaas-fn"]);
    });
}

#[test]
fn a_namespace_goes_along() {
    let gateway = TestGateway::start(Provider::Kubernetes);
    let client = client(&gateway, timeouts()).in_namespace(Some("fn-a".to_owned()));
    block_on(async {
        client.list().await.unwrap();
        client.apply(&function("one")).await.unwrap();
        client.readiness("a").await.unwrap();
        client.logs("a", &LogRange::default()).await.unwrap();
    });
    insta::assert_snapshot!(gateway.calls().join("\n"), @r"
    GET /system/functions?namespace=fn-a
    PUT /system/functions?namespace=fn-a a
    POST /system/functions?namespace=fn-a a
    GET /function/a.fn-a/_/ready
    GET /system/logs?namespace=fn-a&name=a&follow=false
    ");
}

#[test]
fn credentials_stay_off_open_networks_and_out_of_sight() {
    let credentials = || Some(Credentials::new("admin", PASSWORD));
    let url = |text: &str| GatewayUrl::parse(text).unwrap();
    let exposed = Gateway::new(url("http://faas.example.org"), credentials(), timeouts(), false).unwrap_err();
    assert_eq!(exposed.to_string(), "credentials are not sent to faas.example.org over plain HTTP");
    let told = Gateway::new(url("http://faas.example.org"), credentials(), timeouts(), true).unwrap();
    assert!(Gateway::new(url("http://faas.example.org"), None, timeouts(), false).is_ok());
    assert!(!format!("{told:?}").contains(PASSWORD));

    let gateway = TestGateway::start(Provider::Faasd);
    let client = client(&gateway, timeouts());
    block_on(client.readiness("a")).unwrap();
    let headers = gateway.function_headers().join("\n").to_lowercase();
    assert!(headers.contains("user-agent") && !headers.contains("authorization"), "{headers}");
}

#[test]
fn without_credentials_the_error_asks_for_them() {
    let gateway = TestGateway::start(Provider::Faasd);
    let url = GatewayUrl::parse(&gateway.url()).unwrap();
    let ask =
        |credentials| block_on(Gateway::new(url.clone(), credentials, timeouts(), false).unwrap().list());
    let error = ask(None).unwrap_err();
    assert!(error.to_string().ends_with("wants credentials"), "{error}");
    let error = ask(Some(Credentials::new("admin", "wrong"))).unwrap_err();
    assert!(error.to_string().ends_with("refuses these credentials"), "{error}");
}

/// `+ name: message` for what is well, `- …` with the hint for what is not.
fn doctor(gateway: &TestGateway) -> String {
    let checks = block_on(check_gateway(&client(gateway, impatient())));
    let lines: Vec<String> = checks
        .iter()
        .map(|check| match check.ok {
            true => format!("+ {}: {}", check.name, check.message),
            false => format!("- {}: {} [{}]", check.name, check.message, check.hint),
        })
        .collect();
    lines.join("\n")
}

#[test]
fn the_doctor_says_what_is_wrong() {
    let gateway = TestGateway::start(Provider::Faasd);
    let well = doctor(&gateway);
    gateway.add_others(15);
    let full = doctor(&gateway);
    gateway.fail("GET /system/info", &[Fault::Status(401)]);
    let refused = doctor(&gateway);
    gateway.fail("GET /healthz", &[Fault::Reset; 3]);
    let down = doctor(&gateway);
    insta::with_settings!({ filters => [(r"127\.0\.0\.1:\d+", "GATEWAY")] }, {
        insta::assert_snapshot!([well, full, refused, down].join("\n\n"), @r"
        + gateway: http://GATEWAY answers
        + credentials: credentials are taken
        + provider: faasd (faasd-ce) version 0.18.6, gateway version 0.27.1
        + functions: 0 of 15 functions run

        + gateway: http://GATEWAY answers
        + credentials: credentials are taken
        + provider: faasd (faasd-ce) version 0.18.6, gateway version 0.27.1
        - functions: 15 of 15 functions run [remove functions that are not needed: the Community Edition takes no more]

        + gateway: http://GATEWAY answers
        - credentials: ask what the gateway is: the gateway at http://GATEWAY refuses these credentials [set OPENFAAS_USERNAME and OPENFAAS_PASSWORD, give a password file, or log in with faas-cli]

        - gateway: ask whether the gateway is well: the connection to http://GATEWAY broke: connection closed before message completed [look at the gateway's log; without Prometheus some gateways end the connection when they list functions]
        ");
    });
}
