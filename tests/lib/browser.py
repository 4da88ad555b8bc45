#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A page in headless Chromium, over the DevTools protocol on two pipes.

browser.py PROFILE-DIR URL STEP...

A STEP is JavaScript: it is evaluated until it is true, for 40 s at most. "! STEP" is done once.
Prints what the page complained of (console, exceptions, refused content) and the step that did not
come true; exits with 1 then. "? TEXT" as a STEP: complaints with TEXT in them are expected.
"""
import json
import os
import select
import subprocess
import sys
import time

DEADLINE_S = 40


class Browser:
    def __init__(self, profile):
        to_child, self.out = os.pipe()
        self.into, from_child = os.pipe()

        def wire():  # Chromium reads commands from 3 and answers on 4
            a, b = os.dup(to_child), os.dup(from_child)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.child = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-extensions", "--disable-background-networking",
             "--ignore-certificate-errors", "--remote-debugging-pipe", f"--user-data-dir={profile}",
             "about:blank"],
            preexec_fn=wire, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": profile})
        os.close(to_child)
        os.close(from_child)
        self.rest, self.number, self.complaints, self.session = b"", 0, [], None

    def read(self, until):
        while b"\0" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.into], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self.into, 1 << 16)
            if not data:
                raise EOFError("the browser has ended")
            self.rest += data
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def hear(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            d = params["exceptionDetails"]
            self.complaints.append("exception: " + d.get("exception", {}).get("description", d["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append("console: " + " ".join(str(a.get("value")) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            e = params["entry"]
            self.complaints.append(f"log: {e['text']} {e.get('url', '')}")

    def call(self, method, **params):
        self.number += 1
        m = {"id": self.number, "method": method, "params": params}
        if self.session:
            m["sessionId"] = self.session
        os.write(self.out, json.dumps(m).encode() + b"\0")
        until = time.monotonic() + DEADLINE_S
        while True:
            answer = self.read(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.hear(answer)

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def value(self, expression):
        r = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in r:
            return None
        return r["result"].get("value")

    def end(self):
        self.child.kill()
        self.child.wait()


def run(b, url, steps):
    b.open(url)
    for step in steps:
        if step.startswith("! "):
            b.value(step[2:])
            continue
        until = time.monotonic() + DEADLINE_S
        while not b.value(step):
            if time.monotonic() > until:
                print(f"did not come true: {step}\n{b.value('document.body.innerText')}")
                return 1
            time.sleep(0.05)
    return 0


def main():
    profile, url, *steps = sys.argv[1:]
    expected = [s[2:] for s in steps if s.startswith("? ")]
    b = Browser(profile)
    try:
        rc = run(b, url, [s for s in steps if not s.startswith("? ")])
    finally:
        b.end()
    for c in b.complaints:
        if not any(e in c for e in expected):
            print(c)
            rc = 1
    return rc


sys.exit(main())
