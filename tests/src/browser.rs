//! A real browser without a window: Chromium, driven through a pair of pipes with its DevTools protocol.
//!
//! What a test does is what a user does: the mouse and the keys go through the browser's own input. Everything that a page
//! logs, every exception and every request for an address is kept, so that a test can say that there was none.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::session::{is_root, program, skip};
use crate::{DEADLINE, process};

/// Names of the browser, as distributions have it.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// A browser with one page open; ended when dropped.
pub struct Browser {
    child: Child,
    orders: File,
    answers: Receiver<Value>,
    events: Vec<Value>,
    last_id: u64,
    page: Option<String>,
    _profile: TempDir,
}

/// Starts it. None, with the reason printed, where there is no browser.
pub fn browser() -> Option<Browser> {
    let Some(name) = NAMES.into_iter().find(|name| program(name).is_some()) else {
        skip(NAMES[0]);
        return None;
    };
    Some(Browser::start(name))
}

impl Browser {
    fn start(name: &str) -> Browser {
        let profile = TempDir::new().expect("a folder for the profile");
        let (their_orders, orders) = pipe();
        let (answers, their_answers) = pipe();
        let mut command = Command::new(name);
        command
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--no-first-run",
                "--disable-gpu",
            ])
            .args(["--disable-background-networking", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if is_root() {
            // Its sandbox does not work as root. The pages are our own.
            command.arg("--no-sandbox");
        }
        let (input, output) = (their_orders.as_raw_fd(), their_answers.as_raw_fd());
        // SAFETY: between fork and exec only system calls are made, on descriptors that are open until the exec. Both are
        // moved out of the way first, since either may be 3 or 4.
        unsafe {
            command.pre_exec(move || {
                let (input, output) = (libc::dup(input), libc::dup(output));
                let (input, output) = (
                    libc::fcntl(input, libc::F_DUPFD_CLOEXEC, 10),
                    libc::fcntl(output, libc::F_DUPFD_CLOEXEC, 10),
                );
                if libc::dup2(input, 3) < 0 || libc::dup2(output, 4) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {name}: {error}"));
        let mut browser = Browser {
            child,
            orders: File::from(orders),
            answers: listen(File::from(answers)),
            events: Vec::new(),
            last_id: 0,
            page: None,
            _profile: profile,
        };
        browser.open_page();
        browser
    }

    fn open_page(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", attach);
        self.page = session["sessionId"].as_str().map(str::to_owned);
        assert!(self.page.is_some(), "no session: {session}");
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.call("Page.setLifecycleEventsEnabled", json!({"enabled": true}));
        self.resize(1200, 900);
    }

    /// Gives an order and waits for the answer to it.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut order = json!({"id": id, "method": method, "params": parameters});
        if let Some(page) = &self.page {
            order["sessionId"] = json!(page);
        }
        let mut bytes = order.to_string().into_bytes();
        bytes.push(0);
        self.orders.write_all(&bytes).expect("the browser listens");
        let until = Instant::now() + DEADLINE;
        loop {
            let mut message = self.message(method, until);
            if message["id"] == json!(id) {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    fn message(&mut self, what: &str, until: Instant) -> Value {
        let left = until.saturating_duration_since(Instant::now());
        self.answers
            .recv_timeout(left)
            .unwrap_or_else(|error| panic!("waiting for {what} of the browser: {error}"))
    }

    /// Opens an address and waits until the page is there.
    pub fn open(&mut self, address: &str) {
        // Another page first: the same one with another fragment would not be loaded anew.
        self.call("Page.navigate", json!({"url": "about:blank"}));
        self.events.clear();
        let loader = self.call("Page.navigate", json!({"url": address}))["loaderId"].take();
        assert!(loader.is_string(), "{address} cannot be opened");
        let loaded = |event: &Value| {
            let told = &event["params"];
            event["method"] == "Page.lifecycleEvent"
                && told["name"] == "load"
                && told["loaderId"] == loader
        };
        let until = Instant::now() + DEADLINE;
        while !self.events.iter().any(loaded) {
            let event = self.message("the page", until);
            self.events.push(event);
        }
    }

    /// What an expression of JavaScript is in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut result = self.call("Runtime.evaluate", parameters);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].take()
    }

    /// The text of the first element that matches.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({selector:?}).textContent"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// How many elements match.
    pub fn count(&mut self, selector: &str) -> u64 {
        let count = self.evaluate(&format!("document.querySelectorAll({selector:?}).length"));
        count.as_u64().unwrap_or_default()
    }

    /// Clicks the middle of what an expression gives.
    pub fn click(&mut self, element: &str) {
        let place = self.evaluate(&format!(
            "(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            self.call(
                "Input.dispatchMouseEvent",
                json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1}),
            );
        }
    }

    /// Presses a key by its DOM name, such as `ArrowDown`.
    pub fn key(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            "Tab" => 9,
            "/" => 191,
            other => panic!("no code for the key {other}"),
        };
        let text = match key {
            "Enter" => "\r",
            "/" => "/",
            _ => "",
        };
        for kind in ["keyDown", "keyUp"] {
            self.call(
                "Input.dispatchKeyEvent",
                json!({"type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text}),
            );
        }
    }

    /// Types into what has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Chooses an option of a select element, by its value.
    pub fn choose(&mut self, id: &str, value: &str) {
        self.evaluate(&format!(
            "(() => {{ const e = document.getElementById({id:?}); e.value = {value:?}; \
             e.dispatchEvent(new Event('change')); }})()"
        ));
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// Shows the page as on another medium (`screen`, `print`) and in another scheme (`light`, `dark`).
    pub fn emulate(&mut self, medium: &str, scheme: &str) {
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({"media": medium, "features": feature}),
        );
    }

    /// Every error that the page logged, every exception that it did not catch, and every policy that it broke.
    pub fn errors(&mut self) -> Vec<String> {
        // Whatever was said before the answer to this has arrived by then.
        self.evaluate("0");
        let wrong = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Page.javascriptDialogOpening") => true,
            Some("Runtime.consoleAPICalled") => {
                matches!(
                    event["params"]["type"].as_str(),
                    Some("error" | "warning" | "assert")
                )
            }
            Some("Log.entryAdded") => {
                matches!(
                    event["params"]["entry"]["level"].as_str(),
                    Some("error" | "warning")
                )
            }
            _ => false,
        };
        self.events
            .iter()
            .filter(wrong)
            .map(Value::to_string)
            .collect()
    }

    /// The addresses that were asked for since the page was opened, its own first.
    pub fn requests(&mut self) -> Vec<String> {
        self.evaluate("0");
        let sent = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str())
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself as soon as nobody holds the other end of its orders; killed where it does not.
        self.page = None;
        let _ = self
            .orders
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        if !matches!(process::wait(&mut self.child, DEADLINE), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The reading and the writing end.
fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors that the call writes.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(made, 0, "no pipe: {}", std::io::Error::last_os_error());
    // SAFETY: both were just made, and nobody else owns them.
    unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) }
}

/// Messages end with a zero byte.
fn listen(answers: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(answers).split(0) {
            let Some(message) = message
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            else {
                return;
            };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}
