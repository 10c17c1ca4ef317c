//! Keys in KMS and in files give the same secret: checked against each other and against OpenSSL.

use std::fs;
use std::process::Command;

use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use reshare_engine::key_schedule::SharedSecret;
use reshare_files::fault::Refusable;
use reshare_format::keys::AgreementKey;
use reshare_kms::{KmsError, KmsKey, SenderKey, SenderKeyError};
use reshare_pipeline::sender::{Agreed, SenderKeys, SenderKeysError};

use crate::support::{
    key_check, localstack, new_key, open, parse, raw_client, session, shared_key,
};

#[tokio::test]
async fn two_keys_in_kms_agree_on_one_secret() {
    let [a, b, c] = [new_key().await, new_key().await, new_key().await];
    let from_a = a.shared_secret(b.public_key()).await.expect("agreed");
    let from_b = b.shared_secret(a.public_key()).await.expect("agreed");
    assert_eq!(key_check(&from_a), key_check(&from_b));
    let other = a.shared_secret(c.public_key()).await.expect("agreed");
    assert_ne!(key_check(&from_a), key_check(&other));
}

#[tokio::test]
async fn kms_comes_to_the_secret_that_openssl_derives_from_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (private, public) = (dir.path().join("file.key"), dir.path().join("kms.pub"));
    let file = AgreementKey::generate_file(&private).expect("made");
    let kms = new_key().await;
    fs::write(&public, kms.public_key().to_pem()).expect("written");
    let mut openssl = Command::new("openssl");
    openssl.args(["pkeyutl", "-derive", "-inkey"]).arg(&private).arg("-peerkey").arg(&public);
    let output = openssl.output().expect("openssl: run make setup");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = SharedSecret::new(output.stdout.try_into().expect("32 bytes"));

    let ours = kms.shared_secret(file.public_key()).await.expect("agreed");
    assert_eq!(key_check(&ours), key_check(&theirs));
    let from_file = file.shared_secret(kms.public_key()).expect("agreed");
    assert_eq!(key_check(&from_file), key_check(&theirs));
}

#[tokio::test]
async fn senders_with_kms_and_files_in_every_mixture_have_the_same_keys() {
    let file = || SenderKey::File(AgreementKey::generate().expect("made"));
    for mixture in ["kms kms", "kms file", "file kms", "file file"] {
        let mut keys = Vec::new();
        for kind in mixture.split(' ') {
            keys.push(if kind == "kms" { SenderKey::Kms(new_key().await) } else { file() });
        }
        let session = session([keys[0].public_key(), keys[1].public_key()]);
        let mut checks = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let other = match &keys[1 - index] {
                SenderKey::Kms(key) => Some(key),
                _ => None,
            };
            let [_, peer] = SenderKeys::owner_first(&session, key.public_key()).expect("a sender");
            let secret = key.shared_secret(peer, other).await.expect("agreed");
            let shared_key = shared_key();
            let more = Agreed { encapsulated: None, shared_key: Some(&shared_key) };
            let agreed = SenderKeys::from_secret(&session, key.public_key(), &secret, more);
            let agreed = agreed.expect("a sender");
            assert_eq!(usize::from(agreed.sender().index()), index, "{mixture}");
            checks.push(agreed.key_check());
        }
        assert_eq!(checks[0], checks[1], "{mixture}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_in_the_session_is_refused() {
    let [a, b, stranger] = [new_key().await, new_key().await, new_key().await];
    let session = session([a.public_key(), b.public_key()]);
    let refused = SenderKeys::owner_first(&session, stranger.public_key());
    assert!(matches!(refused, Err(SenderKeysError::NotASender { .. })));
    let [_, other] = SenderKeys::owner_first(&session, a.public_key()).expect("a sender");
    let own = SenderKey::Kms(a.clone());
    for wrong in [&stranger, &a] {
        let refused = own.shared_secret(other, Some(wrong)).await.expect_err("not the other's");
        assert!(matches!(&refused, SenderKeyError::NotTheOther { arn, .. } if arn == wrong.arn()));
    }
    assert!(own.shared_secret(other, Some(&b)).await.is_ok());
    let own = a.shared_secret(a.public_key()).await;
    assert!(matches!(own, Err(KmsError::OwnKey)));
}

#[tokio::test]
async fn an_alias_and_a_bare_id_find_the_key_itself() {
    let (key, client) = (new_key().await, raw_client().await);
    let arn = key.arn().as_str();
    let (account, id) = arn.split_once(":key/").expect("a key's ARN");
    let alias = format!("alias/sender-{id}");
    let request = client.create_alias().alias_name(&alias).target_key_id(id);
    request.send().await.expect("made");
    for name in [arn, id, &alias, &format!("{account}:{alias}")] {
        let found = open(name).await.expect("found");
        assert_eq!(found.arn(), key.arn(), "{name}");
        assert_eq!(found.public_key(), key.public_key());
        let peer = AgreementKey::generate().expect("made");
        found.shared_secret(peer.public_key()).await.expect("agreed");
    }
}

#[tokio::test]
async fn a_key_of_another_usage_or_curve_is_refused() {
    let client = raw_client().await;
    let make = async |usage: KeyUsageType, spec: KeySpec| {
        let answer = client.create_key().key_usage(usage).key_spec(spec).send().await;
        let arn = answer.expect("made").key_metadata.expect("described").arn.expect("an ARN");
        open(&arn).await.expect_err("must be refused")
    };
    let signs = make(KeyUsageType::SignVerify, KeySpec::EccNistP256).await;
    assert!(matches!(&signs, KmsError::Usage { usage, .. } if usage == "SIGN_VERIFY"), "{signs}");
    let p384 = make(KeyUsageType::KeyAgreement, KeySpec::EccNistP384).await;
    assert!(matches!(&p384, KmsError::Curve { spec, .. } if spec == "ECC_NIST_P384"), "{p384}");
    for error in [signs, p384] {
        assert!(error.is_refusal(), "{error:?}");
    }
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_refused() {
    let arn = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let error = open(arn).await.expect_err("no such key");
    assert!(matches!(&error, KmsError::NotFound { key: Some(key), .. } if *key == parse(arn)));
    assert!(error.is_refusal());
}

#[tokio::test]
async fn the_region_of_an_arn_wins_over_that_of_the_environment() {
    let key = new_key().await;
    let elsewhere = localstack().region(aws_sdk_kms::config::Region::new("eu-west-1"));
    let found = KmsKey::open_with(elsewhere, key.arn()).await.expect("found in its own region");
    assert_eq!(found.public_key(), key.public_key());
    let id = key.arn().as_str().rsplit_once('/').expect("a key's ARN").1;
    let elsewhere = localstack().region(aws_sdk_kms::config::Region::new("eu-west-1"));
    let lost = KmsKey::open_with(elsewhere, &parse(id)).await;
    assert!(matches!(lost, Err(KmsError::NotFound { .. })));
}
