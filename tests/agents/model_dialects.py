"""The model's answers in the three dialects that the programs speak, in one piece or as a stream of events."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.agents.model_requests import Body, Call

Events = list[tuple[str | None, "Body | str"]]  # name of the event, its data


def _name(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:20]}"


def chat(body: Body, text: str, call: Call | None, _space: str | None) -> Body | Events:
    """OpenAI's Chat Completions."""
    base = {"id": _name("chatcmpl"), "created": int(time.time()), "model": body.get("model", "fake")}
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    message: Body = {"role": "assistant", "content": text}
    if call:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"id": _name("call"), "type": "function", "function": function}]
    reason = "tool_calls" if call else "stop"
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return base | {"object": "chat.completion", "usage": usage, "choices": [choice]}
    if call:
        message["tool_calls"][0]["index"] = 0

    def chunk(delta: Body, finish: str | None) -> Body:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return base | {"object": "chat.completion.chunk", "choices": [choice]}

    last = base | {"object": "chat.completion.chunk", "choices": [], "usage": usage}
    return [(None, chunk(message, None)), (None, chunk({}, reason)), (None, last), (None, "[DONE]")]


def responses(body: Body, text: str, call: Call | None, space: str | None) -> Body | Events:
    """OpenAI's Responses."""
    said = {"type": "output_text", "text": text, "annotations": []}
    item: Body = {"id": _name("msg"), "type": "message", "role": "assistant", "status": "completed", "content": [said]}
    if call:
        item = {"id": _name("fc"), "call_id": _name("call"), "name": call[0], "status": "completed"}
        if space:
            item["namespace"] = space
        if isinstance(call[1], str):
            item |= {"type": "custom_tool_call", "input": call[1]}
        else:
            item |= {"type": "function_call", "arguments": json.dumps(call[1])}
    usage = {
        "input_tokens": 10, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 20,
    }  # fmt: skip
    whole: Body = {
        "id": _name("resp"), "object": "response", "created_at": int(time.time()),
        "model": body.get("model", "fake"), "status": "completed", "output": [item], "usage": usage,
    }  # fmt: skip
    if not body.get("stream"):
        return whole
    begun = item | {"status": "in_progress"} | ({} if call else {"content": []})
    events: list[tuple[str, Body]] = [
        ("response.created", {"response": whole | {"status": "in_progress", "output": [], "usage": None}}),
        ("response.output_item.added", {"output_index": 0, "item": begun}),
    ]
    if not call:
        at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        events.append(("response.output_text.delta", at | {"delta": text}))
        events.append(("response.output_text.done", at | {"text": text}))
    events.append(("response.output_item.done", {"output_index": 0, "item": item}))
    events.append(("response.completed", {"response": whole}))
    return [(name, data | {"type": name, "sequence_number": number}) for number, (name, data) in enumerate(events)]


def messages(body: Body, text: str, call: Call | None, _space: str | None) -> Body | Events:
    """Anthropic's Messages."""
    block: Body = {"type": "text", "text": text}
    empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": text}
    if call:
        block = {"type": "tool_use", "id": _name("toolu"), "name": call[0], "input": call[1]}
        empty, delta = block | {"input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
    usage = {"input_tokens": 10, "output_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    whole: Body = {
        "id": _name("msg"), "type": "message", "role": "assistant", "model": body.get("model", "fake"),
        "content": [block], "stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    if not body.get("stream"):
        return whole
    end = {"delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None}, "usage": usage}
    events: list[tuple[str, Body]] = [
        ("message_start", {"message": whole | {"content": [], "stop_reason": None}}),
        ("content_block_start", {"index": 0, "content_block": empty}),
        ("content_block_delta", {"index": 0, "delta": delta}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", end),
        ("message_stop", {}),
    ]
    return [(name, data | {"type": name}) for name, data in events]


BY_PATH = {
    "/chat/completions": ("chat", chat),
    "/responses": ("responses", responses),
    "/messages": ("messages", messages),
}
