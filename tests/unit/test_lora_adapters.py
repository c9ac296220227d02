"""Which LoRA adapters an engine holds: loaded once, on demand; the one used longest ago leaves, never one in use."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.errors import ApiError
from contract.options.catalog import ServedModel
from contract.protocol import Adapter
from deployments.vllm import lora_adapters
from deployments.vllm.lora_adapters import LoraAdapters, LoraLimits, adapters_of
from deployments.vllm.lora_files import MisfitError, Shapes
from local_models.adapter import make_adapter

MOST = 2


class Engine:
    """Holds adapters under numbers, and refuses what a real one would: a second of one id, or more than it has room."""

    def __init__(self) -> None:
        self.held: dict[int, str] = {}
        self.loads: list[str] = []
        self.going_on = asyncio.Event()  # a load waits for it
        self.going_on.set()

    async def load_lora(self, adapter_id: str, number: int, folder: Path) -> None:
        await self.going_on.wait()
        await asyncio.sleep(0.001)  # it takes a while: others come and go meanwhile
        self.loads.append(adapter_id)
        if "refused" in folder.name:
            raise MisfitError("the engine does not take it")
        assert number not in self.held
        assert adapter_id not in self.held.values()
        assert len(self.held) < MOST
        self.held[number] = adapter_id

    async def leave_lora(self, adapter_id: str, number: int) -> None:
        assert self.held.pop(number) == adapter_id


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def adapters(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoraAdapters]:
    def check(folder: Path, _: Shapes, __: int) -> None:
        if "misfit" in folder.name:
            raise MisfitError("it was made for another model")

    def folder_of(adapter: Adapter) -> Path:
        if adapter.source == "/gone":
            raise OSError("a path that no client sees")
        if adapter.source == "/cut-off":
            raise RuntimeError("of a library that downloads, and has errors of its own")
        return Path(adapter.source)

    monkeypatch.setattr(lora_adapters, "check", check)
    async with asyncio.timeout(30):
        yield LoraAdapters(engine, LoraLimits(16, MOST), {}, folder_of)


def named(name: str, source: str = "") -> Adapter:
    return Adapter(name, source or f"/{name}")


async def use(adapters: LoraAdapters, *names: str) -> None:
    for name in names:
        async with adapters.used(named(name)):
            assert name in adapters.resident()


async def test_an_adapter_is_loaded_at_its_first_use_and_stays(adapters: LoraAdapters, engine: Engine) -> None:
    await use(adapters, "a", "b", "a", "b")
    assert engine.loads == ["a", "b"]
    assert sorted(engine.held.values()) == ["a", "b"]


async def test_the_one_used_longest_ago_leaves_for_another(adapters: LoraAdapters, engine: Engine) -> None:
    await use(adapters, "a", "b", "a", "c")
    assert adapters.resident() == ["a", "c"]
    assert sorted(engine.held.values()) == ["a", "c"]
    await use(adapters, "b")
    assert engine.loads == ["a", "b", "c", "b"]
    assert adapters.resident() == ["c", "b"]


async def test_a_thousand_pass_through_the_places_of_two(adapters: LoraAdapters, engine: Engine) -> None:
    await asyncio.gather(*(use(adapters, f"number-{number % 1000}") for number in range(2000)))
    assert set(engine.loads) == {f"number-{number}" for number in range(1000)}
    assert len(engine.held) == MOST


async def test_where_all_are_in_use_the_first_whose_requests_end_leaves(adapters: LoraAdapters, engine: Engine) -> None:
    async with adapters.used(named("a")):  # as of a stream that lasts
        async with adapters.used(named("b")), adapters.used(named("b")):
            third = asyncio.create_task(use(adapters, "c"))
            await asyncio.sleep(0.05)
            assert not third.done()
            await use(adapters, "a", "b")  # those that are there go on
            assert sorted(engine.held.values()) == ["a", "b"]
        await third
        assert sorted(engine.held.values()) == ["a", "c"]
    assert engine.loads == ["a", "b", "c"]


async def test_those_that_always_have_a_request_let_another_in(
    adapters: LoraAdapters, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora_adapters, "PATIENCE_S", 0.05)
    ends_at = asyncio.get_running_loop().time() + 1

    async def ask_on_and_on(name: str) -> None:
        while asyncio.get_running_loop().time() < ends_at:
            async with adapters.used(named(name)):
                assert name in engine.held.values()
                await asyncio.sleep(0.01)

    asking = [asyncio.create_task(ask_on_and_on(name)) for name in ("a", "a", "a", "b", "b", "b")]
    await asyncio.sleep(0.02)
    async with asyncio.timeout(0.5):
        await use(adapters, "c", "d")
    await asyncio.gather(*asking)
    assert {"a", "b", "c", "d"} == set(engine.loads)


async def test_who_is_kept_out_for_another_goes_on_once_that_has_a_place(
    adapters: LoraAdapters, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora_adapters, "PATIENCE_S", 0.05)
    async with adapters.used(named("a")):
        async with adapters.used(named("b")):
            third = asyncio.create_task(use(adapters, "c"))
            await asyncio.sleep(0.08)
            again = asyncio.create_task(use(adapters, "a"))
            await asyncio.sleep(0.01)
            assert not again.done()
        await third
        await again
    assert engine.loads == ["a", "b", "c"]


async def test_an_idle_one_leaves_before_one_in_use(adapters: LoraAdapters, engine: Engine) -> None:
    async with adapters.used(named("a")):
        await use(adapters, "b", "c")
        assert sorted(engine.held.values()) == ["a", "c"]


async def test_those_that_share_one_place_are_each_answered(adapters: LoraAdapters, engine: Engine) -> None:
    only_one = LoraAdapters(engine, LoraLimits(16, 1), {}, adapters._folder_of)
    async with asyncio.timeout(5):
        await asyncio.gather(*(use(only_one, name) for name in "abcabc"))
    assert engine.loads == ["a", "b", "c"]  # requests that wait for one load are all of that load


async def test_many_requests_for_one_load_it_once(adapters: LoraAdapters, engine: Engine) -> None:
    engine.going_on.clear()
    requests = [asyncio.create_task(use(adapters, "a")) for _ in range(20)]
    await asyncio.sleep(0.05)
    engine.going_on.set()
    await asyncio.gather(*requests)
    assert engine.loads == ["a"]


async def test_one_that_is_downloaded_keeps_no_other_waiting(
    adapters: LoraAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, folder_of = threading.Event(), adapters._folder_of
    monkeypatch.setattr(
        adapters, "_folder_of", lambda one: folder_of(one) if one.id != "slow" or arrived.wait(5) else Path()
    )
    slow = asyncio.create_task(use(adapters, "slow"))
    await use(adapters, "a", "b")
    assert not slow.done()
    arrived.set()
    await slow


async def test_a_client_that_leaves_during_the_load_ends_nothing(adapters: LoraAdapters, engine: Engine) -> None:
    engine.going_on.clear()
    leaving, staying = (asyncio.create_task(use(adapters, "a")) for _ in range(2))
    await asyncio.sleep(0.05)
    leaving.cancel()
    await asyncio.sleep(0)
    engine.going_on.set()
    await staying
    assert leaving.cancelled()
    assert engine.loads == ["a"]


async def test_one_of_another_source_takes_the_place_of_the_same_id(adapters: LoraAdapters, engine: Engine) -> None:
    await use(adapters, "a", "b")
    async with adapters.used(named("a", "/another")):
        assert engine.loads == ["a", "b", "a"]
        assert sorted(engine.held.values()) == ["a", "b"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("/misfit", "it was made for another model"),
        ("/refused", "the engine does not take it"),
        ("/gone", "its files cannot be had; the log says why"),
        ("/cut-off", "its files cannot be had; the log says why"),
    ],
)
async def test_one_that_does_not_fit_is_refused_by_name_and_others_go_on(
    adapters: LoraAdapters, source: str, why: str
) -> None:
    await use(adapters, "a")
    for _ in range(2):  # it is looked at each time: whoever mends it need not restart anything
        with pytest.raises(ApiError) as refused:
            async with adapters.used(named("wrong", source)):
                pytest.fail("it was used")
        assert (refused.value.status, refused.value.code, refused.value.param) == (404, "model_failed", "model")
        assert refused.value.message == f"The adapter `wrong` cannot be used with its model: {why}."
    await use(adapters, "a", "b")


async def test_a_folder_that_is_not_there_is_a_misfit_of_that_adapter_alone(tmp_path: Path, engine: Engine) -> None:
    folder = tmp_path / "fits"
    folder.mkdir()
    make_adapter(folder)
    model = ServedModel("alpha", "vllm", "chat", str(tmp_path))
    adapters = adapters_of(model, engine, LoraLimits(16, MOST))
    looked_at = [named("gone", str(tmp_path / "gone")), named("fits", str(folder))]
    assert await adapters.misfits(looked_at) == ["its folder is not on the replica's machine", ""]
    with pytest.raises(ApiError, match="its folder is not on the replica's machine"):
        async with adapters.used(looked_at[0]):
            pytest.fail("it was used")
    async with adapters.used(looked_at[1]):
        assert engine.loads == ["fits"]


async def test_a_folder_that_cannot_be_read_is_a_misfit_of_that_adapter_alone(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("forbidden", "fits"):
        (tmp_path / name).mkdir()
        make_adapter(tmp_path / name)
    is_file = Path.is_file

    def forbid(path: Path) -> bool:
        if path.parent.name == "forbidden":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", forbid)  # whoever is root may read all
    adapters = adapters_of(ServedModel("alpha", "vllm", "chat", str(tmp_path)), engine, LoraLimits(16, MOST))
    looked_at = [named(name, str(tmp_path / name)) for name in ("forbidden", "fits")]
    assert await adapters.misfits(looked_at) == ["its files cannot be read", ""]
    with pytest.raises(ApiError, match="`forbidden` cannot be used with its model: its files cannot be read"):
        async with adapters.used(looked_at[0]):
            pytest.fail("it was used")


async def test_what_does_not_fit_is_found_before_its_use(adapters: LoraAdapters, engine: Engine) -> None:
    looked_at = [named("a"), named("wrong", "/misfit"), named("later", "someone/on-the-hub")]
    assert await adapters.misfits(looked_at) == ["", "it was made for another model", ""]
    assert engine.loads == []
