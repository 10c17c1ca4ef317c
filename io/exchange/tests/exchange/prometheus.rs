//! The metrics, read as Prometheus reads them.

use std::collections::{HashMap, HashSet};

use reshare_exchange::Stage;

use crate::http::{curl, plain};
use crate::world::World;

/// Reads the text format (version 0.0.4) strictly: what we write is a small part of it.
fn parse(text: &str) -> HashMap<String, f64> {
    let name = |name: &str| {
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let (mut samples, mut families) = (HashMap::new(), HashSet::new());
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let help = help.strip_prefix("# HELP ").expect("a family begins with its help");
        let (family, words) = help.split_once(' ').expect("a name and words");
        assert!(name(family) && !words.is_empty() && !words.contains('\\'), "{help}");
        assert!(families.insert(family.to_owned()), "{family} is there twice");
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {family} ")));
        let kind = kind.expect("the type comes next");
        assert!(["gauge", "counter"].contains(&kind), "{kind}");
        assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (key, value) = sample.rsplit_once(' ').expect("a value");
            let labels = key.strip_prefix(family).expect("a sample of its family");
            if !labels.is_empty() {
                let label = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix("\"}"));
                let (label, value) = label.and_then(|one| one.split_once("=\"")).expect("a label");
                assert!(name(label) && !value.contains(['"', '\\', ',']), "{sample}");
            }
            let value = value.parse().expect("a number");
            assert!(samples.insert(key.to_owned(), value).is_none(), "{key} is there twice");
        }
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_are_valid_and_tell_how_far_the_rebuild_is() {
    let world = World::new();
    let receiver = world.receiver().await;
    world.upload(0, receiver.address).await.unwrap();
    let files = Some(world.sender_files(0));
    curl(&world, receiver.address.port(), files, "/no/such/route", &[]).await;
    let metrics = async || parse(&plain(format!("http://{}/metrics", receiver.health)).await);
    let health = async || plain(format!("http://{}/health", receiver.health)).await;
    let now = metrics().await;
    let bytes = world.package(0).manifest().totals().sealed_bytes;
    for (key, value) in [
        ("reshare_stage{stage=\"receiving\"}", 1.0),
        ("reshare_stage{stage=\"rebuilding\"}", 0.0),
        ("reshare_parts{sender=\"0\"}", 6.0),
        ("reshare_bytes{sender=\"0\"}", bytes as f64),
        ("reshare_rows{sender=\"0\"}", 240.0),
        ("reshare_package_closed{sender=\"1\"}", 0.0),
        ("reshare_rebuild_rows", 0.0),
    ] {
        assert_eq!(now.get(key), Some(&value), "{key}: {now:?}");
    }
    let refused: f64 =
        now.iter().filter(|(key, _)| key.contains("refused_total")).map(|(_, n)| n).sum();
    assert_eq!(refused, 1.0, "{now:?}");
    receiver.monitor.enter(Stage::Rebuilding);
    receiver.progress.begin("rebuild", 240);
    receiver.progress.skip(40);
    receiver.progress.add(60, 1000);
    let now = metrics().await;
    for (key, value) in [
        ("reshare_stage{stage=\"receiving\"}", 0.0),
        ("reshare_stage{stage=\"rebuilding\"}", 1.0),
        ("reshare_rebuild_rows", 240.0),
        ("reshare_rebuild_rows_done", 100.0),
        ("reshare_rebuild_ranges_done", 2.0),
    ] {
        assert_eq!(now.get(key), Some(&value), "{key}: {now:?}");
    }
    assert_eq!(health().await, "ok rebuilding\n");
    receiver.monitor.enter(Stage::Done);
    assert_eq!(health().await, "ok done\n");
    receiver.monitor.enter(Stage::Failed);
    let url = format!("http://{}/health", receiver.health);
    let out = tokio::process::Command::new("curl").args(["-sw", "%{http_code}", &url]).output();
    assert_eq!(out.await.unwrap().stdout, b"failed\n503");
}
