# SPDX-License-Identifier: Apache-2.0
"""The requests that are answered at once, for both clients: how each is asked, and what is made of its answer."""

from __future__ import annotations

import base64
import json
from typing import Any, Callable, Mapping, NamedTuple, Optional, Union
from urllib.parse import quote as escape
from urllib.parse import urlencode

from .command import environment
from .errors import MoatError
from .types import Logs, Raw, SecureExecution, VariableChanges
from .wire import Request


class Call(NamedTuple):
    """take: makes of the answer's text what the caller gets."""

    request: Request
    take: Callable[[str], Any]


def whole(text: str) -> Any:
    return json.loads(text)


def member(name: str) -> Callable[[str], Any]:
    return lambda text: json.loads(text)[name]


def context_path(name: str) -> str:
    return f"/v1/contexts/{escape(name, safe='')}"


def process_path(id: str) -> str:
    return f"/v1/processes/{escape(id, safe='')}"


def get(path: str, take: Callable[[str], Any] = whole) -> Call:
    return Call(Request("GET", path), take)


def create_context(name: str, env: Optional[VariableChanges], keys: Mapping[str, Any]) -> Call:
    body = {"name": name, **keys}
    if env is not None:
        body["env"] = environment(env, True)
    return Call(Request("POST", "/v1/contexts", body), whole)


def set_env(name: str, variables: VariableChanges) -> Call:
    return Call(Request("PATCH", context_path(name), {"env": environment(variables, True)}), whole)


def set_directory(name: str, directory: Optional[str]) -> Call:
    return Call(Request("PATCH", context_path(name), {"directory": directory}), whole)


def remove_context(name: str, keep: bool) -> Call:
    return Call(Request("DELETE", context_path(name) + ("?keep=true" if keep else "")), whole)


def kill(id: str) -> Call:
    return Call(Request("DELETE", process_path(id)), member("killed"))


def signal(id: str, number: Union[str, int]) -> Call:
    return Call(Request("POST", f"{process_path(id)}/signal", {"signal": number}), whole)


def health(ready: bool, service: Optional[str]) -> Call:
    query = "?" + urlencode({"service": service}) if service is not None else "?ready" if ready else ""
    return get(f"/v1/health{query}")


def set_mode(mode: str) -> Call:
    return Call(Request("PUT", "/v1/mode", {"mode": mode}), member("previous"))


def logs(id: str) -> Call:
    return get(process_path(id), take_logs)


def take_logs(text: str) -> Logs:
    known = json.loads(text)

    def raw(stream: str) -> bytes:
        encoded: str = known[stream]
        return base64.b64decode(encoded) if known.get(f"{stream}Encoding") == "base64" else encoded.encode()

    both = Raw(raw("stdout"), raw("stderr"))
    return Logs(both.stdout.decode(errors="replace"), both.stderr.decode(errors="replace"), both, known["stdoutBytes"],
                known["stderrBytes"], known["truncated"])


def events(since: Optional[int], follow: bool) -> Request:
    query = {**({} if since is None else {"since": since}), **({"follow": "true"} if follow else {})}
    return Request("GET", "/v1/events" + (f"?{urlencode(query)}" if query else ""), stream=True)


def secure_execution() -> Call:
    return get("/v1/status", take_secure_execution)


def take_secure_execution(text: str) -> SecureExecution:
    status = json.loads(text)
    enforcement, surfaces = status["enforcement"], status["notEnforced"]
    if enforcement["active"] and enforcement["mode"] == "enforce" and not surfaces:
        return SecureExecution(True, None)
    if enforcement["active"] and enforcement["mode"] == "audit":
        return SecureExecution(False, "moat is in audit mode, which refuses nothing")
    return SecureExecution(False, enforcement["reason"] or "the kernel does not enforce: " + ", ".join(surfaces))


def not_shielded(reason: Optional[str]) -> MoatError:
    return MoatError("NOT_SHIELDED", f"the command was not started, its variables would not be shielded: {reason}",
                     {"reason": reason})
