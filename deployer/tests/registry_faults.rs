//! Registries that fail, lie, hang or send one elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "support/registry/mod.rs"]
mod support;

use hyper::Method;
use std::time::{Duration, Instant};
use support::double::{Double, Fault, Login};
use support::{Images, LARGE, names, noise, options, options_as, push, retries};
use tranche_deployer::registry::{Credentials, Options, PushEvent, RegistryError, push_layout};
use tranche_schema::Digest;

/// An image with one large layer, pushed to the double.
async fn push_large(double: &Double, options: &Options) -> (Result<(), RegistryError>, Vec<PushEvent>) {
    let images = Images::new().image("slice-0", &[&noise(LARGE, 7)]);
    let (pushed, events) = push(&images, &names(&double.host, &["slice-0"]), options).await;
    if pushed.is_ok() {
        assert_eq!(double.blob("team/slice-0", &noise(LARGE, 7)).unwrap().len(), LARGE);
    }
    (pushed.map(|_| ()), events)
}

async fn error_of(double: &Double, options: &Options) -> String {
    let error = push_large(double, options).await.0.unwrap_err();
    error.to_string().replace(&double.host, "HOST")
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_broke() {
    let double = Double::start().await;
    double.fail(1, Method::PATCH, "", Fault::CutAfter(1_000_000));
    let (pushed, events) = push_large(&double, &options()).await;
    pushed.unwrap();
    assert_eq!(double.ranges(), ["0-3145727", "1000000-3145727"]);
    assert_eq!(retries(&events).len(), 1);
}

#[tokio::test]
async fn an_upload_may_break_more_often_than_is_tried_if_it_gets_further() {
    let double = Double::start().await;
    double.fail(9, Method::PATCH, "", Fault::CutAfter(300_000));
    push_large(&double, &options()).await.0.unwrap();
    assert_eq!(double.ranges().len(), 10);
    assert_eq!(double.ranges()[9], "2700000-3145727");
}

#[tokio::test]
async fn an_upload_that_never_gets_further_fails() {
    let double = Double::start().await;
    double.fail(99, Method::PATCH, "", Fault::CutAfter(0));
    let error = error_of(&double, &options()).await;
    assert!(error.starts_with("PATCH http://HOST/v2/team/slice-0/blobs/uploads/"), "{error}");
    assert!(error.ends_with("; tried 5 times"), "{error}");
}

#[tokio::test]
async fn a_file_that_shrinks_meanwhile_is_not_the_connections_fault() {
    let double = Double::start().await;
    double.fail(1, Method::PATCH, "", Fault::CutAfter(1_000_000));
    let layer = noise(LARGE, 7);
    let images = Images::new().image("slice-0", &[&layer]);
    let file = images.layout().blob_path(&Digest::of(&layer));
    let options = Options { pause: Duration::from_millis(200), ..options() };
    let shrink = |event: PushEvent| {
        if matches!(event, PushEvent::Retrying { .. }) {
            std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(1_500_000).unwrap();
        }
    };
    let names = names(&double.host, &["slice-0"]);
    let error = push_layout(&images.layout(), &names, &options, shrink).await.unwrap_err();
    assert!(matches!(&error, RegistryError::File { path, .. } if *path == file), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_forgot_the_upload_gets_it_anew() {
    let double = Double::start().await;
    double.fail(1, Method::PATCH, "", Fault::CutAfter(1_000_000));
    double.fail(1, Method::GET, "uploads", Fault::status(404));
    push_large(&double, &options()).await.0.unwrap();
    assert_eq!(double.ranges(), ["0-3145727", "0-3145727"]);
}

#[tokio::test]
async fn a_registry_that_took_a_part_gets_the_rest() {
    let double = Double::start().await;
    double.fail(1, Method::PATCH, "", Fault::TakeOnly(2_000_000));
    push_large(&double, &options()).await.0.unwrap();
    assert_eq!(double.ranges(), ["0-3145727", "2000000-3145727"]);
}

#[tokio::test]
async fn a_lost_answer_to_a_whole_upload_sends_nothing_twice() {
    let double = Double::start().await;
    double.fail(1, Method::PUT, "blobs", Fault::Swallow);
    double.fail(1, Method::PATCH, "", Fault::Swallow);
    push_large(&double, &options()).await.0.unwrap();
    assert_eq!(double.ranges(), ["0-3145727"]);
}

#[tokio::test]
async fn passing_failures_are_tried_again() {
    let double = Double::start().await;
    for (method, path) in [
        (Method::HEAD, "blobs"),
        (Method::POST, "uploads"),
        (Method::PATCH, "uploads"),
        (Method::PUT, "uploads"),
        (Method::PUT, "manifests"),
        (Method::HEAD, "manifests"),
    ] {
        double.fail(2, method, path, Fault::status(503));
    }
    let (pushed, events) = push_large(&double, &options()).await;
    pushed.unwrap();
    assert_eq!(retries(&events).len(), 12);
    assert!(retries(&events).iter().all(|(reason, _)| reason == "answered 503"));
}

#[tokio::test]
async fn a_failure_that_stays_is_told_in_the_words_of_the_registry() {
    let double = Double::start().await;
    let body = "<html><h1>Bad\u{1b}[31m Gateway</h1>\r\n</html>";
    double.fail(99, Method::POST, "", Fault::Answer { status: 502, headers: Vec::new(), body });
    let options = Options { parallel: 1, ..options() };
    let error = push_large(&double, &options).await.0.unwrap_err();
    assert!(error.hint().starts_with("the registry is overloaded"));
    insta::assert_snapshot!(
        error.to_string().replace(&double.host, "HOST"),
        @"POST http://HOST/v2/team/slice-0/blobs/uploads/ answered 502: <html><h1>Bad [31m Gateway</h1> </html>"
    );
    assert_eq!(double.count("POST", ""), 5);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let double = Double::start().await;
    let body = r#"{"errors":[{"code":"DENIED","message":"quota used up"},{"code":"OTHER"}]}"#;
    double.fail(99, Method::PUT, "manifests", Fault::Answer { status: 403, headers: Vec::new(), body });
    insta::assert_snapshot!(
        error_of(&double, &options()).await,
        @"PUT http://HOST/v2/team/slice-0/manifests/tag answered 403: DENIED: quota used up; OTHER"
    );
    assert_eq!(double.count("PUT", "manifests"), 1);
}

#[tokio::test]
async fn a_registry_says_how_long_to_wait() {
    let double = Double::start().await;
    let wait =
        |text: &str| Fault::Answer { status: 429, headers: vec![("retry-after", text.to_owned())], body: "" };
    double.fail(1, Method::PUT, "manifests", wait("1"));
    double.fail(1, Method::PATCH, "", wait("Fri, 01 Jan 2100 00:00:00 GMT"));
    let options = Options { longest_pause: Duration::from_millis(1500), ..options() };
    let start = Instant::now();
    let (pushed, events) = push_large(&double, &options).await;
    pushed.unwrap();
    let pauses: Vec<Duration> = retries(&events).into_iter().map(|(_, pause)| pause).collect();
    assert_eq!(pauses, [Duration::from_millis(1500), Duration::from_secs(1)]);
    assert!(start.elapsed() >= Duration::from_millis(2500));
}

#[tokio::test]
async fn a_pause_beyond_the_deadline_is_not_made() {
    let double = Double::start().await;
    let headers = vec![("retry-after", "20".to_owned())];
    double.fail(1, Method::POST, "", Fault::Answer { status: 429, headers, body: "" });
    let options = Options { deadline: Duration::from_secs(5), ..options() };
    let start = Instant::now();
    insta::assert_snapshot!(
        error_of(&double, &options).await,
        @"POST http://HOST/v2/team/slice-0/blobs/uploads/ did not end within 5s"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn silence_and_endless_answers_end() {
    for fault in [Fault::Silent, Fault::Trickle] {
        let double = Double::start().await;
        double.fail(99, Method::POST, "", fault);
        let options = Options { answer_timeout: Duration::from_millis(100), attempts: 2, ..options() };
        let error = error_of(&double, &options).await;
        assert_eq!(
            error,
            "POST http://HOST/v2/team/slice-0/blobs/uploads/: no answer within 100ms; tried 2 times"
        );
    }
}

#[tokio::test]
async fn everything_has_one_deadline() {
    let double = Double::start().await;
    double.fail(99, Method::PATCH, "", Fault::Silent);
    let options = Options { deadline: Duration::from_millis(400), ..options() };
    let error = error_of(&double, &options).await;
    assert!(error.ends_with("did not end within 400ms"), "{error}");
}

#[tokio::test]
async fn another_digest_in_an_answer_is_an_error() {
    for (method, path) in [(Method::PUT, "manifests"), (Method::PUT, "uploads"), (Method::HEAD, "manifests")]
    {
        let double = Double::start().await;
        if method == Method::HEAD {
            // The first HEAD finds nothing; the second is the one after the PUT.
            double.fail(1, Method::HEAD, path, Fault::status(404));
        }
        double.fail(1, method, path, Fault::WrongDigest);
        let error = push_large(&double, &options()).await.0.unwrap_err();
        assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    }
}

#[tokio::test]
async fn no_registry_is_a_connection_error() {
    let double = Double::start().await;
    let host = double.host.clone();
    drop(double);
    tokio::task::yield_now().await;
    let images = Images::new().image("slice-0", &[b"layer"]);
    let error = push(&images, &names(&host, &["slice-0"]), &options()).await.0.unwrap_err().to_string();
    assert!(error.ends_with("Connection refused (os error 111); tried 5 times"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_without_the_password() {
    let (home, other) = (Double::with_login(Login::Basic("team", "word")).await, Double::start().await);
    // An upload that another host takes, and a HEAD that it answers.
    let upload = format!("http://{}/v2/team/slice-0/blobs/uploads/1?_state=0", other.host);
    other.state.lock().unwrap().begin_upload("team/slice-0");
    home.fail(1, Method::PATCH, "", Fault::redirect(307, upload));
    let blob = format!("http://{}/v2/elsewhere/blobs/nothing", other.host);
    home.fail(1, Method::HEAD, "blobs", Fault::redirect(302, blob));
    let layer = noise(LARGE, 7);
    let images = Images::new().image("slice-0", &[&layer]);
    let options = options_as(Credentials::password("team", "word"));
    // The other host keeps the bytes to itself, so that the manifest has to fail here.
    let error = push(&images, &names(&home.host, &["slice-0"]), &options).await.0.unwrap_err();
    assert!(error.to_string().contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
    assert_eq!(other.count("PATCH", "uploads/1"), 1);
    assert_eq!(other.count("HEAD", "elsewhere"), 1);
    assert!(other.seen().iter().all(|seen| seen.authorization.is_none()), "{:?}", other.seen());
    assert!(home.seen().iter().any(|seen| seen.authorization.is_some()));
}

#[tokio::test]
async fn redirects_end_and_do_not_lose_a_body() {
    let double = Double::start().await;
    double.fail(99, Method::HEAD, "blobs", Fault::redirect(307, "/v2/round/blobs/again".to_owned()));
    let error = error_of(&double, &options()).await;
    assert!(error.ends_with("more than 5 redirects"), "{error}");
    let double = Double::start().await;
    // 302 would turn a POST into a GET.
    double.fail(99, Method::POST, "", Fault::redirect(302, "/v2/round/blobs/again".to_owned()));
    let error = error_of(&double, &options()).await;
    assert!(error.contains("answered 302"), "{error}");
    let double = Double::start().await;
    double.fail(99, Method::HEAD, "blobs", Fault::redirect(307, "http://192.0.2.1/v2/".to_owned()));
    let error = error_of(&double, &options()).await;
    assert!(error.starts_with("192.0.2.1 is not this machine"), "{error}");
}

#[tokio::test]
async fn an_upload_without_a_location_is_an_error() {
    let double = Double::start().await;
    double.fail(99, Method::POST, "", Fault::status(202));
    let error = error_of(&double, &options()).await;
    assert!(error.ends_with("it does not say where the upload goes on (Location)"), "{error}");
}

#[tokio::test]
async fn plain_http_is_for_this_machine_alone() {
    let images = Images::new().image("slice-0", &[b"layer"]);
    let error = push(&images, &names("192.0.2.1:5000", &["slice-0"]), &options()).await.0.unwrap_err();
    insta::assert_snapshot!(
        format!("{error}\n{}", error.hint()),
        @r"
    192.0.2.1 is not this machine: images and passwords are not sent to it over plain HTTP
    give the registry a certificate; plain HTTP is only for a registry at localhost or 127.0.0.1
    "
    );
}

#[tokio::test]
async fn this_machine_too_needs_tls_unless_declared_insecure() {
    let double = Double::start().await;
    let options = Options { insecure: false, ..options() };
    let error = push_large(&double, &options).await.0.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error:?}");
    assert!(error.hint().contains("insecure"));
    assert!(double.seen().is_empty());
}
