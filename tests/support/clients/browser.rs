//! Debian's Chromium, driven by chromedriver (W3C WebDriver). It resolves no names, so that a page that asks another
//! host for something fails visibly.

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    http,
    ports::Port,
    process::{self, Process},
    scratch, wait_until,
};

/// A window of a browser.
pub(crate) struct Browser {
    session: String,
    _driver: Process,
    _port: Port,
    _dir: TempDir,
}

/// The colours that the user prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let (dir, port) = (scratch::dir("browser"), Port::reserve());
        let mut command = process::command("chromedriver");
        command.arg(format!("--port={}", port.addr().port())).env("HOME", dir.path());
        let driver = Process::start("chromedriver", command);
        let status = format!("{}/status", port.url());
        wait_until("chromedriver", Duration::from_secs(30), || {
            http::get(&status).try_send().is_ok_and(|response| response.status == 200)
        });
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            profile,
        ]);
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let created = post(&format!("{}/session", port.url()), &json!({ "capabilities": { "alwaysMatch": wanted } }));
        let session = format!("{}/session/{}", port.url(), created["sessionId"].as_str().unwrap());
        Self { session, _driver: driver, _port: port, _dir: dir }
    }

    /// Sets the width of the window in CSS pixels, and the preferred colours.
    pub(crate) fn show_as(&self, width: u32, scheme: Scheme) {
        let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        let _ = self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    pub(crate) fn open(&self, url: &str) {
        let _ = self.post("url", &json!({ "url": url }));
    }

    /// Runs the body of a function and returns its result.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// As [`Self::run`], for one that calls its last argument with the result.
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Clicks the element that a CSS selector finds.
    pub(crate) fn click(&self, selector: &str) {
        let _ = self.post(&format!("element/{}/click", self.find(selector)), &json!({}));
    }

    /// Types into the element that a CSS selector finds.
    pub(crate) fn write(&self, selector: &str, text: &str) {
        let _ = self.post(&format!("element/{}/value", self.find(selector)), &json!({ "text": text }));
    }

    fn find(&self, selector: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        // The key of a web element: WebDriver, section 12.
        found["element-6066-11e4-a52e-4f735466cecf"]
            .as_str()
            .unwrap_or_else(|| panic!("{selector}: {found}"))
            .to_owned()
    }

    /// The entries of the console since the last call.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "browser" }));
        entries.as_array().unwrap().iter().map(ToString::to_string).collect()
    }

    /// Writes a picture of the window, as PNG.
    pub(crate) fn screenshot(&self, file: &Path) {
        let answer = http::get(&format!("{}/screenshot", self.session)).send().json();
        std::fs::write(file, STANDARD.decode(answer["value"].as_str().unwrap()).unwrap()).unwrap();
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        post(&format!("{}/{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = http::Request::new("DELETE", &self.session).try_send();
    }
}

fn post(url: &str, body: &Value) -> Value {
    let response = http::Request::new("POST", url).body("application/json", body.to_string().as_bytes()).send();
    let (status, mut answer) = (response.status, response.json());
    assert_eq!(status, 200, "{url} {answer}");
    answer["value"].take()
}
