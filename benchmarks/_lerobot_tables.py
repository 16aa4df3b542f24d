"""Tables of what was tried with lerobot's own package: recordings both ways, and its policies as agents."""

from __future__ import annotations

import json
from pathlib import Path

from _markdown import Json, table

ROUNDTRIP, POLICIES = "lerobot_roundtrip.json", "lerobot_policies.json"
_PACKAGES = {"lerobot", "torch", "transformers", "huggingface_hub", "python"}


def lerobot_tables(results: Path) -> list[str]:
    """Of what is recorded in the folder."""
    parts = []
    if (results / ROUNDTRIP).is_file():
        parts += _roundtrip(json.loads((results / ROUNDTRIP).read_text()))
    if (results / POLICIES).is_file():
        parts += _policies(json.loads((results / POLICIES).read_text())["releases"])
    return ["## lerobot's own package", *parts] if parts else []


def _roundtrip(recorded: Json) -> list[str]:
    rows = [
        (name.replace("_", " "), _versions(part), "yes" if _agrees(part) else "no")
        for name, part in recorded.items()
        if isinstance(part, dict) and (name == "layout" or "versions" in part)
    ]
    return [
        "Recordings both ways, each in an environment of its own: episodes written here are opened by lerobot with two "
        "decoders and trained on with its `lerobot-train`, what lerobot and gym-aloha write is imported here. "
        "`python benchmarks/lerobot_roundtrip.py --install`.",
        table(("what", "with", "agrees"), rows),
    ]


def _policies(releases: Json) -> list[str]:
    names = dict.fromkeys(name for release in releases.values() for name in release if name not in _PACKAGES)
    rows = [(name.replace("_", " "), *(_did(release.get(name)) for release in releases.values())) for name in names]
    columns = (f"lerobot {version}, Python {release['python']}" for version, release in releases.items())
    return [
        "Its policies as agents, small, with random weights: whether they act, come back from their folder and from a "
        "checkpoint of this package, and, where they read their task and flow, take a few steps of RISE. "
        "`python benchmarks/lerobot_policies.py`.",
        table(("policy", *columns), rows),
    ]


def _did(policy: Json | str | None) -> str:
    if not isinstance(policy, dict):
        return (policy or "not tried").splitlines()[0]
    size = f"{policy['parameters'] / 1e6:,.1f} M parameters"
    reloaded = f"reloaded differs by {policy['reloaded_differs_by']:.1g}, stored by {policy['stored_differs_by']:.1g}"
    acted = f"acts; {size}; {reloaded}"
    if "rise" not in policy:
        return acted
    return f"{acted}; RISE moved {policy['rise']['changed']} tensors, frozen ones {policy['rise']['frozen_changed']}"


def _versions(part: Json) -> str:
    versions = part.get("versions", {})
    names = ("lerobot", "gym-aloha", "torchcodec", "python")
    return part.get("of") or ", ".join(f"{name} {versions[name]}" for name in names if name in versions)


def _agrees(part: Json) -> bool:
    return bool(part.get("agrees", True)) and all(_agrees(one) for one in part.values() if isinstance(one, dict))
