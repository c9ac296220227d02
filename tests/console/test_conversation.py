"""A conversation in a browser, with a gateway whose answers are written here: tools, failures, what is sent back."""

from playwright.async_api import Page, expect

from app.keys import LOCAL_KEY
from tests.console.conftest import sign_in
from tests.console.scripted import DONE, HANGS, ScriptedGateway, delta
from tests.console.stand_in import front, served

HELLO = [delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo."), delta("stop"), DONE]
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
CALLS = [
    delta(role="assistant", tool_calls=[CALL]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city": "Paris"}'}}]),
    delta("tool_calls"),
    DONE,
]


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.get_by_label("Message").press("Enter")


async def test_a_tool_s_call_is_answered_by_the_person_and_the_conversation_goes_on(page: Page) -> None:
    gateway = ScriptedGateway(CALLS, HELLO)
    with served(front(gateway=gateway)) as address:
        await sign_in(page, address, LOCAL_KEY, "chat")
        await page.get_by_text("Tools", exact=True).click()
        await page.get_by_label("Functions, as a JSON list").fill('[{"name": "get_weather", "parameters": {}}]')
        await say(page, "How is the weather?")
        await expect(page.locator(".call")).to_contain_text('get_weather({"city": "Paris"})')
        await page.get_by_label("Result of get_weather").fill("sunny")
        await page.get_by_role("button", name="Send results").click()
        await expect(page.locator(".turn.assistant .text").last).to_have_text("Hello.")
    assert gateway.sent[0]["tools"] == [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
    assert [message["role"] for message in gateway.sent[1]["messages"]] == ["user", "assistant", "tool"]
    assert gateway.sent[1]["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


async def test_what_is_said_before_and_around_it_is_sent_along(page: Page) -> None:
    gateway = ScriptedGateway(HELLO, HELLO)
    with served(front(gateway=gateway)) as address:
        await sign_in(page, address, LOCAL_KEY, "chat")
        await page.get_by_label("System prompt").fill("Be brief.")
        await page.get_by_text("Schema of the answer").click()
        await page.get_by_label("JSON schema").fill('{"type": "object"}')
        for text in ("One", "Two"):
            await say(page, text)
            await expect(page.locator(".turn.assistant[aria-busy]")).to_have_count(0)
    assert [(one["role"], one["content"]) for one in gateway.sent[1]["messages"]] == [
        ("system", "Be brief."), ("user", "One"), ("assistant", "Hello."), ("user", "Two"),
    ]  # fmt: skip
    assert gateway.sent[1]["response_format"]["json_schema"]["schema"] == {"type": "object"}


async def test_a_stream_that_fails_says_so_and_is_not_taken_for_an_answer(page: Page) -> None:
    failure = b'data: {"error": {"message": "The model failed.", "type": "server_error", "code": "upstream_error"}}\n\n'
    gateway = ScriptedGateway([HELLO[1], failure], [HELLO[1]], HELLO)
    with served(front(gateway=gateway)) as address:
        await sign_in(page, address, LOCAL_KEY, "chat")
        await say(page, "One")
        await expect(page.get_by_role("alert")).to_contain_text("The model failed.")
        await say(page, "Two")
        await expect(page.get_by_role("alert").nth(1)).to_contain_text("The answer was cut off.")
        await say(page, "Three")
        await expect(page.locator(".turn.assistant .text").last).to_have_text("Hello.")
    assert "assistant" not in [message["role"] for message in gateway.sent[2]["messages"]]


async def test_an_answer_is_stopped_with_escape(page: Page) -> None:
    gateway = ScriptedGateway([delta(content="Once upon"), HANGS])
    with served(front(gateway=gateway)) as address:
        await sign_in(page, address, LOCAL_KEY, "chat")
        await say(page, "Tell me a story.")
        await expect(page.locator(".turn.assistant .text")).to_have_text("Once upon")
        await page.get_by_label("Message").press("Escape")
        await expect(page.locator(".turn.assistant dl")).to_contain_text("you stopped it")
        await expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert gateway.was_left


async def test_what_a_model_says_is_text_and_never_markup(page: Page) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    with served(front(gateway=ScriptedGateway([delta(content=hostile), delta("stop"), DONE]))) as address:
        await sign_in(page, address, LOCAL_KEY, "chat")
        await say(page, "Hi")
        await expect(page.locator(".turn.assistant .text")).to_have_text(hostile)
        assert await page.title() == "Chat · Portico"
        assert await page.locator(".turn img").count() == 0


async def test_adjustments_are_put_in_words(page: Page) -> None:
    with served(front(gateway=ScriptedGateway(HELLO))) as address:
        await sign_in(page, address, LOCAL_KEY, "chat")
        await say(page, "Hi")
        changes = page.get_by_role("list", name="What was changed in the request").get_by_role("listitem")
        await expect(changes).to_have_text(['logit_bias: dropped, no, "never"', "and 2 more"])


async def test_tools_that_are_no_json_are_named_and_nothing_is_sent(page: Page) -> None:
    gateway = ScriptedGateway()
    with served(front(gateway=gateway)) as address:
        await sign_in(page, address, LOCAL_KEY, "chat")
        await page.get_by_text("Tools", exact=True).click()
        await page.get_by_label("Functions, as a JSON list").fill("get_weather")
        await say(page, "Hi")
        await expect(page.get_by_role("alert")).to_contain_text("Tools: this is no JSON.")
    assert gateway.sent == []
