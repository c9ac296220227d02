"""`python -m deployments.speech.espeak_check`: reads a list of voices, writes those that eSpeak NG lacks."""

import sys

import orjson

from deployments.speech.espeak_library import espeak_library
from deployments.speech.synthesizer import VoiceError


def main() -> None:
    library, missing = espeak_library(), []
    for voice in orjson.loads(sys.stdin.buffer.read()):
        try:
            library.choose(voice)
        except VoiceError:
            missing.append(voice)
    sys.stdout.buffer.write(b"\n" + orjson.dumps(missing))


if __name__ == "__main__":
    main()
