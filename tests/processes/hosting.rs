//! A model of the user's own, from its ONNX file to an answer through the network.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::testnet::Testnet;

fn done(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output, reason: &str) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(reason), "{said}");
}

fn kept(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("models/classic").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_provider_serves_model_files_that_come_and_go() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (wine, iris) = (path("my-wine.subrosa"), path("iris.subrosa"));
    for (model, set, file) in [
        ("wine-forest-scaled", "wine", &wine),
        ("iris-forest-small", "iris", &iris),
    ] {
        let onnx = kept(&format!("{model}.onnx"));
        let rows = kept(&format!("{set}.calibration.csv"));
        let import = ["model", "import", &onnx, "--calibrate", &rows, "-o", file];
        let output = std::process::Command::new(crate::testnet::PROGRAM)
            .args(import)
            .output();
        assert!(output.unwrap().status.success());
    }
    let net = Testnet::up_with(&["--model", &wine]);
    let provider = net.path().join("provider-1");
    let provider = provider.to_str().unwrap();
    asked_through_the_network(&net, &path("rows.csv"));
    nothing_lies_in_plain(Path::new(provider), &wine);

    // While it runs.
    wait_until(|| served(&net) == Some(3));
    let added = done(&net.run(&["provider", "add", provider, &iris, "--json"]));
    assert_eq!(added["added"], "iris");
    wait_until(|| served(&net) == Some(4));
    let listed = done(&net.run(&["provider", "list", provider, "--json"]));
    assert_eq!(listed["models"], serde_json::json!(["iris", "my-wine"]));
    done(&net.run(&["provider", "remove", provider, "iris", "--json"]));
    wait_until(|| served(&net) == Some(3));

    let nowhere = path("net");
    refused(
        &net.run(&[
            "testnet",
            "up",
            &nowhere,
            "--model",
            &kept("wine.samples.csv"),
        ]),
        "make one with `subrosa model import`",
    );
    assert!(!Path::new(&nowhere).exists());
    refused(
        &net.run(&["provider", "remove", provider, "my-wines"]),
        "did you mean \"my-wine\"?",
    );
    let mix = net.path().join("mix-1");
    refused(
        &net.run(&["provider", "add", mix.to_str().unwrap(), &wine]),
        "only providers serve models",
    );
    let onnx = kept("wine-forest-scaled.onnx");
    refused(
        &net.run(&["provider", "add", provider, &onnx]),
        "make one with `subrosa model import`",
    );
}

fn asked_through_the_network(net: &Testnet, rows: &str) {
    let samples = fs::read_to_string(kept("wine.samples.csv")).unwrap();
    let golden = fs::read_to_string(kept("wine-forest-scaled.golden.csv")).unwrap();
    let (_, row) = samples.lines().nth(1).unwrap().split_once(',').unwrap();
    fs::write(rows, row).unwrap();
    let network = net.network();
    let ask = ["ask", "--network", &network, "--model", "my-wine", "--json"];
    let answer = done(&net.run(&[&ask[..], &["--input", rows]].concat()));
    assert_eq!(answer["label"], golden.lines().nth(1).unwrap());
}

/// The file is nowhere in the provider's directory, and what is there is for its owner alone.
fn nothing_lies_in_plain(provider: &Path, model: &str) {
    let plain = fs::read(model).unwrap();
    let sealed = fs::read(provider.join("data/models/my-wine.age")).unwrap();
    assert!(sealed.len() > plain.len());
    let middle = &plain[plain.len() / 2..][..32];
    assert!(sealed.windows(middle.len()).all(|part| part != middle));
    assert!(!provider.join("data/models/my-wine.subrosa").exists());
}

/// How many models provider-1 says it serves, on its page of counters.
fn served(net: &Testnet) -> Option<u32> {
    let config = fs::read_to_string(net.path().join("provider-1/node.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let address = config["metrics"]["listen"].as_str().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("subrosa_models_served "));
    line.and_then(|count| count.parse().ok())
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..100 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("it did not come about");
}
