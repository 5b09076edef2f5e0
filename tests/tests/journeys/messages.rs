//! What is wrong is named, with what to do: a typo in the configuration, a port in use.

use std::{fs, net::TcpListener};

use e2e::harness::{HubSetup, run_to_end};
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
