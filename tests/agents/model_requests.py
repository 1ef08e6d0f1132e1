"""What a program asked the model, whatever the dialect, and what our model says to it.

The answer depends on the request alone, so it proves what the program sent: above all whether a resumed
conversation brought its history along.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
Call = tuple[str, Any]  # a tool's name and its arguments (free text for a tool that takes text)

MARK = re.compile(r"\bMARK-(\w+)")
_TAGS = (
    "system-reminder|environment_context|user_instructions|permissions[ _]instructions|"
    r"local-command-\w+|skills_instructions|memory-context"
)
_ADDED = re.compile(  # what programs put into the user's turns by themselves
    rf"<({_TAGS})\b[^>]*>.*?</\1>"
    r"|<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>.*?<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
    r"|^\[\w{3} \d{4}-\d\d-\d\d \d\d:\d\d \w+\] |\n\nRuntime: agent=.*",
    re.DOTALL,
)
_ADDED_WHOLE = ("# AGENTS.md instructions", "<environment_context>", "<INSTRUCTIONS>")
_SHELL = ("terminal", "Bash", "exec_command", "shell_command", "shell", "local_shell", "exec", "bash")
_WRITE = ("write_file", "Write", "write", "create_file")
_RESULTS = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")
_ELIZA = re.compile(r"# Conversation Messages\n(.*?)\n\n\n", re.DOTALL)
_ELIZA_USER = re.compile(r"\] (?!Eliza:)[^:\n]+: (.*?)(?=\n\d\d?:\d\d|\Z)", re.DOTALL)


@dataclass
class Asked:
    """User turns in order, the newest tool result if nothing was asked since, the tools on offer by name."""

    users: list[str] = field(default_factory=list)
    result: str | None = None
    tools: dict[str, Body] = field(default_factory=dict)
    xml: bool = False  #: ElizaOS puts the whole conversation into one prompt and wants XML back


def plain(content: object) -> str:
    """The text of a message's content in any of the dialects."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    kinds = ("text", "input_text", "output_text")
    return "\n".join(
        str(part.get("text", "")) for part in parts if isinstance(part, dict) and part.get("type") in kinds
    )


def read(dialect: str, body: Body) -> Asked:
    """A request's body as one of the three dialects has it: `chat`, `responses` or `messages`."""
    asked = Asked(tools=_tools(body))
    items = body.get("input" if dialect == "responses" else "messages") or []
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        if item.get("role") == "tool":
            asked.result = plain(item.get("content"))
        elif item.get("type") in _RESULTS:
            asked.result = plain(item.get("output")) or json.dumps(item.get("output"))
        elif item.get("role") == "user":
            _user(asked, item.get("content"))
    if asked.users and "<response>" in asked.users[-1] and "<actions>" in asked.users[-1]:
        talk = _ELIZA.search(asked.users[-1])
        asked.users, asked.xml = _ELIZA_USER.findall(talk[1]) if talk else [], True
    return asked


def _user(asked: Asked, content: object) -> None:
    for part in content if isinstance(content, list) else []:
        if isinstance(part, dict) and part.get("type") == "tool_result":
            asked.result = plain(part.get("content"))
    text = _ADDED.sub("", plain(content)).strip()
    if text and not text.startswith(_ADDED_WHOLE):
        asked.users.append(text)
        if MARK.search(text) or "RUN " in text:
            asked.result = None


def _tools(body: Body) -> dict[str, Body]:
    found: dict[str, Body] = {}
    for given in body.get("tools") or []:
        space = given.get("name") if given.get("type") == "namespace" else None
        for one in given.get("tools", []) if space else [given]:
            tool = one.get("function", one)
            if name := tool.get("name") or tool.get("type"):
                found[name] = tool | {"namespace": space}
    return found


def answer(dialect: str, body: Body) -> tuple[str, Call | None, str | None]:
    """What the model says, the tool it calls instead, and that tool's namespace."""
    asked = read(dialect, body)
    call = _planned(asked) if asked.result is None else None
    marks = list(dict.fromkeys(mark for user in asked.users for mark in MARK.findall(user)))
    first = " ".join(asked.users[0].split())[:60] if asked.users else ""
    text = f"FAKE users={len(asked.users)} marks=[{','.join(marks)}] first='{first}'"
    if asked.result is not None:
        text += f' tool="{" ".join(asked.result.split())[:80]}"'
    if skills := sorted({found for found in _skills(body) if found.startswith("carried-")}):
        text += f" skills=[{','.join(skills)}]"
    if asked.xml:
        text = (
            "<response><thought>scripted</thought><actions>REPLY</actions><providers></providers>"
            f"<text>{text}</text></response>"
        )
    return text, call, asked.tools[call[0]]["namespace"] if call else None


def _skills(body: Body) -> list[str]:
    """Names of skills that begin with `carried-`, wherever the program tells the model of its skills."""
    return re.findall(r"carried-\w+", json.dumps(body))


def _planned(asked: Asked) -> Call | None:
    """`RUN <shell command>` or `WRITE <file> <text>` in the newest turn, as a call of a tool that is on offer."""
    newest = asked.users[-1] if asked.users else ""
    write = re.search(r"\bWRITE (\S+) (.+)", newest)
    run = re.search(r"\bRUN (.+)", newest)
    if not write and not run:
        return None
    if write:
        for name in filter(asked.tools.__contains__, _WRITE):
            wanted = [(("file_path", "path", "filename"), write[1]), (("content", "contents", "text"), write[2])]
            return name, _fill(asked.tools[name], wanted)
    command = run[1] if run else ""
    if write:
        command = f"printf '%s\\n' {shlex.quote(write[2])} > {shlex.quote(write[1])}"
    for name in filter(asked.tools.__contains__, _SHELL):
        if asked.tools[name].get("type") == "custom":
            return name, command
        return name, _fill(asked.tools[name], [(("command", "cmd"), command), (("description",), "scripted")])
    return None


def _fill(tool: Body, wanted: list[tuple[tuple[str, ...], str]]) -> Body:
    """Arguments by the tool's own schema: of each group the first name that it has."""
    schema = (tool.get("parameters") or tool.get("input_schema") or {}).get("properties", {})
    arguments: Body = {}
    for names, value in wanted:
        if name := next((name for name in names if name in schema), None):
            arguments[name] = ["bash", "-lc", value] if schema[name].get("type") == "array" else value
    return arguments
