//! What is wrong is named, with what to do: a typo in the configuration, a port in use.

use std::{fs, net::TcpListener};

use e2e::harness::{
    HubSetup, PATIENCE, Program, counter, hq::HqFolder, hub::STORE, page, run_to_end, wait_for,
};
use serde_json::json;
use tempfile::TempDir;

#[tokio::test]
async fn a_typo_in_the_configuration_is_named_with_its_place() {
    let folder = HubSetup::new().extra("[journal]\nsegment_byts = 1\n").write();
    for args in [&["check"][..], &["run"][..]] {
        let refused = folder.command(args).await;
        assert!(!refused.status.success(), "{args:?} refuses an unknown key");
        for part in ["segment_byts", "gateway.toml:14", "segment_bytes"] {
            assert!(refused.said().contains(part), "{args:?} names {part}: {}", refused.said());
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port on the loopback");
    let addr = taken.local_addr().expect("a bound listener has an address").to_string();
    let folder = HubSetup::new().write();
    let path = folder.dir().join("gateway.toml");
    let config = fs::read_to_string(&path).expect("just written");
    fs::write(&path, config.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{addr}\""), 1))
        .expect("our own folder is writable");
    let refused = folder.command(&["run"]).await;
    assert!(!refused.status.success());
    assert!(refused.said().contains(&addr), "{}", refused.said());
}

#[tokio::test]
async fn headquarters_names_a_missing_file_and_a_typo() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    let refused = run_to_end("storehub-hq", dir.path(), ["serve", "--config", "absent.toml"]).await;
    assert!(!refused.status.success() && refused.said().contains("absent.toml"), "{}", refused.said());
    fs::write(dir.path().join("hq.toml"), "[mqtt]\nembeded = \"127.0.0.1:0\"\n")
        .expect("our own folder is writable");
    let refused = run_to_end("storehub-hq", dir.path(), ["serve", "--config", "hq.toml"]).await;
    assert!(!refused.status.success() && refused.said().contains("embeded"), "{}", refused.said());
}

#[tokio::test]
async fn a_wrong_configuration_has_the_same_exit_code_everywhere() {
    let dir = TempDir::new().expect("the folder for temporary files is writable");
    fs::write(dir.path().join("wrong.toml"), "[nothing]\nof = \"this\"\n")
        .expect("our own folder is writable");
    for (program, command) in [
        ("storehub-gateway", "run"),
        ("storehub-gateway", "check"),
        ("storehub-gateway", "status"),
        ("storehub-hq", "serve"),
        ("storehub-hq", "check"),
    ] {
        for file in ["wrong.toml", "absent.toml"] {
            let refused = run_to_end(program, dir.path(), [command, "--config", file]).await;
            assert_eq!(refused.status.code(), Some(78), "{program} {command} {file}: {}", refused.said());
        }
    }
}

#[tokio::test]
async fn a_terminal_that_closes_drains_and_ends_the_hub() {
    let folder = HubSetup::new().write();
    let hub = Program::in_terminal("storehub-gateway", folder.dir());
    let running = hub.args(["run", "--config", "gateway.toml"]).start();
    running.listening("http").await;
    running.hang_up();
    let status = running.wait(PATIENCE).await;
    assert!(status.success(), "the hub drained and ended with {status}");
}

#[tokio::test]
async fn a_login_that_headquarters_refuses_is_named_on_both_sides_until_it_is_right() {
    let hq = HqFolder::listing(STORE, "the-right-secret").start().await;
    let folder = HubSetup::new().upstream(hq.mqtt).write();
    let path = folder.dir().join("gateway.toml");
    let config = fs::read_to_string(&path).expect("just written");
    let log_in_as = |login: &str| {
        let config = config.replace("url = \"mqtt://", &format!("url = \"mqtt://{login}@"));
        fs::write(&path, config).expect("our own folder is writable");
    };
    log_in_as(&format!("{STORE}:a-wrong-secret"));
    let checked = folder.command(&["check"]).await;
    assert!(checked.status.success(), "the store works without headquarters: {}", checked.said());
    let words = format!("user `{STORE}` or its password in `upstream.url` is wrong");
    assert!(checked.said().contains(&words), "{}", checked.said());
    let hub = folder.start().await;
    wait_for("the hub says that it is refused", PATIENCE, async || {
        let status = hub.folder.status().await?;
        let degraded = status["health"]["degraded"].to_string();
        if degraded.contains(&words) { Ok(()) } else { Err(degraded) }
    })
    .await;
    let refusals = page::get_json(hq.http, "/api/refusals").await.expect("headquarters answers");
    let refusal = &refusals["refusals"][0];
    assert_eq!((&refusal["code"], &refusal["device"]), (&"wrong_secret".into(), &STORE.into()), "{refusals}");

    let folder = hub.stop().await;
    log_in_as(&format!("{STORE}:the-right-secret"));
    let hub = folder.start().await;
    wait_for("the hub is let in", PATIENCE, async || {
        let status = hub.folder.status().await?;
        let is_in = status["outbox"]["connected"] == true && status["health"]["degraded"] == json!([]);
        if is_in { Ok(()) } else { Err(status["outbox"].to_string()) }
    })
    .await;
    let checked = hub.folder.command(&["check"]).await;
    assert!(checked.said().contains("lets this store in"), "{}", checked.said());
    let status = hub.folder.status().await.expect("the hub answers");
    assert_eq!(
        counter(&status, "uplink.link_errors"),
        0,
        "being checked did not throw the hub out: {status}"
    );
    hub.stop().await;
    hq.kill().await;
}

#[tokio::test]
async fn a_planogram_that_lies_there_unnamed_is_pointed_at() {
    let folder = HubSetup::new().write();
    let checked = folder.command(&["check"]).await;
    assert!(checked.said().contains(" shelves"), "{}", checked.said());
    let path = folder.dir().join("gateway.toml");
    let config = fs::read_to_string(&path).expect("just written");
    let unnamed = config.replace("planogram = \"planogram.toml\"\n", "");
    assert_ne!(config, unnamed);
    fs::write(&path, unnamed).expect("our own folder is writable");
    let checked = folder.command(&["check"]).await;
    assert!(checked.status.success(), "the hub runs without shelves: {}", checked.said());
    for part in ["planogram.toml` is not used", "under [store]"] {
        assert!(checked.said().contains(part), "`{part}` in {}", checked.said());
    }
}

#[test]
fn the_example_configurations_of_a_store_and_of_headquarters_fit_each_other() {
    let root =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace");
    let read = |file: &str| -> toml::Table {
        fs::read_to_string(root.join(file)).expect("the example is there").parse().expect("it is TOML")
    };
    let (hub, headquarters) = (read("gateway/gateway.example.toml"), read("hq/hq.example.toml"));
    let store = hub["store"]["id"].as_str().expect("the store has an id");
    let secret = headquarters["stores"][store]["secret"].as_str().expect("headquarters knows that store");
    let broker = headquarters["mqtt"]["embedded"].as_str().expect("headquarters has a broker");
    assert_eq!(hub["upstream"]["url"].as_str(), Some(format!("mqtt://{store}:{secret}@{broker}").as_str()));
}
