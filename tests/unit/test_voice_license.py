"""Licences of voices: read from their cards, and asked for where they are not free."""

from pathlib import Path

import pytest

from contract.options.speech import PiperOptions
from deployments.speech.voice_license import UNKNOWN, LicenseError, check_accepted, is_free, license_of

CARD = "# Model card for joe (medium)\n\n* Language: en_US\n\n## Dataset\n\n* URL: https://example.org\n* License: {}\n"


@pytest.mark.parametrize(
    "license_",
    ["CC0", "cc0-1.0", "CC BY 4.0", "CC-BY-3.0", "cc-by-sa-4.0", "Public Domain", "public domain", "MIT", "MIT License",
     "Apache 2.0", "Apache-2.0", "BSD-3-Clause", "Attribution 4.0 International", "Creative Commons CC0"],
)  # fmt: skip
def test_what_permits_any_use_is_free(license_: str) -> None:
    assert is_free(license_)


@pytest.mark.parametrize(
    "license_",
    ["CC BY-NC 4.0", "cc-by-nc-sa-4.0", "CC BY-NC-SA", "CC BY-ND 4.0", "Research only", "Unknown", UNKNOWN, "None",
     "Custom", "See URL", "Blizzard 2013", "https://creativecommons.org/licenses/by/4.0/", "MIT, non-commercial",
     "LGPL", "AGPL", "Attribution-NonCommercial 4.0 International", ""],
)  # fmt: skip
def test_what_does_not_or_is_not_known_to_is_not(license_: str) -> None:
    assert not is_free(license_)


class TestCard:
    @pytest.fixture
    def voice(self, tmp_path: Path) -> Path:
        return tmp_path / "en_US-joe-medium.onnx"

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            (CARD.format("CC0"), "CC0"),
            ("License: CC BY 4.0  \r\n", "CC BY 4.0"),
            ("* **Licence**: MIT", "MIT"),
            ("* license: see https://example.org/license.txt", "see https://example.org/license.txt"),
            ("# Model card\n\n* Language: en_US", UNKNOWN),
            ("* License:\n* Speakers: 1", UNKNOWN),
            ("* License: MIT\n* License: research only", "research only"),
            ("", UNKNOWN),
        ],
    )
    def test_its_licence_is_what_the_card_names(self, voice: Path, text: str, named: str) -> None:
        voice.with_name("MODEL_CARD").write_text(text)
        assert license_of(voice, alone=True) == named

    def test_without_a_card_nobody_knows(self, voice: Path) -> None:
        assert license_of(voice, alone=True) == UNKNOWN

    def test_a_card_beside_several_voices_is_of_none_but_one_by_its_name(self, voice: Path) -> None:
        voice.with_name("MODEL_CARD").write_text(CARD.format("CC0"))
        assert license_of(voice, alone=False) == UNKNOWN
        voice.with_name("en_US-joe-medium.MODEL_CARD").write_text(CARD.format("MIT"))
        assert license_of(voice, alone=False) == "MIT"


class TestAcceptance:
    def test_a_free_licence_needs_none(self) -> None:
        check_accepted("joe", "CC0", [])

    @pytest.mark.parametrize("license_", ["CC BY-NC 4.0", "Research only"])
    def test_another_is_accepted_by_its_name(self, license_: str) -> None:
        says = f"voices: joe: its MODEL_CARD names the licence '{license_}', .* write `accept_license: {license_}`"
        with pytest.raises(LicenseError, match=says):
            check_accepted("joe", license_, ["MIT"])
        check_accepted("joe", license_, ["MIT", license_.lower()])

    def test_where_nobody_knows_that_is_accepted(self) -> None:
        with pytest.raises(LicenseError, match=r"no MODEL_CARD beside it names a licence.*`accept_license: unknown`"):
            check_accepted("joe", UNKNOWN, [])
        check_accepted("joe", UNKNOWN, ["unknown"])

    @pytest.mark.parametrize("given", ["CC BY-NC 4.0", ["CC BY-NC 4.0"]])
    def test_the_configuration_names_one_or_several(self, given: object) -> None:
        assert PiperOptions.model_validate({"accept_license": given}).accept_license == ["CC BY-NC 4.0"]
