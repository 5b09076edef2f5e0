//! The picture of the store as Prometheus text (exposition format 0.0.4).

use std::{collections::BTreeMap, fmt::Write};

use contract::hub::StoreView;

/// Renders the metrics: the store's and this surface's own counts.
pub(super) fn text(view: &StoreView, own: &BTreeMap<&'static str, u64>) -> String {
    let mut text = String::new();
    let lag_ms = view.uplink.oldest_waiting_at.map_or(0, |oldest| view.at.millis_since(oldest).max(0));
    #[expect(clippy::cast_precision_loss, reason = "a lag in milliseconds has far fewer than 53 bits")]
    let lag_s = lag_ms as f64 / 1_000.0;
    gauge(
        &mut text,
        "storehub_uplink_online",
        "Whether headquarters is connected.",
        u8::from(view.uplink.online),
    );
    gauge(
        &mut text,
        "storehub_uplink_waiting_rows",
        "Rows that wait for headquarters.",
        view.uplink.waiting_rows,
    );
    gauge(&mut text, "storehub_uplink_lag_seconds", "Age of the oldest row that waits.", lag_s);
    gauge(&mut text, "storehub_degraded", "Number of reduced modes.", view.health.degraded.len());
    gauge(&mut text, "storehub_view_timestamp_ms", "When this picture was made.", view.at.as_millis());

    family(&mut text, "storehub_sensors", "Sensors by what their status topic said last.", "gauge");
    for (state, online) in [("online", Some(true)), ("offline", Some(false)), ("unknown", None)] {
        let count = view.sensors.iter().filter(|sensor| sensor.online == online).count();
        line(&mut text, "storehub_sensors", "state", state, count);
    }
    family(&mut text, "storehub_events_total", "Everything that is counted, by name.", "counter");
    for (name, value) in &view.counters {
        line(&mut text, "storehub_events_total", "name", name, value);
    }
    for (name, value) in own {
        line(&mut text, "storehub_events_total", "name", name, value);
    }
    text
}

fn family(text: &mut String, name: &str, help: &str, kind: &str) {
    push(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn gauge(text: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    family(text, name, help, "gauge");
    push(text, format_args!("{name} {value}\n"));
}

fn line(text: &mut String, name: &str, label: &str, of: &str, value: impl std::fmt::Display) {
    let of = of.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    push(text, format_args!("{name}{{{label}=\"{of}\"}} {value}\n"));
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("writing to a string cannot fail");
}
