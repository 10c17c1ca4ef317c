//! Certificates of any authority, and why some are refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use reshare_format::keys::PrivateFileError;
use reshare_format::keys::certificate::CertificateName;
use reshare_format::keys::certificate::{
    CertificateError as E, PartyCertificate, Purpose, SignatureContext, TrustAnchor, verify,
    verify_signature,
};
use time::Duration;

use crate::openssl::{KEYS, OpensslCa, SIGNS, openssl};
use crate::support::now;

const URI: &str = "spiffe://mpc.example/0";

fn name(text: &str) -> CertificateName {
    text.parse().expect("a name")
}

fn check(ca: &OpensslCa, certificate: &PartyCertificate, of: &str) -> Result<(), E> {
    verify(certificate.chain(), &ca.anchor(), &name(of), now(), Purpose::Signature)
}

#[test]
fn keys_of_every_sort_made_by_openssl_sign_and_are_verified() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, _) in KEYS {
        let ca = OpensslCa::new(directory.path(), &format!("ca-{kind}"), kind);
        let certificate = ca.party(kind, kind, &format!("URI:{URI}"));
        let signature = certificate.sign(SignatureContext::Approval, b"message").unwrap();
        let verified = |context, message: &[u8], signature: &[u8]| {
            let (chain, anchor) = (certificate.chain(), ca.anchor());
            verify_signature(chain, &anchor, &name(URI), now(), context, message, signature)
        };
        verified(SignatureContext::Approval, b"message", &signature).unwrap();
        let changed = verified(SignatureContext::Approval, b"messagf", &signature);
        assert!(matches!(changed, Err(E::Signature(_))), "{kind}: {changed:?}");
        let other = verified(SignatureContext::Manifest, b"message", &signature);
        assert!(matches!(other, Err(E::Signature(_))), "{kind}: {other:?}");
        for bit in 0..signature.len() * 8 {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let refused = verified(SignatureContext::Approval, b"message", &flipped);
            assert!(matches!(refused, Err(E::Signature(_))), "{kind} bit {bit}: {refused:?}");
        }
    }
}

#[test]
fn an_intermediate_authority_leads_to_the_anchor_and_a_missing_or_needless_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let root = OpensslCa::new(directory.path(), "root", "rsa");
    let middle = root.intermediate("middle");
    let issued = middle.issue("leaf", "p256", "x", &format!("{SIGNS}subjectAltName=URI:{URI}\n"));
    let missing = check(&root, &issued.load(), URI);
    assert!(matches!(missing, Err(E::OtherIssuer(_))), "{missing:?}");
    issued.append(&middle.file());
    check(&root, &issued.load(), URI).unwrap();
    issued.append(&root.file());
    let with_root = issued.load();
    assert_eq!(with_root.chain().certificates().len(), 2, "the root is left out");
    check(&root, &with_root, URI).unwrap();
    let needless = root.intermediate("needless");
    issued.append(&needless.file());
    let refused = check(&root, &issued.load(), URI);
    assert!(matches!(refused, Err(E::Superfluous { extra: 1 })), "{refused:?}");
}

#[test]
fn a_certificate_of_another_authority_is_refused_even_under_the_same_name() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let ca = OpensslCa::new(one.path(), "ca", "p256");
    let twin = OpensslCa::new(two.path(), "ca", "p256");
    let certificate = twin.party("leaf", "p256", &format!("URI:{URI}"));
    let refused = check(&ca, &certificate, URI);
    assert!(matches!(refused, Err(E::OtherIssuer(_))), "{refused:?}");
    let expected = *ca.anchor().sha256();
    let other = TrustAnchor::load(&twin.file(), Some(&expected)).unwrap_err();
    let E::File { source, .. } = other else { panic!("{other:?}") };
    assert!(matches!(*source, E::OtherAuthority { .. }), "{source:?}");
    let leaf = TrustAnchor::load(&two.path().join("leaf.pem"), None).unwrap_err();
    let E::File { source, .. } = leaf else { panic!("{leaf:?}") };
    assert!(matches!(*source, E::NotAnAuthority), "{source:?}");
}

#[test]
fn a_certificate_is_refused_before_and_after_its_life() {
    let directory = tempfile::tempdir().unwrap();
    let ca = OpensslCa::new(directory.path(), "ca", "p256");
    let certificate = ca.party("leaf", "p256", &format!("URI:{URI}"));
    let at = |moment| {
        let (chain, anchor) = (certificate.chain(), ca.anchor());
        verify(chain, &anchor, &name(URI), moment, Purpose::Signature)
    };
    at(now()).unwrap();
    let late = at(now() + Duration::days(11));
    assert!(matches!(late, Err(E::Expired { .. })), "{late:?}");
    let early = at(now() - Duration::hours(1));
    assert!(matches!(early, Err(E::NotYetValid { .. })), "{early:?}");
    let after_the_authority = at(now() + Duration::days(31));
    assert!(matches!(after_the_authority, Err(E::Expired { .. })), "{after_the_authority:?}");
}

#[test]
fn names_are_matched_exactly_by_one_alternative_name_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let ca = OpensslCa::new(directory.path(), "ca", "p256");
    let dns = "party0.mpc.example";
    let several = format!("DNS:other.example,URI:{URI},DNS:{dns}");
    let certificate = ca.party("several", "p256", &several);
    check(&ca, &certificate, URI).unwrap();
    check(&ca, &certificate, dns).unwrap();
    for (index, (san, of)) in [
        ("DNS:*.mpc.example", dns),
        ("DNS:party0.mpc.example.evil.example", dns),
        ("DNS:mpc.example", dns),
        ("DNS:PARTY0.mpc.example", dns),
        ("URI:spiffe://mpc.example/01", URI),
        ("URI:spiffe://mpc.example", URI),
        ("email:party0@mpc.example", dns),
        ("URI:https://party0.mpc.example", dns),
    ]
    .into_iter()
    .enumerate()
    {
        let certificate = ca.party(&format!("wrong-{index}"), "p256", san);
        let refused = check(&ca, &certificate, of);
        assert!(matches!(refused, Err(E::OtherName { .. })), "{san}: {refused:?}");
    }
    let common_name = ca.issue("common", "p256", dns, SIGNS).load();
    let refused = check(&ca, &common_name, dns);
    assert!(matches!(refused, Err(E::OtherName { .. })), "{refused:?}");
}

#[test]
fn only_a_certificate_that_names_digital_signature_signs() {
    let directory = tempfile::tempdir().unwrap();
    let ca = OpensslCa::new(directory.path(), "ca", "p256");
    let san = format!("subjectAltName=URI:{URI}\n");
    for (index, usage) in ["", "keyUsage=keyAgreement\n"].into_iter().enumerate() {
        let issued = ca.issue(&format!("leaf-{index}"), "p256", "x", &format!("{usage}{san}"));
        let refused = check(&ca, &issued.load(), URI);
        assert!(matches!(refused, Err(E::NoDigitalSignature)), "{usage}: {refused:?}");
    }
    let client = format!("{SIGNS}{san}extendedKeyUsage=clientAuth\n");
    let client = ca.issue("client", "p256", "x", &client).load();
    let of = |purpose| verify(client.chain(), &ca.anchor(), &name(URI), now(), purpose);
    of(Purpose::Signature).unwrap();
    of(Purpose::TlsClient).unwrap();
    let server = of(Purpose::TlsServer);
    assert!(matches!(server, Err(E::ExtendedKeyUsage(_))), "{server:?}");
}

#[test]
fn a_private_key_must_fit_be_private_and_of_a_known_sort() {
    let directory = tempfile::tempdir().unwrap();
    let ca = OpensslCa::new(directory.path(), "ca", "p256");
    let extensions = format!("{SIGNS}subjectAltName=URI:{URI}\n");
    let one = ca.issue("one", "p256", "x", &extensions);
    let two = ca.issue("two", "p256", "x", &extensions);
    let other = PartyCertificate::load(&one.certificate, &two.key).unwrap_err();
    assert!(matches!(other, E::KeyMismatch { .. }), "{other:?}");
    fs::set_permissions(&one.key, Permissions::from_mode(0o644)).unwrap();
    let open = PartyCertificate::load(&one.certificate, &one.key).unwrap_err();
    assert!(matches!(open, E::KeyFile(PrivateFileError::Permissions { .. })), "{open:?}");
    let sec1 = directory.path().join("sec1.key");
    for with_parameters in [false, true] {
        openssl(directory.path(), &["ec", "-in", "two.key", "-out", "sec1.key"]);
        if with_parameters {
            let key = fs::read_to_string(&sec1).unwrap();
            openssl(directory.path(), &["ecparam", "-name", "P-256", "-out", "curve.pem"]);
            let curve = fs::read_to_string(directory.path().join("curve.pem")).unwrap();
            fs::write(&sec1, curve + &key).unwrap();
        }
        fs::set_permissions(&sec1, Permissions::from_mode(0o600)).unwrap();
        PartyCertificate::load(&two.certificate, &sec1).unwrap();
    }
    let p521 = directory.path().join("p521.key");
    let make = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
    openssl(directory.path(), &[&make[..], &["-out", "p521.key"]].concat());
    fs::set_permissions(&p521, Permissions::from_mode(0o600)).unwrap();
    let unknown = PartyCertificate::load(&one.certificate, &p521).unwrap_err();
    assert!(matches!(unknown, E::KeyKind { .. }), "{unknown:?}");
}
