//! Refusals by KMS, from a stub: LocalStack knows neither policies nor key states.

use std::error::Error;
use std::net::TcpListener;

use aws_config::ConfigLoader;
use aws_sdk_kms::config::retry::RetryConfig;
use reshare_files::fault::Refusable;
use reshare_fixtures::stub_kms::{StubAnswer, StubKms};
use reshare_format::keys::{AgreementKey, AgreementPublicKey};
use reshare_kms::{KmsAction, KmsError, KmsKey};

use crate::support::{key_check, parse, settings};

const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER: &str = "arn:aws:kms:eu-west-1:111122223333:key/00000000-12ab-34cd-56ef-1234567890ab";

fn public_key() -> AgreementPublicKey {
    *AgreementKey::generate().expect("made").public_key()
}

/// Limits the attempts, so that retried errors are returned soon.
fn at(stub: &StubKms, attempts: u32) -> ConfigLoader {
    settings(&stub.endpoint_url()).retry_config(RetryConfig::standard().with_max_attempts(attempts))
}

/// Opens a key from a stub that gives every request this answer.
async fn open_refused(answer: StubAnswer) -> KmsError {
    let stub = StubKms::start(move |_| answer.clone()).expect("a stub");
    KmsKey::open_with(at(&stub, 1), &parse(ARN)).await.expect_err("must fail")
}

/// Derives a secret from a stub with a valid key that gives the second request this answer.
async fn derive_refused(answer: StubAnswer) -> KmsError {
    let public = public_key();
    let stub = StubKms::start(move |action| match action {
        "GetPublicKey" => {
            StubAnswer::public_key(ARN, "KEY_AGREEMENT", "ECC_NIST_P256", public.as_der())
        }
        _ => answer.clone(),
    });
    let stub = stub.expect("a stub");
    let key = KmsKey::open_with(at(&stub, 1), &parse(ARN)).await.expect("its public half");
    let error = key.shared_secret(&public_key()).await.expect_err("must fail");
    assert_eq!(stub.actions(), ["GetPublicKey", "DeriveSharedSecret"]);
    error
}

#[tokio::test]
async fn a_missing_permission_names_action_and_key() {
    let denied = || {
        let who = "User: arn:aws:iam::111122223333:user/x is not authorized";
        StubAnswer::error(400, "AccessDeniedException", who)
    };
    for (error, wanted) in [
        (open_refused(denied()).await, KmsAction::GetPublicKey),
        (derive_refused(denied()).await, KmsAction::DeriveSharedSecret),
    ] {
        assert!(error.is_refusal());
        let text = error.to_string();
        assert!(text.contains(&wanted.to_string()) && text.contains(ARN), "{text}");
        assert!(text.contains("user/x is not authorized"), "{text}");
        assert!(matches!(error, KmsError::AccessDenied { action, .. } if action == wanted));
    }
}

#[tokio::test]
async fn a_key_in_the_wrong_state_is_refused() {
    let disabled = StubAnswer::error(400, "DisabledException", "");
    assert!(matches!(open_refused(disabled.clone()).await, KmsError::Disabled { .. }));
    let error = derive_refused(disabled).await;
    assert!(error.is_refusal() && error.to_string().contains(ARN), "{error}");
    let deleted = StubAnswer::error(400, "KMSInvalidStateException", "is pending deletion.");
    let error = derive_refused(deleted).await;
    assert!(error.is_refusal() && error.to_string().contains("pending deletion"), "{error}");
    let usage = derive_refused(StubAnswer::error(400, "InvalidKeyUsageException", "")).await;
    assert!(usage.is_refusal() && matches!(usage, KmsError::Usage { .. }));
    let symmetric = StubAnswer::error(400, "UnsupportedOperationException", "");
    let usage = open_refused(symmetric).await;
    assert!(usage.is_refusal() && matches!(usage, KmsError::Usage { .. }));
    let other = derive_refused(StubAnswer::error(400, "ValidationException", "bad key")).await;
    assert!(other.is_refusal() && other.to_string().contains("ValidationException: bad key"));
}

#[tokio::test]
async fn what_passes_is_no_refusal_and_is_tried_again_as_often_as_asked() {
    for (status, code) in
        [(400, "ThrottlingException"), (500, "KMSInternalException"), (503, "Any")]
    {
        let stub = StubKms::start(move |_| StubAnswer::error(status, code, "later"));
        let stub = stub.expect("a stub");
        let error = KmsKey::open_with(at(&stub, 2), &parse(ARN)).await.expect_err("must fail");
        assert!(!error.is_refusal(), "{error}");
        let throttled = matches!(error, KmsError::Throttled { .. });
        assert_eq!(throttled, code == "ThrottlingException", "{error}");
        assert_eq!(stub.actions().len(), 2, "{error}");
    }
    for code in ["ExpiredTokenException", "UnrecognizedClientException"] {
        let error = open_refused(StubAnswer::error(400, code, "who?")).await;
        assert!(!error.is_refusal() && matches!(error, KmsError::CredentialsRejected { .. }));
    }
}

#[tokio::test]
async fn an_endpoint_without_a_server_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port");
    let settings = settings(&format!("http://{port}"))
        .retry_config(RetryConfig::standard().with_max_attempts(2));
    let error = KmsKey::open_with(settings, &parse(ARN)).await.expect_err("no server");
    assert!(!error.is_refusal());
    assert!(matches!(error, KmsError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_public_key_that_is_none_is_refused() {
    for (der, curve) in [(&[][..], "ECC_NIST_P256"), (&[0; 91], "ECC_NIST_P256")] {
        let answer = StubAnswer::public_key(ARN, "KEY_AGREEMENT", curve, der);
        let error = open_refused(answer).await;
        assert!(error.is_refusal() && matches!(error, KmsError::PublicKey { .. }), "{error}");
    }
    let nothing = open_refused(StubAnswer::ok(&serde_json::json!({}))).await;
    assert!(nothing.is_refusal(), "{nothing}");
}

#[tokio::test]
async fn a_secret_of_another_key_or_length_is_refused_and_shown_nowhere() {
    let secret: [u8; 32] = std::array::from_fn(|byte| 0xa5 ^ byte as u8);
    let broken = StubAnswer::shared_secret(ARN, &secret);
    let broken = StubAnswer { body: broken.body.replace('}', "!"), ..broken };
    let without = StubAnswer::ok(&serde_json::json!({ "KeyId": ARN }));
    for answer in [
        StubAnswer::shared_secret(ARN, &secret[..31]),
        StubAnswer::shared_secret(ARN, &[&secret[..], &[0]].concat()),
        StubAnswer::shared_secret(OTHER, &secret),
        broken,
        without,
    ] {
        let error = derive_refused(answer.clone()).await;
        assert!(error.is_refusal(), "{error:?}: {answer:?}");
        let mut shown = format!("{error} {error:?}");
        let mut cause = error.source();
        while let Some(error) = cause {
            shown.push_str(&format!("{error} {error:?}"));
            cause = error.source();
        }
        for trace in ["pKemoaC", "a5a4a7", "165, 164, 167"] {
            assert!(!shown.contains(trace), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_right_answer_of_the_stub_is_taken() {
    let (public, secret) = (public_key(), [7; 32]);
    let stub = StubKms::start(move |action| match action {
        "GetPublicKey" => {
            StubAnswer::public_key(ARN, "KEY_AGREEMENT", "ECC_NIST_P256", public.as_der())
        }
        _ => StubAnswer::shared_secret(ARN, &secret),
    });
    let key = KmsKey::open_with(at(&stub.expect("a stub"), 1), &parse(ARN)).await.expect("opened");
    let agreed = key.shared_secret(&public_key()).await.expect("agreed");
    let expected = reshare_engine::key_schedule::SharedSecret::new(secret);
    assert_eq!(key_check(&agreed), key_check(&expected));
}

#[tokio::test]
async fn a_new_key_whose_public_half_cannot_be_read_is_still_named() {
    let stub = StubKms::start(|action| match action {
        "CreateKey" => {
            StubAnswer::ok(&serde_json::json!({ "KeyMetadata": { "KeyId": "x", "Arn": ARN } }))
        }
        _ => StubAnswer::error(400, "AccessDeniedException", "no"),
    });
    let stub = stub.expect("a stub");
    let error = KmsKey::create_with(at(&stub, 1), None).await.expect_err("no public half");
    assert!(matches!(&error, KmsError::Created { arn, .. } if arn.as_str() == ARN), "{error}");
    assert!(error.is_refusal());
    let denied = StubKms::start(|_| StubAnswer::error(400, "AccessDeniedException", "no"));
    let error = KmsKey::create_with(at(&denied.expect("a stub"), 1), None).await;
    let error = error.expect_err("not allowed");
    assert!(error.to_string().contains("kms:CreateKey"), "{error}");
}
