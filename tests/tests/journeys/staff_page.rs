//! The staff page in a real browser, fed by the simulated store.

use std::{net::TcpListener, process::Stdio, time::Duration};

use e2e::harness::{Hq, HubSetup, PATIENCE, Program, wait_for};
use fantoccini::{Client, ClientBuilder, wd::Capabilities};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Headless Chromium behind chromedriver, ended when dropped.
struct Browser {
    client: Client,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// None where no browser is installed.
    async fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).ok()?.port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let profile = TempDir::new().expect("the folder for temporary files is writable");
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1280,1600",
        ];
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), json!({ "args": args }));
        let url = format!("http://127.0.0.1:{port}");
        let client = wait_for("the browser is there", PATIENCE, async || {
            ClientBuilder::new(HttpConnector::new())
                .capabilities(capabilities.clone())
                .connect(&url)
                .await
                .map_err(|error| error.to_string())
        })
        .await;
        Some(Self { client, driver, _profile: profile })
    }

    async fn text(&self) -> Result<String, String> {
        let script = "return document.body.innerText";
        let text = self.client.execute(script, Vec::new()).await.map_err(|error| error.to_string())?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    async fn end(mut self) {
        self.client.clone().close().await.ok();
        self.driver.kill().await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staff_see_shelves_lockers_traffic_sensors_and_the_uplink() {
    let Some(browser) = Browser::start().await else {
        println!("skipped: no chromedriver here; `cargo xtask setup` installs it");
        return;
    };
    let headquarters = Hq::start().await;
    let folder = HubSetup::new().upstream(headquarters.mqtt).write();
    let credentials = folder.add_simulated_devices().await;
    let hub = folder.start().await;
    let sim = Program::new("store-sim", hub.folder.dir())
        .args(["--speed", "20", "--seed", "7", "--broker", &hub.mqtt.to_string()])
        .args(["--credentials".as_ref(), credentials.as_os_str()])
        .start();
    wait_for("headquarters is connected and every sensor was seen", PATIENCE, async || {
        let store = hub.store().await?;
        let sensors = store["sensors"].as_array().map_or(0, Vec::len);
        let ready = store["uplink"]["online"] == true && 18 <= sensors && store["traffic"].is_object();
        if ready { Ok(()) } else { Err(store.to_string()) }
    })
    .await;

    browser.client.goto(&format!("http://{}/", hub.http)).await.expect("the page opens");
    let shown = ["shelf-01", "shelf-08", "lockers-a", "cosmetics", "fridge-01", "door-main"];
    let text = wait_for("the page shows the whole store", PATIENCE, async || {
        let text = browser.text().await?;
        match shown.iter().find(|part| !text.contains(**part)) {
            None => Ok(text),
            Some(part) => Err(format!("`{part}` is not on the page:\n{text}")),
        }
    })
    .await;
    assert!(text.contains("保湿精华") || text.contains("serum"), "products have names:\n{text}");

    // The page lives: without a reload it shows something else after a while.
    wait_for("the page changes by itself", PATIENCE, async || {
        let now = browser.text().await?;
        if now == text { Err("still the same".to_owned()) } else { Ok(()) }
    })
    .await;

    // Headquarters goes: the page says so.
    headquarters.kill().await;
    wait_for("the hub knows that headquarters is away", Duration::from_secs(90), async || {
        let store = hub.store().await?;
        if store["uplink"]["online"] == false { Ok(()) } else { Err(store["uplink"].to_string()) }
    })
    .await;
    let online = text;
    wait_for("the page knows it too", PATIENCE, async || {
        let now = browser.text().await?;
        let words = ["offline", "Offline", "离线", "断开", "away", "not connected"];
        let fresh = words.iter().any(|word| now.contains(word) && !online.contains(word));
        if fresh { Ok(()) } else { Err(now) }
    })
    .await;
    sim.stop().await;
    hub.stop().await;
    browser.end().await;
}
