"""A hub of one's own on this machine: as much of the Hugging Face hub's API as small files take, there and back."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_local"


class LocalHub(ThreadingHTTPServer):
    """Keeps repositories in memory: `repositories["models/owner/name"]` is files, `tags` of it commits, by names."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.private: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def revision(self, name: str) -> str:
        return hashlib.sha1(repr(sorted(self.repositories[name].items())).encode()).hexdigest()


class _Answers(BaseHTTPRequestHandler):
    server: LocalHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid token"}, 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        name, action = path.removeprefix("/api/").rsplit("/", 2)[:2]
        if action == "tag":
            return self._tag(name, path.rpartition("/")[2], json.loads(body)["tag"])
        if action == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        return self._commit(name, [json.loads(line) for line in body.splitlines()])

    def do_GET(self) -> None:
        self._read(with_content=True)

    def do_HEAD(self) -> None:
        self._read(with_content=False)

    def do_DELETE(self) -> None:
        name, _, tag = urlsplit(self.path).path.removeprefix("/api/").rsplit("/", 2)
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid token"}, 401)
        if self.server.tags.get(name, {}).pop(tag, None) is None:
            return self._json({"error": "no such tag"}, 404, {"X-Error-Code": "RevisionNotFound"})
        return self._json({})

    def _tag(self, name: str, commit: str, tag: str) -> None:
        if tag in self.server.tags.setdefault(name, {}):
            return self._json({"error": "exists"}, 409)
        self.server.tags[name][tag] = commit
        return self._json({})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('type', 'model')}s/{asked['organization']}/{asked['name']}"
        if name in self.server.repositories:
            return self._json({"error": "exists", "url": f"{self.server.address}/{name}"}, 409)
        self.server.repositories[name] = {".gitattributes": b""}
        if asked.get("visibility") == "private":
            self.server.private.add(name)
        return self._json({"url": f"{self.server.address}/{name.removeprefix('models/')}"})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = dict(self.server.repositories[name])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.server.repositories[name] = files
        revision = self.server.revision(name)
        self._json({"commitUrl": f"{self.server.address}/{name}/commit/{revision}", "commitOid": revision})

    def _read(self, *, with_content: bool) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        api, _, rest = path.partition("api/")
        if not api and rest:
            name = "/".join(rest.split("/")[:3])
            if name not in self.server.repositories:
                return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return self._json(self._listed(name, rest.split("/")[3:4]))
        place, _, rest = path.partition("/resolve/")
        name = place if place.startswith("datasets/") else f"models/{place}"
        content = self.server.repositories.get(name, {}).get(rest.partition("/")[2])
        if content is None:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": self.server.revision(name)}
        return self._send(200, content, headers, with_content=with_content)

    def _listed(self, name: str, what: list[str]) -> Any:
        files = self.server.repositories[name]
        if what == ["tree"]:
            return [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
        if what == ["refs"]:
            tags = [
                {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": commit}
                for tag, commit in self.server.tags.get(name, {}).items()
            ]
            return {"branches": [], "converts": [], "tags": tags}
        siblings = [{"rfilename": path} for path in files]
        return {"id": name.partition("/")[2], "sha": self.server.revision(name), "siblings": siblings, "tags": []}

    def _json(self, told: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(told).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, with_content: bool = True) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_content and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """One that answers until the block ends."""
    hub = LocalHub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
