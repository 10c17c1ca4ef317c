//! The dashboard and the alerts in `deploy/`, asked of a real Prometheus that has watched a real run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reshare_exchange::progress::Progress;
use reshare_exchange::{HealthEndpoint, Limits, RunFacts, SenderMetrics, Shutdown};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::arriving::{rebuilding, sixty_rows};
use crate::http::{curl, plain};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

/// A Prometheus of its own, which ends with the test.
struct Prometheus {
    directory: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Prometheus {
    /// Looks at these addresses every second.
    async fn watching(addresses: [String; 2]) -> Self {
        let mut directory = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{ job_name: reshare, static_configs: [{{ targets: {addresses:?} }}] }}]\n",
            deploy("prometheus/reshare.rules.yml").display()
        );
        let path = directory.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        for _ in 0..5 {
            // The port may be taken by somebody else in between: then it ends, and another is tried.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let process = Command::new("prometheus")
                .arg(format!("--config.file={}", path.display()))
                .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--log.level=error")
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("prometheus: run scripts/setup");
            let mut prometheus = Self { directory, port, process };
            if prometheus.is_ready().await {
                return prometheus;
            }
            let _ = prometheus.process.kill().await;
            directory = prometheus.directory;
        }
        panic!("Prometheus does not start");
    }

    async fn is_ready(&mut self) -> bool {
        for _ in 0..300 {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            let url = format!("http://127.0.0.1:{}/-/ready", self.port);
            let asked = Command::new("curl").args(["-sf", "-o", "/dev/null", &url]).status().await;
            if asked.unwrap().success() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        false
    }

    /// The samples of an expression.
    async fn ask(&self, expression: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let query = format!("query={expression}");
        let asked = Command::new("curl").args(["-s", "--data-urlencode", &query, &url]).output();
        let answer: Value = serde_json::from_slice(&asked.await.unwrap().stdout).unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Waits until an expression has as many samples.
    async fn until(&self, expression: &str, samples: usize) {
        for _ in 0..300 {
            if self.ask(expression).await.len() >= samples {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{expression}: {:?}", self.ask(expression).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something_of_a_run_and_no_alert_fires() {
    let limits = Limits { keep_free_bytes: 0, ..Limits::default() };
    let (senders, receiver) = sixty_rows(limits).await;
    receiver.monitor.merge_while_receiving();
    let world = &senders.world;
    let target = world.target(0, receiver.address);
    let facts = RunFacts::of(&world.session, &world.tls(world.sender_files(0)));
    let progress = Arc::<Progress>::default();
    let figures = SenderMetrics::new(Arc::clone(&progress), facts, Arc::clone(target.retries()));
    let endpoint = HealthEndpoint::of_sender(([127, 0, 0, 1], 0).into(), figures).await.unwrap();
    let (sender, shutdown) = (endpoint.address().unwrap(), Shutdown::default());
    let serving = tokio::spawn(endpoint.serve(shutdown.clone()));
    let addresses = [receiver.health.to_string(), sender.to_string()];
    let prometheus = Prometheus::watching(addresses).await;

    let rebuilding = rebuilding(&senders, &receiver, false, &receiver.progress);
    senders.deliver_to(0, target, [5, 1], &progress).await.unwrap();
    senders.deliver(1, receiver.address, 7).await.unwrap();
    assert_eq!(rebuilding.await.unwrap().unwrap().rows, 60);
    let files = Some(world.sender_files(0));
    curl(world, receiver.address.port(), files, "/no/such/route", &[]).await;

    // Rates need two looks after the end.
    prometheus.until("reshare_loaded_up_to == 99999", 2).await;
    prometheus.until("count_over_time(reshare_refused_total[1m]) >= 3", 1).await;
    prometheus
        .until("count_over_time(reshare_sender_last_part_timestamp_seconds[1m]) >= 3", 1)
        .await;
    let text = std::fs::read(deploy("grafana/reshare.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&text).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for query in panel["targets"].as_array().unwrap() {
            let expression = query["expr"].as_str().unwrap();
            let samples = prometheus.ask(expression).await;
            assert!(!samples.is_empty(), "{}: {expression} shows nothing", panel["title"]);
            asked += 1;
        }
    }
    assert!(asked >= 12, "{asked} queries");
    let share =
        &prometheus.ask(dashboard["panels"][1]["targets"][0]["expr"].as_str().unwrap()).await;
    assert_eq!(share[0]["value"][1], "1", "all ids are loaded: {share:?}");
    // The session of the tests ends within the hour, and its certificates within the week.
    let fired =
        prometheus.ask("ALERTS{alertname!~\"ReshareSessionEnds|ReshareCertificateExpires\"}").await;
    assert!(fired.is_empty(), "{fired:?}");
    let text = plain(format!("http://{sender}/metrics")).await;
    for line in [
        "reshare_sender_rows 60",
        "reshare_sender_rows_sealed 60",
        "reshare_sender_rows_delivered 60",
        "reshare_sender_parts_delivered 12",
        "reshare_sender_retries_total 0",
        "reshare_sender_stage{stage=\"running\"} 1",
        "reshare_last_id 99999",
    ] {
        assert!(text.lines().any(|of| of == line), "{line} is not in {text}");
    }
    shutdown.ask();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_fires_when_it_should() {
    let tests = deploy("prometheus/reshare.test.yml");
    let tested =
        Command::new("promtool").args(["test", "rules"]).arg(&tests).output().await.unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    let rules = std::fs::read_to_string(deploy("prometheus/reshare.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(tests).unwrap();
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(alerts.len(), 10);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} is never seen to fire");
    }
}
