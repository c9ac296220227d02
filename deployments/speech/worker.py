"""The thread that a synthesizer works in: a sentence at a time, in the order they came, so that requests take turns."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from deployments.speech.audio_encoding import Samples
from deployments.speech.synthesizer import Cancelled, Synthesizer, Utterance

Message = Samples | Exception | None  # None: the sentence is over


class SynthesisWorker:
    """One synthesizer and its thread. Nothing comes between the pieces of a sentence: engines keep state in it."""

    def __init__(self, load: Callable[[], Synthesizer]) -> None:
        """`load` is called in the thread. Blocks. Raises what it raises."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="synthesizer")
        try:
            self.synthesizer = self._thread.submit(load).result()
        except BaseException:
            self.close()
            raise
        self.unfinished = 0  # sentences that are synthesized or wait for it
        self.steps = 0  # a sentence taken up, a piece of audio made, and each time the engine asks whether to go on

    def try_out(self, utterance: Utterance) -> None:
        """Synthesize it for nobody. Blocks. Raises RuntimeError where no audio came of it."""
        if not self._thread.submit(lambda: sum(map(len, self._whole(utterance)))).result():
            raise RuntimeError("the engine made no audio of a word")

    async def synthesize(self, utterance: Utterance) -> AsyncGenerator[Samples]:
        """The audio of one sentence. Closed or cancelled, it stops the work at the next piece, or before it begins."""
        messages: asyncio.Queue[Message] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()
        self.unfinished += 1
        work = self._thread.submit(
            contextvars.copy_context().run,  # lines of the thread then have the request's id
            self._synthesize,
            utterance,
            cancelled,
            lambda it: loop.call_soon_threadsafe(messages.put_nowait, it),
        )
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._finished))
        try:
            while (piece := await messages.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            cancelled.set()

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _finished(self) -> None:
        self.unfinished -= 1

    def _whole(self, utterance: Utterance) -> list[Samples]:
        return list(self.synthesizer.synthesize(utterance, lambda: False))

    def _synthesize(self, utterance: Utterance, cancelled: threading.Event, send: Callable[[Message], object]) -> None:
        """Runs in the thread."""

        def is_cancelled() -> bool:
            self.steps += 1
            return cancelled.is_set()

        if is_cancelled():
            return
        try:
            with closing(self.synthesizer.synthesize(utterance, is_cancelled)) as pieces:
                for samples in pieces:
                    if is_cancelled():
                        return
                    send(samples)
        except Cancelled:
            return
        except Exception as error:
            send(error)
        else:
            send(None)
