//! Approvals and receipts at a receiver: who may leave them, and who gets them.

use reshare_exchange::ClientError;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::session::{Approval, Session};
use time::OffsetDateTime;

use crate::certificates::Files;
use crate::world::World;

fn approval_of(world: &World, session: &Session, files: &Files) -> Vec<u8> {
    let certificate = PartyCertificate::load(&files.certificate, &files.key).unwrap();
    let (trust, now) = (world.trust(session), OffsetDateTime::now_utc());
    Approval::sign(session, &trust, &certificate, now, None).unwrap().to_bytes().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sender_gets_the_others_approvals_and_the_receipt_when_there_is_one() {
    let world = World::new();
    let receiver = world.receiver().await;
    let of = |files| approval_of(&world, &world.session, files);
    let (own, other) = (of(world.sender_files(0)), of(world.sender_files(1)));
    let targets = [0, 1].map(|sender| world.target(sender, receiver.address));
    let given = targets[0].exchange_statements(Some(&own)).await.unwrap();
    assert!(given.approvals.is_empty() && given.receipt.is_none(), "{given:?}");
    let receivers = of(&world.receiver);
    receiver.inbox.statements().publish_approval(&receivers).unwrap();
    let given = targets[1].exchange_statements(Some(&other)).await.unwrap();
    assert_eq!(given.approvals, [text(&own), text(&receivers)]);
    let given = targets[0].exchange_statements(None).await.unwrap();
    assert_eq!(given.approvals, [text(&other), text(&receivers)]);
    receiver.inbox.statements().publish_receipt(b"signed\n");
    for target in &targets {
        let given = target.exchange_statements(None).await.unwrap();
        assert_eq!(given.receipt.as_deref(), Some("signed\n"));
    }
    // It does not wait: both have it.
    receiver.inbox.statements().both_have_the_receipt().await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_another_party_or_session_or_of_nobody_is_not_kept() {
    let world = World::new();
    let receiver = world.receiver().await;
    let other_session = world.other_session();
    let of = |session, files| approval_of(&world, session, files);
    let own = of(&world.session, world.sender_files(0));
    let changed = text(&own).replace("\"party\":0", "\"party\":1").into_bytes();
    let target = world.target(0, receiver.address);
    for (bytes, reason) in [
        (of(&world.session, world.sender_files(1)), "other-party"),
        (of(&world.session, &world.receiver), "other-party"),
        (of(&other_session, world.sender_files(0)), "approval"),
        (changed, "approval"),
        (b"{}".to_vec(), "approval"),
    ] {
        let refused = target.exchange_statements(Some(&bytes)).await.unwrap_err();
        assert!(
            matches!(&refused, ClientError::Refused { reason: got, .. } if got == reason),
            "{refused}"
        );
    }
    let given = world.target(1, receiver.address).exchange_statements(None).await.unwrap();
    assert!(given.approvals.is_empty(), "{given:?}");
    receiver.stop().await;
}
