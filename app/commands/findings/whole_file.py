"""Everything that is wrong in a config file."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.commands.findings.adapters import adapter_findings
from app.commands.findings.duplicate_keys import duplicate_findings
from app.commands.findings.espeak_voices import espeak_findings
from app.commands.findings.finding import Finding
from app.commands.findings.places import place_findings
from app.commands.findings.resources import resource_findings
from app.commands.findings.serve_keys import serve_findings
from app.commands.findings.sums import sum_findings
from app.commands.findings.token_issuers import certificate_findings
from app.commands.findings.vllm_arguments import vllm_findings
from app.commands.http_options import host_of, http_options
from app.config.service import Config, args_of, check_policy, parse_config, read_yaml
from app.keys import KeyRing
from app.keys.file import KeyFile
from app.keys.local import LOCAL_HASH, is_loopback
from contract.fields import ConfigError


def findings(path: Path, *, quick: bool = False) -> tuple[list[Finding], Config | None]:
    """What is to be said of a config file, and the configuration where it is right by itself.

    `quick`: where nothing else is wrong, vLLM is not asked for its arguments. It takes up to a minute to import, and a
    replica refuses what is wrong there by itself.
    """
    try:
        content = read_yaml(path)
        args = args_of(content, path)
    except ConfigError as error:
        return [Finding("", str(error))], None
    if not isinstance(args, dict):
        return [Finding("", f"applications[0].args of {path} is no mapping")], None
    config, found = _config_findings(content, args)
    found += duplicate_findings(path)
    found += serve_findings(content)
    found += _key_findings(content, args)
    here = _is_for_this_machine(content)
    models = list(_models(args))
    for place, model in models:
        found += place_findings(model, place, here=here)
        found += resource_findings(model, place, here=here)
    found += espeak_findings(models)
    if config is not None:
        if here and not any(one.is_fault for one in found):  # else one replica alone may be too large
            found += sum_findings(config)
        found += _pins(config)
        found += _key_file_findings(config)
        found += _trace_header_findings(config)
        found += certificate_findings(config, here=here)
        found += adapter_findings(config)
    if not quick or any(one.is_fault for one in found):
        found += vllm_findings(models)
    return found, config


def refuse_faults(path: Path, *, quick: bool = False) -> None:
    """Raises ConfigError, which names all faults of a config file."""
    found, _ = findings(path, quick=quick)
    if faults := [str(one) for one in found if one.is_fault]:
        raise ConfigError("\n".join(faults))


def _config_findings(content: dict[str, Any], args: dict[str, Any]) -> tuple[Config | None, list[Finding]]:
    try:
        config = parse_config(args)
    except ConfigError as error:
        return None, [Finding("", line) for line in str(error).splitlines()]
    try:
        check_policy(content, config)
    except ConfigError as error:
        return config, [Finding("", str(error))]
    return config, []


def _key_findings(content: dict[str, Any], args: dict[str, Any]) -> Iterator[Finding]:
    """The key that everybody knows is good on loopback only."""
    host = host_of(content)
    keys = args.get("keys")
    for number, key in enumerate(keys if isinstance(keys, list) else ()):
        if isinstance(key, Mapping) and key.get("sha256") == LOCAL_HASH and not is_loopback(host):
            unsaid = (
                "" if http_options(content).get("host") else ", which is Ray's default where http_options has no host"
            )
            yield Finding(
                f"keys[{number}]",
                f"the local key is public, so it may not serve {host}{unsaid}. Remove it (`python -m app keys create` "
                "makes a key), or set http_options.host to 127.0.0.1",
            )


def _key_file_findings(config: Config) -> Iterator[Finding]:
    path = config.key_path()
    if path is None:
        return
    if KeyFile(path).version() is None:
        yield Finding("", f"Its key file {path} is not on this machine, so that was not checked.", is_fault=False)
        return
    try:
        KeyRing(config.keys, path)
        keys = KeyFile(path).read()
    except ConfigError as error:
        yield from (Finding("", line) for line in str(error).splitlines())
        return
    teams = [team.id for team in config.teams]
    for key in keys:
        if key.team is not None and key.team not in teams:
            message = f"{path}: the key {key.id} names the team {key.team!r}, so it is refused. `teams` has "
            yield Finding("", message + (", ".join(teams) or "none"))


def _trace_header_findings(config: Config) -> Iterator[Finding]:
    """The file of headers for the receiver of traces: every replica that sends spans reads it when it starts."""
    export, place = config.tracing.export(), "tracing.headers_file"
    try:
        headers = export and export.headers()
    except OSError as error:
        message = f"{error.filename} is not on this machine; it must be on every node, or nothing starts there"
        yield Finding(place, message, is_fault=False)
        return
    if any("=" not in header for header in (headers or "=").split(",")):
        yield Finding(place, "a line of the file is not NAME=VALUE; write one header a line, its value percent-encoded")


def _pins(config: Config) -> Iterator[Finding]:
    for model in config.models:
        for name in model.unpinned():
            message = f"{name} has no `revision`, so whoever owns it can change what is served. Pin its commit."
            yield Finding(model.id, message, is_fault=False)


def _is_for_this_machine(content: dict[str, Any]) -> bool:
    """A service that only this machine can reach, in no cluster of others."""
    return is_loopback(host_of(content)) and "RAY_ADDRESS" not in os.environ


def _models(args: dict[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries as they were written, and where."""
    models = args.get("models")
    for number, model in enumerate(models if isinstance(models, list) else ()):
        if isinstance(model, Mapping):
            yield f"models[{number}]", model
