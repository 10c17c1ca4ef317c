//! Approvals of a session, as a sender requires them.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reshare_format::keys::certificate::CertificateError;
use reshare_format::keys::pki::KeyKind;
use reshare_format::keys::{Ciphertext, Identity, SealKind};
use reshare_format::session::{
    Approval, ApprovalError as E, Approvals, Session, SessionTrust, StatementError as S,
};
use reshare_pipeline::sender::{Agreed, SenderCredentials, SenderKeys, SenderKeysError};
use time::Duration;

use crate::support::{NAMES, World, now, party};

fn approve(world: &World, index: usize) -> Approval {
    world.approve(index)
}

fn verify(world: &World, approvals: &[Approval]) -> Result<Approvals, E> {
    Approvals::verify(&world.session, &world.trust, party(0), approvals, now())
}

#[test]
fn a_sender_needs_approvals_by_the_receiver_and_the_other_sender() {
    let world = World::new();
    let [own, other, receiver] = [0, 1, 2].map(|index| approve(&world, index));
    verify(&world, &[other.clone(), receiver.clone()]).unwrap();
    verify(&world, &[own.clone(), receiver.clone(), other.clone()]).unwrap();
    for (given, missing) in [
        (vec![], vec![party(1), party(2)]),
        (vec![own.clone(), other], vec![party(2)]),
        (vec![own, receiver], vec![party(1)]),
    ] {
        let refused = verify(&world, &given);
        assert!(
            matches!(&refused, Err(E::Missing { parties }) if *parties == missing),
            "{refused:?}"
        );
    }
}

#[test]
fn an_approval_of_another_session_or_of_this_one_before_it_was_changed_is_refused() {
    let world = World::new();
    let approvals = [approve(&world, 1), approve(&world, 2)];
    let text = world.session.to_toml();
    // What the other sender would do: the same session, with a recipient of its own.
    let recipient = Identity::generate(SealKind::Hybrid).to_public().to_string();
    let original = world.session.receiver().recipient.to_string();
    let changed = Session::parse(&text.replace(&original, &recipient)).expect("valid");
    let trust = SessionTrust::new(&changed, world.authority.anchor().clone()).expect("fits");
    let refused = Approvals::verify(&changed, &trust, party(0), &approvals, now());
    assert!(matches!(refused, Err(E::OtherSession { .. })), "{refused:?}");
    let refused = Approvals::verify(&changed, &world.trust, party(0), &approvals, now());
    assert!(matches!(refused, Err(E::Statement(S::OtherTrust))), "{refused:?}");
    let another = world.another_session();
    let trust = SessionTrust::new(&another, world.authority.anchor().clone()).expect("fits");
    let refused = Approvals::verify(&another, &trust, party(0), &approvals, now());
    assert!(matches!(refused, Err(E::OtherSession { .. })), "{refused:?}");
}

#[test]
fn an_approval_by_another_name_or_an_ended_certificate_is_refused() {
    let world = World::new();
    let receiver = approve(&world, 2);
    let other = String::from_utf8(approve(&world, 1).to_bytes().unwrap()).unwrap();
    // The other sender claims to be the receiver.
    let claimed = other.replace("\"party\":1", "\"party\":2");
    let claimed = Approval::parse(claimed.as_bytes()).unwrap();
    let refused = claimed.verify(&world.session, &world.trust, now()).unwrap_err();
    let E::Statement(S::Signature { party: of, source, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(of, party(2));
    assert!(matches!(source, CertificateError::OtherName { .. }), "{source:?}");
    let late = receiver.verify(&world.session, &world.trust, now() + Duration::days(2));
    let Err(E::Statement(S::Signature { source, .. })) = late else { panic!("{late:?}") };
    assert!(matches!(source, CertificateError::Expired { .. }), "{source:?}");
    let early = receiver.verify(&world.session, &world.trust, now() - Duration::hours(1));
    assert!(matches!(early, Err(E::Statement(S::InFuture { .. }))), "{early:?}");
    let stranger = world.issue("stranger.example", now(), Duration::days(1), KeyKind::Ed25519);
    let refused = Approval::sign(&world.session, &world.trust, &stranger, now(), None);
    let Err(E::Statement(S::Own { source, .. })) = refused else { panic!("{refused:?}") };
    assert!(matches!(source, CertificateError::NotOneParty { parties: 0, .. }), "{source:?}");
}

#[test]
fn a_bit_flipped_in_an_approval_is_refused() {
    let world = World::new();
    let bytes = approve(&world, 2).to_bytes().unwrap();
    let verify = |bytes: &[u8]| {
        let approval = Approval::parse(bytes)?;
        approval.verify(&world.session, &world.trust, now())
    };
    verify(&bytes).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&changed).is_err(), "bit {bit} is not protected");
    }
}

#[test]
fn the_higher_senders_approval_carries_the_ciphertext_and_no_other_does() {
    let world = World::new();
    let (session, trust) = (&world.session, &world.trust);
    let ciphertext = &world.encapsulated.ciphertext;
    let sign = |index: usize, ciphertext: Option<&Ciphertext>| {
        let ciphertext = ciphertext.cloned();
        Approval::sign(session, trust, &world.certificate(index), now(), ciphertext)
    };
    for (index, given) in [(0, Some(ciphertext)), (1, None), (2, Some(ciphertext))] {
        let refused = sign(index, given).expect_err("must be refused");
        let expected = given.is_none();
        assert!(matches!(refused, E::Ciphertext { expected: e, .. } if e == expected), "{refused}");
    }
    let approvals = verify(&world, &[approve(&world, 1), approve(&world, 2)]).unwrap();
    assert_eq!(approvals.ciphertext(), Some(ciphertext));
    let other = session.encapsulation_key().unwrap().encapsulate().unwrap();
    let twice = [approve(&world, 1), sign(1, Some(&other.ciphertext)).unwrap(), approve(&world, 2)];
    let refused = verify(&world, &twice).expect_err("which of the two?");
    assert!(matches!(refused, E::TwoCiphertexts { party: at } if at == party(1)), "{refused}");
    // Another ciphertext in a signed approval.
    let text = String::from_utf8(approve(&world, 1).to_bytes().unwrap()).unwrap();
    let encode = |ciphertext: &Ciphertext| BASE64_STANDARD.encode(ciphertext.bytes());
    let forged = text.replace(&encode(ciphertext), &encode(&other.ciphertext));
    assert_ne!(forged, text);
    let refused =
        verify(&world, &[Approval::parse(forged.as_bytes()).unwrap(), approve(&world, 2)]);
    assert!(matches!(refused, Err(E::Statement(S::Signature { .. }))), "{refused:?}");
    let short = text.replace(&encode(ciphertext), "AAAA");
    assert!(matches!(Approval::parse(short.as_bytes()), Err(E::NotACiphertext)));
}

#[test]
fn both_senders_have_the_same_keys_only_with_the_encapsulated_secret() {
    let world = World::new();
    let [lower, higher] = [0, 1].map(|index| world.sender_keys(index).key_check());
    assert_eq!(lower, higher);
    let own = world.keys[0].decapsulation_key().unwrap();
    let got = own.decapsulate(&world.encapsulated.ciphertext).unwrap();
    let agree = |encapsulated| {
        let agreed = Agreed { encapsulated, shared_key: None };
        SenderKeys::agree(&world.session, &world.keys[0], agreed)
    };
    assert_eq!(agree(Some(&got)).unwrap().key_check(), lower);
    // Another secret for the same session: other keys.
    let other = own.public_key().encapsulate().unwrap();
    assert_ne!(agree(Some(&other)).unwrap().key_check(), lower);
    let refused = agree(None).expect_err("P-256 alone");
    assert!(matches!(refused, SenderKeysError::Encapsulated { expected: true }), "{refused}");
}

#[test]
fn a_sender_blinds_with_credentials_of_its_own_only() {
    let world = World::new();
    let approvals = verify(&world, &[approve(&world, 1), approve(&world, 2)]).unwrap();
    let credentials = |certificate| SenderCredentials {
        trust: world.trust.clone(),
        certificate: world.certificate(certificate),
        approvals: approvals.clone(),
    };
    let keys = |index: usize| world.sender_keys(index);
    let (session, now) = (&world.session, now());
    assert!(
        keys(0).with_credentials(session, credentials(0), now).unwrap().credentials().is_some()
    );
    let other = keys(0).with_credentials(session, credentials(1), now);
    assert!(matches!(other, Err(SenderKeysError::Certificate(_))), "{other:?}");
    let approvals_of_another = keys(1).with_credentials(session, credentials(1), now);
    assert!(matches!(approvals_of_another, Err(SenderKeysError::OtherCredentials)));
}

#[test]
fn a_certificate_with_the_names_of_two_parties_is_nobodys() {
    let directory = tempfile::tempdir().unwrap();
    let ca = crate::openssl::OpensslCa::new(directory.path(), "ca", "p256");
    let both = ca.party("both", "p256", &format!("URI:{},DNS:{}", NAMES[0], NAMES[2]));
    let world = World::new();
    let refused = world.trust.party_of(both.chain());
    assert!(
        matches!(refused, Err(CertificateError::NotOneParty { parties: 2, .. })),
        "{refused:?}"
    );
}
