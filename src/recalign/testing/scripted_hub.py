"""A model hub on localhost that speaks the few endpoints a push needs, for tests of anything that sends a model.

    with ScriptedHub() as hub:
        ...  # address for HF_ENDPOINT: hub.address; what arrived: hub.repositories["owner/name"]

Large files (safetensors) come by Git LFS, the others in the commit. Repositories keep their files, commits and who may
see them. `fail` plays mishaps.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from recalign.testing.scripted_server import ScriptedServer

TOKEN: Final = "hf_scripted_token"
_LFS: Final = ".safetensors"


@dataclass
class HubRepository:
    """A repository: content by path, and the ids of its commits, the first of which made it."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})
    commits: list[str] = field(default_factory=lambda: [hashlib.sha1(b"first").hexdigest()])


class ScriptedHub(ScriptedServer):
    """The server; a context manager.

    Attributes:
        repositories: By hub id.
        requests: Method and path of each request, in order of arrival.
        fail: Part of a path → status and message that the next request to such a path gets.
    """

    def __init__(self, token: str = TOKEN) -> None:
        """Let in whoever has `token`."""
        self.token = token
        self.repositories: dict[str, HubRepository] = {}
        self.requests: list[str] = []
        self.fail: dict[str, tuple[int, str]] = {}
        self.large: dict[str, bytes] = {}
        super().__init__(_Server(self))

    def answer(self, method: str, path: str, authorization: str, content: bytes) -> tuple[int, Any]:
        """Status and JSON of a reply."""
        self.requests.append(f"{method} {path}")
        for part, failure in list(self.fail.items()):
            if part in path:
                del self.fail[part]
                return failure[0], {"error": failure[1]}
        if path.startswith("/lfs/"):  # a signed address: no token
            self.large[path.removeprefix("/lfs/").partition("?")[0]] = content
            return 200, {}
        if authorization != f"Bearer {self.token}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        if path == "/api/validate-yaml":
            return _validated(json.loads(content)["content"])
        if path == "/api/repos/create":
            return self._create(json.loads(content))
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self._place(each) for each in json.loads(content)["objects"]]}
        owner, _, rest = path.removeprefix("/api/models/").partition("/")
        name, _, action = rest.partition("/")
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None:
            return 404, {"error": "Repository not found"}
        return self._act(f"{owner}/{name}", repository, action.partition("/")[0], content)

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.repositories
        self.repositories.setdefault(name, HubRepository(asked.get("visibility") == "private"))
        return (409 if known else 200), {"url": f"{self.address}/{name}"}

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Where a large file goes; nowhere if it is there."""
        oid = str(wanted["oid"])
        upload = {"upload": {"href": f"{self.address}/lfs/{oid}?signature=secret"}}
        return {"oid": oid, "size": wanted["size"], **({} if oid in self.large else {"actions": upload})}

    def _act(self, name: str, repository: HubRepository, action: str, content: bytes) -> tuple[int, Any]:
        if action == "preupload":
            files = json.loads(content)["files"]
            return 200, {"files": [_mode(repository, str(each["path"])) for each in files]}
        if action == "commit":
            return 200, self._commit(name, repository, content)
        if action == "settings":
            repository.private = json.loads(content)["visibility"] == "private"
            return 200, {}
        siblings = [{"rfilename": path} for path in sorted(repository.files)]
        sha = repository.commits[-1]
        return 200, {"_id": "0", "id": name, "sha": sha, "private": repository.private, "siblings": siblings}

    def _commit(self, name: str, repository: HubRepository, content: bytes) -> dict[str, Any]:
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.large[value["oid"]]
        repository.commits.append(hashlib.sha1(content).hexdigest())
        oid = repository.commits[-1]
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.address}/{name}/commit/{oid}"}


def _mode(repository: HubRepository, path: str) -> dict[str, Any]:
    """How a file is to be sent, and the id of what is there under its name."""
    large, present = path.endswith(_LFS), repository.files.get(path)
    oid = None
    if present is not None:
        blob = b"blob %d\0" % len(present) + present
        oid = hashlib.sha256(present).hexdigest() if large else hashlib.sha1(blob).hexdigest()
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}


def _validated(card: str) -> tuple[int, Any]:
    """Whether a card's head is what the hub's own client understands, as the hub asks for it."""
    from huggingface_hub import ModelCard

    try:
        ModelCard(card)
    except Exception as error:
        return 400, {"errors": [{"message": str(error)}], "warnings": []}
    return 200, {"errors": [], "warnings": []}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: ScriptedHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def do_PUT(self) -> None:
        self._reply()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on stderr."""

    def _reply(self) -> None:
        assert isinstance(self.server, _Server)
        content = self._content()
        authorization = self.headers.get("Authorization") or ""
        status, document = self.server.hub.answer(self.command, self.path, authorization, content)
        body = json.dumps(document).encode()
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)
