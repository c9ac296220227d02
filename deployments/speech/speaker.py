"""The thread that an engine speaks in: a sentence at a time, in the order they came, so that requests take turns."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from deployments.speech.audio_encoding import Samples
from deployments.speech.engine import GivenUp, SpeechEngine, Utterance

Told = Samples | Exception | None  # None: the sentence is over


class Speaker:
    """One engine and its thread. Nothing comes between the pieces of a sentence: engines keep state in it."""

    def __init__(self, load: Callable[[], SpeechEngine]) -> None:
        """`load` is called in the thread. Raises what it raises."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="speaker")
        self.engine = self._thread.submit(load).result()
        self.unfinished = 0  # sentences that are spoken or wait for it

    def try_out(self, utterance: Utterance) -> None:
        """Say it to nobody. Blocks. Raises RuntimeError where no sound came of it."""
        if not self._thread.submit(lambda: sum(map(len, self.engine.speak(utterance, lambda: False)))).result():
            raise RuntimeError("the engine made no sound of a word")

    async def say(self, utterance: Utterance) -> AsyncGenerator[Samples]:
        """The sound of one sentence. Closed or cancelled, it stops the work at the next piece, or before it begins."""
        message: asyncio.Queue[Told] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        given_up = threading.Event()
        self.unfinished += 1
        work = self._thread.submit(
            self._speak, utterance, given_up, lambda what: loop.call_soon_threadsafe(message.put_nowait, what)
        )
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._finished))
        try:
            while (piece := await message.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            given_up.set()

    def _finished(self) -> None:
        self.unfinished -= 1

    def _speak(self, utterance: Utterance, given_up: threading.Event, tell: Callable[[Told], object]) -> None:
        """Runs in the thread."""
        if given_up.is_set():
            return
        try:
            with closing(self.engine.speak(utterance, given_up.is_set)) as sound:
                for samples in sound:
                    if given_up.is_set():
                        return
                    tell(samples)
        except GivenUp:
            return
        except Exception as error:
            tell(error)
        else:
            tell(None)
