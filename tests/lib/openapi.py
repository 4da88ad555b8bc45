#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Replay the examples of ctrl/schema/openapi.json against a weftd, and check every answer.

openapi.py check            is it whole: each route of ctrl/api/route.c, each reference, each example
openapi.py replay SOCKET LOCAL.json   ask weftd; prints TAP, one line an operation

LOCAL.json is {"path of the example": "path here", ...}, for texts that differ on this machine.
"""
import http.client
import json
import re
import socket
import sys
import time

import jsonschema

DOC = json.load(open("ctrl/schema/openapi.json", encoding="utf-8"))
DEADLINE_S = 60
# In this order; "swap" is asked until it is in the state, the others until their status is right.
ORDER = """healthz readyz status imagePull images imageRemove imagesPrune apply services service instances
    instance logs serviceScale serviceSettings weights weightsReset exec pause resume attach detach
    peerSet peers peer export peerImport peerRemove dpLb dpFlows dpStats dpDrops trace events watch
    metrics page pageFile swapStart swaps swap swapPause swapResume swapAbort swapRollback
    serviceDelete""".split()


def operations():
    for path, methods in DOC["paths"].items():
        for method, op in methods.items():
            yield path, method, op


def resolve(node):
    while "$ref" in node:
        at = DOC
        for key in node["$ref"][2:].split("/"):
            at = at[key]
        node = at
    return node


def validate(value, schema):
    whole = {**schema, "components": DOC["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def parameters(op):
    return [resolve(p) for p in op.get("parameters", [])]


def unversioned(node):
    """Without what no example can know."""
    if isinstance(node, dict):
        return {k: unversioned(v) for k, v in node.items() if k != "version"}
    return [unversioned(v) for v in node] if isinstance(node, list) else node


def check():
    routes = set(re.findall(r'^\t\{"([A-Z]+)", "(/[^"]*)", \d+,', open("ctrl/api/route.c").read(), re.M))
    described = {(m.upper(), re.sub(r"\{[^}]*\}", "*", p)) for p, m, _ in operations()}
    wrong = [f"not described: {r}" for r in sorted(routes - described)]
    wrong += [f"no such route: {r}" for r in sorted(described - routes)]
    ids = [op["operationId"] for _, _, op in operations()]
    wrong += [f"not replayed: {i}" for i in ids if i not in ORDER]
    if len(set(ids)) != len(ids) or len(routes) < 35:
        wrong.append("operationIds are not unique, or the routes were not found")
    for path, method, op in operations():
        if set(re.findall(r"\{([^}]*)\}", path)) != {p["name"] for p in parameters(op) if p["in"] == "path"}:
            wrong.append(f"{method} {path}: parameters")
        contents = [c for r in op["responses"].values() for c in resolve(r)["content"].values()]
        contents += op.get("requestBody", {}).get("content", {}).values()
        for c in contents:
            jsonschema.Draft202012Validator.check_schema({**c["schema"], "components": DOC["components"]})
            if "example" in c:
                validate(c["example"], c["schema"])
    print("\n".join(wrong))
    return 1 if wrong else 0


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(self.path)


class Replay:
    def __init__(self, path, local):
        self.path, self.local = path, local

    def here(self, text):
        for there, here in self.local.items():
            text = text.replace(there, here)
        return text

    def ask(self, path, method, op):
        query, headers = [], {}
        for p in parameters(op):
            if "example" not in p:
                continue
            value = self.here(str(p["example"]))
            if p["in"] == "path":
                path = path.replace("{%s}" % p["name"], value)
            elif p["in"] == "header":
                headers[p["name"]] = value
            else:
                query.append(f"{p['name']}={value}")
        body = op.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        c = Unix(self.path)
        c.request(method.upper(), path + ("?" + "&".join(query) if query else ""),
                  self.here(json.dumps(body)) if body is not None else None, headers)
        answer = c.getresponse()
        text = answer.read().decode()
        c.close()
        return str(answer.status), answer.headers["Content-Type"], text

    def judge(self, op, status, ctype, text):
        documented = op["responses"].get(status)
        assert documented, f"HTTP {status} is not documented: {text}"
        contents = resolve(documented)["content"]
        kind = ctype.split(";")[0]
        assert kind in contents, f"{ctype} is not documented"
        schema, docs = contents[kind]["schema"], [text]
        if kind == "application/json":
            docs = [json.loads(text)]
        elif kind == "application/x-ndjson":
            docs = [json.loads(line) for line in text.splitlines() if line]
            assert docs, "no line"
        for d in docs:
            validate(d, schema)
        example = contents[kind].get("example")
        if isinstance(example, str):
            assert text == example, f"the example says {example!r}"
        elif example is not None:
            assert unversioned(json.loads(text)) == unversioned(example), f"the example says {example}, weftd {text}"
        return docs[0]

    def run(self, oid):
        path, method, op = next(o for o in operations() if o[2]["operationId"] == oid)
        wanted, until = next(s for s in op["responses"] if s < "300"), time.monotonic() + DEADLINE_S
        while True:
            status, ctype, text = self.ask(path, method, op)
            doc = self.judge(op, status, ctype, text)
            if status == wanted and self.enough(oid, doc):
                break
            if status not in (wanted, "409", "404") or time.monotonic() > until:
                if oid == "trace" and status == "422":
                    return "the kernel lacks what it takes"
                raise AssertionError(f"HTTP {status}: {text}")
            time.sleep(0.1)
        if oid == "swapStart":
            self.local["7f3a"] = doc["id"]
        return ""

    @staticmethod
    def enough(oid, doc):
        if oid == "service":  # what comes after needs instances that run
            return doc["ready"] >= 2
        return oid != "swap" or doc["state"] == "shift"


def replay(path, local):
    r, rc = Replay(path, json.load(open(local, encoding="utf-8"))), 0
    for n, oid in enumerate(ORDER, 1):
        try:
            note = r.run(oid)
            print(f"ok {n} - {oid}" + (f" # SKIP {note}" if note else ""), flush=True)
        except (AssertionError, jsonschema.ValidationError, OSError, ValueError) as e:
            rc = 1
            print(f"not ok {n} - {oid}\n# " + str(e)[:1500].replace("\n", "\n# "), flush=True)
    return rc


sys.exit(check() if sys.argv[1] == "check" else replay(*sys.argv[2:]))
