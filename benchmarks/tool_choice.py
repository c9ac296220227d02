"""How often the local chat model chooses the right tool: python -m benchmarks.tool_choice

Serves `smollm2-135m-instruct` of local.yaml and asks it 30 questions with `tool_choice: auto` at temperature 0, sixteen
at once. For 20 of them one of the tools fits: right is a call of that tool, and of no other, with all arguments right.
For 10 none fits: right is an answer without a call. The questions were written before the model's chat template was
tuned, on others; none is among its examples. Writes benchmarks/tool_choice.csv.
"""

import asyncio
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx

from benchmarks.service import HEADERS, LOCAL_CONFIG, config_entry, serving

CSV = Path(__file__).with_suffix(".csv")
MODEL = "smollm2-135m-instruct"
AT_ONCE = 16
MAX_TOKENS = 96
HEAD = ["tools", "prompt", "expected", "answered", "right"]

Arguments = Mapping[str, set[Any]]  # of each argument, every right value; texts without regard to case and blanks


class Question(NamedTuple):
    tools: str  # names, of TOOLS
    prompt: str
    call: str | None = None  # the tool that fits
    arguments: Arguments = MappingProxyType({})


def tool(name: str, description: str, /, **properties: dict[str, Any]) -> dict[str, Any]:
    """A function of which every argument is required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TEXT, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
TOOLS = {
    one["function"]["name"]: one
    for one in (
        tool("get_weather", "Get the current weather in a city.", city=TEXT),
        tool("convert_currency", "Convert an amount of money into another currency.",
             amount=NUMBER, from_currency=TEXT, to_currency=TEXT),
        tool("create_event", "Add an event to the calendar.", title=TEXT, day=TEXT),
        tool("search_web", "Search the web.", query=TEXT),
        tool("calculate", "Work out an arithmetic expression.", expression=TEXT),
        tool("set_timer", "Start a timer.", minutes=INTEGER),
        tool("set_light", "Switch the light of a room on or off.",
             room=TEXT, state={"type": "string", "enum": ["on", "off"]}),
        tool("send_message", "Send a text message to somebody.", to=TEXT, text=TEXT),
        tool("get_stock_price", "Get the current price of a share.", symbol=TEXT),
    )
}  # fmt: skip
DOLLAR, EURO = {"USD", "dollar", "dollars", "US dollars"}, {"EUR", "euro", "euros"}
YEN, POUND = {"JPY", "yen", "japanese yen"}, {"GBP", "pound", "pounds", "british pounds"}

QUESTIONS = (
    Question("get_weather", "What's the weather like in Lisbon right now?", "get_weather", {"city": {"Lisbon"}}),
    Question("get_weather", "Is it raining in Seattle?", "get_weather", {"city": {"Seattle"}}),
    Question("get_weather", "Do I need a coat in Moscow today?", "get_weather", {"city": {"Moscow"}}),
    Question("get_weather", "How hot is it in Cairo?", "get_weather", {"city": {"Cairo"}}),
    Question("convert_currency", "Convert 50 dollars to euros.", "convert_currency",
             {"amount": {50}, "from_currency": DOLLAR, "to_currency": EURO}),
    Question("convert_currency", "How many yen do I get for 200 pounds?", "convert_currency",
             {"amount": {200}, "from_currency": POUND, "to_currency": YEN}),
    Question("set_timer", "Set a timer for 15 minutes.", "set_timer", {"minutes": {15}}),
    Question("set_timer", "The eggs need 8 minutes, tell me when they are done.", "set_timer", {"minutes": {8}}),
    Question("set_light", "Turn off the light in the kitchen.", "set_light", {"room": {"kitchen"}, "state": {"off"}}),
    Question("calculate", "What is 348 times 27?", "calculate",
             {"expression": {"348*27", "348x27", "348 times 27"}}),
    Question("get_stock_price", "What is the share price of AAPL?", "get_stock_price", {"symbol": {"AAPL"}}),
    Question("get_weather set_timer", "What is the temperature in Nairobi?", "get_weather", {"city": {"Nairobi"}}),
    Question("get_weather convert_currency", "Exchange 75 euros into dollars.", "convert_currency",
             {"amount": {75}, "from_currency": EURO, "to_currency": DOLLAR}),
    Question("set_light set_timer", "Please switch on the lamp in the bedroom.", "set_light",
             {"room": {"bedroom"}, "state": {"on"}}),
    Question("create_event get_weather", 'Put "Dentist" in my calendar for Tuesday.', "create_event",
             {"title": {"Dentist"}, "day": {"Tuesday"}}),
    Question("calculate search_web", "Calculate 1250 / 8.", "calculate", {"expression": {"1250/8"}}),
    Question("search_web get_weather", "Search the web for vegan pancake recipes.", "search_web",
             {"query": {"vegan pancake recipes"}}),
    Question("get_weather convert_currency create_event search_web", "How is the weather in Toronto?", "get_weather",
             {"city": {"Toronto"}}),
    Question("get_weather convert_currency create_event set_timer", "Start a timer of 3 minutes for my tea.",
             "set_timer", {"minutes": {3}}),
    Question("get_weather create_event send_message get_stock_price", "Send a message to Anna saying I am late.",
             "send_message", {"to": {"Anna"}, "text": {"I am late", "I'm late", "I am late."}}),
    Question("get_weather", "What is the capital of Japan?"),
    Question("get_weather", "Write a short poem about the sea."),
    Question("convert_currency", "Who wrote Romeo and Juliet?"),
    Question("set_timer", "Give me three tips for a job interview."),
    Question("set_light", "How do airplanes fly?"),
    Question("get_weather convert_currency", "Tell me a joke."),
    Question("create_event set_timer", "What is photosynthesis?"),
    Question("calculate get_stock_price", "Thank you, that was helpful!"),
    Question("get_weather convert_currency create_event set_timer", 'Translate "good morning" into Spanish.'),
    Question("get_weather set_light send_message get_stock_price", "Explain what a black hole is in one sentence."),
)  # fmt: skip


def plain(value: Any) -> Any:
    return "".join(value.casefold().split()) if isinstance(value, str) else value


def is_right(question: Question, calls: list[dict[str, Any]]) -> bool:
    """Whether these are the calls that fit: one of the right tool with the right arguments, or none."""
    if question.call is None or len(calls) != 1:
        return question.call is None and not calls
    try:
        arguments = json.loads(calls[0]["arguments"])
    except json.JSONDecodeError:  # the limit cut the call
        return False
    return (
        calls[0]["name"] == question.call
        and arguments.keys() == question.arguments.keys()
        and all(plain(arguments[name]) in map(plain, values) for name, values in question.arguments.items())
    )


async def ask(client: httpx.AsyncClient, question: Question) -> list[Any]:
    """A row."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": question.prompt}],
        "tools": [TOOLS[name] for name in question.tools.split()],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
    }
    answer = (await client.post("/v1/chat/completions", json=body)).raise_for_status().json()
    message = answer["choices"][0]["message"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    shown = "; ".join(f"{call['name']} {call['arguments']}" for call in calls) or message["content"]
    right = is_right(question, calls)
    return [question.tools, question.prompt, question.call or "no call", " ".join(shown.split()), int(right)]


async def rows(url: str) -> list[list[Any]]:
    places = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=300) as client:

        async def in_turn(question: Question) -> list[Any]:
            async with places:
                return await ask(client, question)

        return await asyncio.gather(*map(in_turn, QUESTIONS))


def main() -> None:
    with serving(config_entry(LOCAL_CONFIG, MODEL)) as url:
        found = asyncio.run(rows(url))
    with CSV.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *found])
    for row in found:
        print(*row, sep=" | ")
    for name, chosen in (
        ("a tool fits", [row for row in found if row[2] != "no call"]),
        ("none fits", [row for row in found if row[2] == "no call"]),
    ):
        print(f"{name}: {sum(row[-1] for row in chosen)} of {len(chosen)} right")


if __name__ == "__main__":
    main()
