# SPDX-License-Identifier: Apache-2.0
"""The requests that are answered at once, for both clients: how each is asked, and what is made of its answer."""

from __future__ import annotations

import base64
import json
from typing import Any, Callable, Mapping, NamedTuple, Optional, Union
from urllib.parse import quote as escape
from urllib.parse import urlencode

from .command import environment, milliseconds
from .errors import MoatError
from .types import CommandOptions, ExecResult, Logs, Raw, SecureExecution, VariableChanges
from .wire import Request


class Call(NamedTuple):
    """take: makes of the answer's text what the caller gets. patient: the answer may take as long as it takes."""

    request: Request
    take: Callable[[str], Any]
    patient: bool = False


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
    if {keys.get("isolation", True), keys.get("persistent", True)} != {True}:
        raise TypeError("every context is isolated and persistent: isolation and persistent can only be True")
    body = {"name": name, **{key: value for key, value in keys.items() if key not in ("isolation", "persistent")}}
    if env is not None:
        body["env"] = environment(env, True)
    return Call(Request("POST", "/v1/contexts", body), whole)


def make_context(name: str) -> Call:
    """One that may be there already."""
    return Call(Request("POST", "/v1/contexts", {"name": name}), whole)


def secure(options: CommandOptions) -> CommandOptions:
    if options.get("isolated") is False:
        raise TypeError("exec_secure runs a command apart from all others: isolated cannot be False")
    return {**options, "isolated": True}


def set_env(name: str, variables: VariableChanges) -> Call:
    return Call(Request("PATCH", context_path(name), {"env": environment(variables, True)}), whole)


def set_directory(name: str, directory: Optional[str]) -> Call:
    return Call(Request("PATCH", context_path(name), {"directory": directory}), whole)


def remove_context(name: str, keep: bool) -> Call:
    return Call(Request("DELETE", context_path(name) + ("?keep=true" if keep else "")), whole)


def check_cd(result: ExecResult, directory: str) -> None:
    if not result.ok:
        raise MoatError("BAD_DIRECTORY", result.stderr.strip(), {"directory": directory})


def reset_state(name: str) -> Call:
    return Call(Request("DELETE", f"{context_path(name)}/state"), member("reset"))


def output(id: str, since: int) -> Request:
    """The stream of a command that runs, or has ended, from a byte on."""
    return Request("GET", f"{process_path(id)}/events?since={since}", stream=True)


def kill(id: str) -> Call:
    return Call(Request("DELETE", process_path(id)), member("killed"))


def signal(id: str, number: Union[str, int], to: Optional[str]) -> Call:
    return Call(Request("POST", f"{process_path(id)}/signal", {"signal": number, **({} if to is None else {"to": to})}), whole)


def resize(id: str, rows: int, cols: int) -> Call:
    return Call(Request("POST", f"{process_path(id)}/resize", {"rows": rows, "cols": cols}), whole)


def wait(id: str, tree: bool, timeout: Optional[float]) -> Call:
    body = {"for": "tree" if tree else "exit", **({} if timeout is None else {"timeoutMs": milliseconds(timeout)})}
    return Call(Request("POST", f"{process_path(id)}/wait", body), member("met"), patient=True)


def listeners(port: int, timeout: float) -> Call:
    """What listens on a port, at the latest after so many seconds."""
    return get(f"/v1/ports/{port:d}?state=listening&timeoutMs={milliseconds(timeout)}", member("listeners"))


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
    active, reason = enforcement["active"], enforcement["reason"]
    # Where the kernel takes no programs, other layers may do, against contexts without capabilities that undo them.
    shield = next(each for each in status["requirements"] if each["id"] == "C3")
    guarded, others = shield["guard"] == "guarded", shield["notFor"]
    if active and enforcement["mode"] == "audit":
        return SecureExecution(False, "moat is in audit mode, which refuses nothing")
    if (not surfaces) if active else (guarded and not others):
        return SecureExecution(True, None)
    if not active and guarded:
        return SecureExecution(False, f"context {', '.join(others)} can read them: {reason}")
    return SecureExecution(False, reason or "the kernel does not enforce: " + ", ".join(surfaces))


def not_shielded(reason: Optional[str]) -> MoatError:
    return MoatError("NOT_SHIELDED", f"the command was not started, its variables would not be shielded: {reason}",
                     {"reason": reason})
