"""A server on loopback that speaks the part of the Hugging Face Hub's API we need.

It keeps repositories as lists of commits in memory, stores large files by their SHA-256
as git LFS does, and can be told to fail: `fail("PUT", "/lfs/", 500)`, or `drop` for a
connection that breaks off in the middle.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import yaml


# Users by token.
TOKENS = {"hf_write": ("ada", "write"), "hf_read": ("ada", "read")}
_LARGE = (".safetensors", ".mp4", ".pth", ".wad")
_DROPPED_AFTER = 1000


class Commit(NamedTuple):
    sha: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool
    commits: list[Commit] = field(default_factory=list)

    def add(self, message: str, files: dict[str, bytes]) -> Commit:
        digest = hashlib.sha1(f"{len(self.commits)}{message}".encode())
        for path in sorted(files):
            digest.update(path.encode() + files[path])
        commit = Commit(digest.hexdigest(), message, files)
        self.commits.append(commit)
        return commit

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        return next((c for c in self.commits if c.sha.startswith(revision)), None)


@dataclass
class Fault:
    method: str
    path: str
    what: int | str  # a status, or "drop"
    times: int


class HubServer(ThreadingHTTPServer):
    """The Hub; a context manager that serves while it is open."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.chunk_size = 0  # more than 0: large files come in parts of this size
        self.parts: dict[str, dict[int, bytes]] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def fail(self, method: str, path: str, what: int | str, times: int = 1000) -> None:
        self.faults.append(Fault(method, path, what, times))

    def make(self, repo: str, files: dict[str, bytes], *, private: bool = False) -> str:
        """Put a repository there; return its commit."""
        self.repos.setdefault(repo, Repo(private))
        return self.repos[repo].add("by hand", files).sha

    def files(self, repo: str) -> dict[str, bytes]:
        return self.repos[repo].commits[-1].files


class _Refusal(Exception):  # noqa: N818
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *args: Any) -> None:
        """Write no log."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        self.path_, self.query = unquote(url.path), parse_qs(url.query)
        self.server.requests.append(f"{self.command} {self.path_}")
        self.dropping = False
        for fault in self.server.faults:
            if fault.times and fault.method in (self.command, "*") and re.search(
                fault.path, self.path_
            ):  # fmt: skip
                fault.times -= 1
                if fault.what != "drop":
                    self._read()
                    return self._answer(fault.what, b"{}")
                if self.command in ("PUT", "POST"):
                    self.rfile.read(
                        min(_DROPPED_AFTER, int(self.headers["Content-Length"]))
                    )
                    return self._hang_up()
                self.dropping = True
        self.body = self._read()
        try:
            self._route()
        except _Refusal as failure:
            headers = {"X-Error-Code": failure.code, "X-Error-Message": failure.message}
            headers = {name: value for name, value in headers.items() if value}
            self._answer(
                failure.status, json.dumps({"error": failure.message}).encode(), headers
            )

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815 - the base class's

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _answer(
        self, status: Any, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.dropping:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            return self._hang_up()
        self.wfile.write(body)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode())

    def _route(self) -> None:
        repo = r"(?P<repo>[^/]+/[^/]+)"
        revision = r"(?P<revision>[^/]+)"
        routes = {
            "GET /api/whoami-v2": self._whoami,
            "POST /api/repos/create": self._create,
            "POST /api/validate-yaml": self._validate_yaml,
            f"GET /api/models/{repo}(/revision/{revision})?": self._info,
            f"GET /api/models/{repo}/tree/{revision}": self._tree,
            f"POST /api/models/{repo}/preupload/{revision}": self._preupload,
            f"POST /api/models/{repo}/commit/{revision}": self._commit,
            rf"POST /{repo}\.git/info/lfs/objects/batch": self._batch,
            f"(HEAD|GET) /{repo}/resolve/{revision}/(?P<file>.+)": self._resolve,
            "PUT /lfs/(?P<oid>[0-9a-f]{64})": self._put,
            "POST /lfs/(?P<oid>[0-9a-f]{64})/complete": self._complete,
            "POST /lfs/verify": self._verify,
            "(HEAD|GET) /cdn/(?P<oid>[0-9a-f]{64})": self._cdn,
        }
        for pattern, function in routes.items():
            match = re.fullmatch(pattern, f"{self.command} {self.path_}")
            if match:
                return function(**match.groupdict())
        raise _Refusal(404, message="Sorry, we can't find the page you are looking for")

    # Who asks, and what they may.

    def _user(self) -> tuple[str, str] | None:
        given = self.headers.get("Authorization", "")
        if not given:
            return None
        token = given.removeprefix("Bearer ")
        if token not in TOKENS:
            raise _Refusal(401, message="Invalid credentials in Authorization header")
        return TOKENS[token]

    def _readable(self, name: str) -> Repo:
        user, repo = self._user(), self.server.repos.get(name)
        if repo is None or (repo.private and (not user or user[0] not in name)):
            raise _Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        return repo

    def _writable(self, name: str) -> Repo:
        self._may_write(name.split("/")[0])
        return self._readable(name)

    def _may_write(self, namespace: str) -> None:
        user = self._user()
        if user is None:
            raise _Refusal(401, message="Invalid username or password.")
        if user != (namespace, "write"):
            raise _Refusal(
                403, message=f"You don't have the rights to write to {namespace}"
            )

    def _at(self, name: str, revision: str) -> Commit:
        commit = self._readable(name).at(revision)
        if commit is None:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # The API.

    def _whoami(self) -> None:
        user = self._user()
        if user is None:
            raise _Refusal(401, message="Invalid username or password.")
        token = {"displayName": "test", "role": user[1]}
        self._json({"type": "user", "name": user[0], "auth": {"accessToken": token}})

    def _create(self) -> None:
        asked = json.loads(self.body)
        user = self._user()
        namespace = asked.get("organization") or (user[0] if user else "")
        self._may_write(namespace)
        name = f"{namespace}/{asked['name']}"
        url = f"{self.server.endpoint}/{name}"
        if name in self.server.repos:
            error = {"error": "You already created this model repo", "url": url}
            return self._answer(409, json.dumps(error).encode())
        # The older client says private, the newer visibility.
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.repos[name] = Repo(private)
        self.server.repos[name].add("initial commit", {".gitattributes": b""})
        self._json({"url": url, "name": name})

    def _validate_yaml(self) -> None:
        text = json.loads(self.body)["content"]
        match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        head = yaml.safe_load(match[1]) if match else None
        errors = [] if isinstance(head, dict) else [{"message": "no metadata"}]
        for model in (head or {}).get("model-index", []):
            for result in model.get("results", []):
                missing = {"task", "dataset", "metrics"} - result.keys()
                errors += [{"message": f"model-index lacks {x}"} for x in missing]
        if errors:
            return self._answer(400, json.dumps({"errors": errors}).encode())
        self._json({"errors": [], "warnings": []})

    def _info(self, repo: str, revision: str | None) -> None:
        commit = self._at(repo, revision or "main")
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        private = self.server.repos[repo].private
        self._json(
            {
                "_id": "0" * 24, "id": repo, "modelId": repo, "sha": commit.sha,
                "private": private, "disabled": False, "gated": False, "tags": [],
                "downloads": 0, "likes": 0, "siblings": siblings,
            }
        )  # fmt: skip

    def _tree(self, repo: str, revision: str) -> None:
        rows = []
        for path, content in sorted(self._at(repo, revision).files.items()):
            row = {
                "type": "file", "path": path, "size": len(content),
                "oid": _blob_id(content),
            }  # fmt: skip
            if path.endswith(_LARGE):
                oid = hashlib.sha256(content).hexdigest()
                row["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
            rows.append(row)
        self._json(rows)

    def _preupload(self, repo: str, revision: str) -> None:
        self._writable(repo)
        there = self._at(repo, revision).files
        rows = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            rows.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if path.endswith(_LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(path, there[path]) if path in there else None,
                }
            )
        self._json({"files": rows})

    def _batch(self, repo: str) -> None:
        self._writable(repo)
        rows = []
        for thing in json.loads(self.body)["objects"]:
            oid, size = thing["oid"], thing["size"]
            row = {"oid": oid, "size": size}
            if oid not in self.server.large:
                base = f"{self.server.endpoint}/lfs"
                upload: dict[str, Any] = {"href": f"{base}/{oid}", "header": {}}
                step = self.server.chunk_size
                if step and size > step:
                    upload["href"] += "/complete"
                    parts = {
                        f"{number:05d}": f"{base}/{oid}?part={number}"
                        for number in range(1, -(-size // step) + 1)
                    }
                    upload["header"] = {"chunk_size": str(step), **parts}
                row["actions"] = {
                    "upload": upload,
                    "verify": {"href": f"{base}/verify", "header": {}},
                }
            rows.append(row)
        self._json({"transfer": "basic", "objects": rows})

    def _put(self, oid: str) -> None:
        if "part" in self.query:
            number = int(self.query["part"][0])
            self.server.parts.setdefault(oid, {})[number] = self.body
            return self._answer(200, headers={"ETag": f'"{number}"'})
        self._store(oid, self.body)
        self._answer(200)

    def _complete(self, oid: str) -> None:
        asked = json.loads(self.body)
        parts = self.server.parts.pop(oid)
        numbers = [part["partNumber"] for part in asked["parts"]]
        assert numbers == sorted(parts)
        self._store(oid, b"".join(parts[number] for number in numbers))
        self._json({})

    def _store(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise _Refusal(400, message="Checksum mismatch")
        self.server.large[oid] = content

    def _verify(self) -> None:
        asked = json.loads(self.body)
        if len(self.server.large.get(asked["oid"], b"")) != asked["size"]:
            raise _Refusal(404, message="Object does not exist")
        self._json({})

    def _commit(self, repo: str, revision: str) -> None:
        target = self._writable(repo)
        files = dict(self._at(repo, revision).files)
        header: dict[str, Any] = {}
        for line in self.body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "header":
                header = value
            elif row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                if value["oid"] not in self.server.large:
                    raise _Refusal(400, message="LFS pointer to nothing")
                files[value["path"]] = self.server.large[value["oid"]]
            elif files.pop(value["path"], None) is None:  # deletedFile
                raise _Refusal(404, "EntryNotFound", "A file does not exist")
        commit = target.add(header["summary"], files)
        url = f"{self.server.endpoint}/{repo}/commit/{commit.sha}"
        self._json({"success": True, "commitOid": commit.sha, "commitUrl": url})

    def _resolve(self, repo: str, revision: str, file: str) -> None:
        commit = self._at(repo, revision)
        if file not in commit.files:
            raise _Refusal(404, "EntryNotFound", "Entry not found")
        content = commit.files[file]
        headers = {"X-Repo-Commit": commit.sha}
        if not file.endswith(_LARGE):
            headers["ETag"] = f'"{_blob_id(content)}"'
            return self._content(content, headers)
        oid = hashlib.sha256(content).hexdigest()
        self.server.large[oid] = content
        headers |= {
            "X-Linked-ETag": f'"{oid}"',
            "X-Linked-Size": str(len(content)),
            # Another host than the API's, as in life: the client follows it only to
            # download, and tells it no token.
            "Location": f"http://localhost:{self.server.server_address[1]}/cdn/{oid}",
        }
        self._answer(302, b"", headers)

    def _cdn(self, oid: str) -> None:
        if "Authorization" in self.headers:
            raise _Refusal(400, message="the token went to a stranger")
        self._content(self.server.large[oid], {"ETag": f'"{oid}"'})

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match:
            return self._answer(200, content, headers)
        start, size = int(match[1]), len(content)
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        # The length that the client is told of is that of the part.
        self._answer(206, content[start:], headers)


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _oid(path: str, content: bytes) -> str:
    if path.endswith(_LARGE):
        return hashlib.sha256(content).hexdigest()
    return _blob_id(content)
